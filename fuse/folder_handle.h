// An open folder: a listing of it, made at the first read and again after a rewind, so that reading
// in pieces gives each entry once whatever changes meanwhile. Owned by Operations; the kernel reads
// one open folder from one thread at a time.
#pragma once

#include <memory>
#include <vector>

#include "fuse/node.h"
#include "fuse/tree.h"

namespace quoin {

struct FolderHandle {
  std::shared_ptr<Node> node;
  bool is_listed = false;
  std::vector<Listed> entries;
};

}  // namespace quoin

// An open folder, and the answer to one read of it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fuse/kept_session.h"
#include "fuse/libfuse.h"
#include "fuse/node.h"
#include "fuse/tree.h"

namespace quoin {

// A listing, made at the first read and again after a rewind, so that reading in pieces gives each
// entry once whatever changes meanwhile (but for what changes between a daemon and the next, which
// lists anew). Owned by Operations; the kernel reads one open folder from one thread at a time.
struct FolderHandle {
  std::shared_ptr<Node> node;
  KeptFile* kept = nullptr;  // its slot
  bool is_listed = false;
  std::vector<Listed> entries;
};

// Entries in the kernel's form, as many as there is room for. Lives for one request.
struct FolderAnswer {
  fuse_req_t request;
  bool with_attributes;
  std::vector<char> bytes;           // as long as the room that the kernel has
  size_t used = 0;
  std::vector<uint64_t> remembered;  // nodes of which the kernel gets a reference

  bool HasRoomFor(const char* name, off_t next_offset) const;
  bool Add(const char* name, const fuse_entry_param& parameter, off_t next_offset);
};

}  // namespace quoin

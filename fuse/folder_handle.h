// An open folder, and the answer to one read of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
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
  uint64_t changes = 0;  // of names, before they were listed (NameLease)
  std::chrono::steady_clock::time_point listed_at;
};

// What an entry was found to be, where the listing did not tell.
struct Seen {
  std::optional<Found> found;
  std::optional<NodeKey> key;  // if nothing more is known or wanted
};

// Entries in the kernel's form, as many as there is room for. Lives for one request.
struct FolderAnswer {
  fuse_req_t request;
  bool with_attributes;
  std::vector<char> bytes;           // as long as the room that the kernel has
  size_t used = 0;
  std::vector<uint64_t> remembered;  // nodes of which the kernel gets a reference
  // For how long the kernel may use names that were looked at for this answer, and that the listing told.
  double seen_seconds = 0;
  double listed_seconds = 0;

  // How many of the entries, from the first on, there is room for.
  size_t CountFitting(std::span<const Listed> listed) const;
  bool Add(const char* name, const fuse_entry_param& parameter, off_t next_offset);
};

}  // namespace quoin

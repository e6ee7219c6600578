// One pack file being written: frames in any order, then the tables. The file is a temporary of its
// maker, who publishes or removes it; a crash leaves it behind.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "blockstore/packs/pack_format.h"

namespace quoin {

class PackFileWriter {
 public:
  // Makes the file and writes its header. kExists.
  static Result<std::unique_ptr<PackFileWriter>> Create(FileSystem& file_system, const Id& pack,
                                                        const std::string& path);

  // Puts a frame where the file ends. `bytes` is kFrameHeaderBytes of room, which is filled in, and
  // the stored payload; offset, stored bytes and checksum of `fields` are filled in from it.
  // Any thread may call this, several at once.
  Status WriteFrame(FrameEntry::Fields fields, std::span<std::byte> bytes)
      QUOIN_EXCLUDES(entries_mutex_);

  // The same for a frame of another file: its checksum stays, right or wrong, so that damage is
  // copied as damage.
  Status CopyFrame(const FrameEntry& frame, std::span<std::byte> bytes)
      QUOIN_EXCLUDES(entries_mutex_);

  // Writes table, digests (one for each slot written, in the order of the slots) and trailer, and
  // syncs the file. Nothing else may be called at the same time or after.
  Status Finish(std::span<const Digest> digests) QUOIN_EXCLUDES(entries_mutex_);

  // What has been written so far, or is being written.
  uint64_t file_bytes() const { return end_.load(std::memory_order_relaxed); }

 private:
  PackFileWriter(const Id& pack, std::unique_ptr<File> file) : pack_(pack), file_(std::move(file)) {}

  Status Append(FrameEntry::Fields fields, std::span<std::byte> bytes)
      QUOIN_EXCLUDES(entries_mutex_);

  const Id pack_;
  const std::unique_ptr<File> file_;
  std::atomic<uint64_t> end_{kPackHeaderBytes};

  Mutex entries_mutex_{LockRank::kLeaf};
  std::vector<FrameEntry> entries_ QUOIN_GUARDED_BY(entries_mutex_);
};

}  // namespace quoin

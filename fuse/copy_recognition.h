// Recognises a copy of a snapshot that is made by read and write, and shares instead of storing.
//
// "cp snapshots/a/monday vdis/b" shall be a clone. Newer versions of cp call copy_file_range, which
// Store::CopyRange answers; cp of coreutils 9.1 (Debian 12) reads and writes a sparse file, and cannot
// be told otherwise. So when a thread opens a new, empty VDI for writing while it has a snapshot open,
// the first writes are compared with the snapshot. As long as each is, byte for byte, what the snapshot
// holds at the same place, and what was skipped in between is zero there too, the range is copied by
// CopyRange. The first write that differs ends it, and is written as any other: a wrong guess costs
// a comparison, never a byte.
//
// Owned by the VDI's FileHandle. Thread-safe: writes that come at the same time are not those of a
// simple copy, and end it. In memory only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "snapshots/store.h"

namespace quoin {

class CopyRecognition {
 public:
  // `origin` is the image of `source`, a snapshot.
  CopyRecognition(Store& store, Store::CopySource source, std::shared_ptr<Image> origin);

  bool is_over() const { return is_over_.load(std::memory_order_relaxed); }

  // True if the bytes have become the target's by sharing; false if they must be written. `room` is as
  // long as `bytes`, for what they are compared with.
  bool Share(VdiHandle& target, uint64_t offset, std::span<const std::byte> bytes,
             std::span<std::byte> room);

 private:
  bool IsCopyOf(uint64_t offset, std::span<const std::byte> bytes, std::span<std::byte> room) const;
  bool IsZero(uint64_t begin, uint64_t end, std::span<std::byte> room) const;
  bool ShareUpTo(VdiHandle& target, uint64_t offset, std::span<const std::byte> bytes,
                 std::span<std::byte> room) const;

  Store& store_;
  const Store::CopySource source_;
  const std::shared_ptr<Image> origin_;
  std::atomic<bool> is_over_{false};
  std::atomic<bool> is_busy_{false};
};

}  // namespace quoin

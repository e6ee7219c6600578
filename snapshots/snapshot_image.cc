#include "snapshots/snapshot_image.h"

#include <algorithm>

namespace quoin {

Result<size_t> SnapshotImage::Read(uint64_t offset, std::span<std::byte> buffer) {
  if (offset >= size_bytes_) return size_t{0};
  buffer = buffer.first(std::min<uint64_t>(buffer.size(), size_bytes_ - offset));
  QUOIN_TRY(ReadOver(nullptr, stack_, offset, buffer));
  return buffer.size();
}

Result<uint64_t> SnapshotImage::Seek(uint64_t offset, bool data) const {
  if (offset >= size_bytes_) {
    return Fail(ErrorCode::kNoData, "the offset is past the end of the snapshot");
  }
  const uint64_t end = BlocksOf(size_bytes_);
  QUOIN_ASSIGN(const uint64_t block,
               FindBlock(nullptr, stack_, offset / kBlockBytes, end, data));
  if (block < end) return std::max(offset, block * kBlockBytes);
  if (data) return Fail(ErrorCode::kNoData, "no data follows");
  return size_bytes_;
}

}  // namespace quoin

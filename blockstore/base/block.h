// The sizes of the format. Frozen: stores on disk depend on every one.
#pragma once

#include <cstdint>

namespace quoin {

inline constexpr uint64_t kSectorBytes = 512;
inline constexpr uint64_t kBlockBytes = 4096;
inline constexpr uint64_t kRegionBlocks = 4096;  // 16 MiB of a VDI
inline constexpr uint64_t kRegionBytes = kRegionBlocks * kBlockBytes;
inline constexpr uint64_t kMaxVdiBytes = uint64_t{256} << 40;
inline constexpr uint64_t kMaxVdiBlocks = kMaxVdiBytes / kBlockBytes;      // 2^36
inline constexpr uint64_t kMaxVdiRegions = kMaxVdiBlocks / kRegionBlocks;  // 2^24
inline constexpr uint64_t kLayerSegmentBytes = uint64_t{8} << 40;  // one file of a layer; ext4 ends
                                                                   // a file at 16 TiB
inline constexpr uint64_t kMaxLayerSegments = kMaxVdiBytes / kLayerSegmentBytes;

// Blocks [first, first + count) of a disk.
struct BlockRange {
  uint64_t first = 0;
  uint64_t count = 0;
  bool operator==(const BlockRange&) const = default;
};

constexpr uint64_t BlocksOf(uint64_t size_bytes) {
  return (size_bytes + kBlockBytes - 1) / kBlockBytes;
}

}  // namespace quoin

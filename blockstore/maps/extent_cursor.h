// Going through a region's extents and the holes between them, in rising order. For comparing two
// regions. One thread; borrows the extents.
#pragma once

#include <cstdint>
#include <span>

#include "blockstore/base/block.h"
#include "blockstore/maps/map_node.h"

namespace quoin {

// The blocks of a region from where a cursor was asked on that are in one extent, or in none.
struct Stretch {
  const MapExtent* extent;  // null: a hole
  uint32_t end;
};

class ExtentCursor {
 public:
  explicit ExtentCursor(std::span<const MapExtent> extents) : extents_(extents) {}

  // `block` never falls from call to call.
  Stretch At(uint32_t block) {
    while (!extents_.empty() && extents_.front().end() <= block) extents_ = extents_.subspan(1);
    if (extents_.empty()) return {nullptr, kRegionBlocks};
    const MapExtent& extent = extents_.front();
    if (block < extent.first) return {nullptr, extent.first};
    return {&extent, extent.end()};
  }

 private:
  std::span<const MapExtent> extents_;
};

// True if a block that is in both stretches lies in the same slot, or in none.
inline bool AreSame(const Stretch& a, const Stretch& b) {
  if (a.extent == nullptr || b.extent == nullptr) return a.extent == b.extent;
  return a.extent->slot.pack == b.extent->slot.pack &&
         int64_t{a.extent->slot.slot} - a.extent->first ==
             int64_t{b.extent->slot.slot} - b.extent->first;
}

}  // namespace quoin

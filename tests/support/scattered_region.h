// Regions of many extents, as scattered writes leave them: worth writing down as changes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "blockstore/base/block.h"
#include "blockstore/maps/map_node.h"
#include "blockstore/maps/region_edit.h"
#include "tests/support/reference_map.h"

namespace quoin {

// The first blocks of a region, each an extent of its own in this pack.
inline RegionEdit ScatteredRegion(uint32_t pack = 1, uint32_t blocks = kRegionBlocks) {
  RegionEdit edit;
  for (uint32_t block = 0; block < blocks; ++block) {
    edit.SetData(block, 1, {TestPack(pack), 2 * block});
  }
  return edit;
}

// As a node, with a digest that stands for its content.
inline RegionNode VersionOf(const RegionEdit& edit, uint64_t content) {
  return {TestBlockDigest(content), edit.Extents()};
}

inline MapChild ChildAt(const SlotLocation& at, const RegionNode& node) {
  return {node.digest, at, node.CountData()};
}

}  // namespace quoin

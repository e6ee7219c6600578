// The extents of one region under change: those of an older map, overlaid with what is newer, run
// by run, in any order. One thread. Memory: 24 KiB, and the packs that it was ever given.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/digest.h"
#include "blockstore/base/error.h"
#include "blockstore/maps/map_node.h"

namespace quoin {

class RegionEdit {
 public:
  RegionEdit() = default;  // all hole
  explicit RegionEdit(std::span<const MapExtent> base);

  // Blocks of the region, [first, first + count) within kRegionBlocks, now lie in `count` slots
  // from `slot` on, or are holes.
  void SetData(uint32_t first, uint32_t count, const SlotLocation& slot);
  void SetHole(uint32_t first, uint32_t count);

  // Where a block lies; null for a hole.
  SlotLocation SlotOf(uint32_t block) const;

  // As few extents as there can be: neighbours that continue each other are one.
  std::vector<MapExtent> Extents() const;

  // The extents and their content's digest, for MapBuilder. The digests of all blocks (those of
  // holes are not looked at), or a function that is asked for those of the blocks with data in
  // rising order, and whose errors are passed on.
  RegionNode Build(std::span<const Digest, kRegionBlocks> block_digests) const;
  Result<RegionNode> Build(const std::function<Result<Digest>(uint32_t)>& block_digest) const;

 private:
  uint16_t NumberOf(const Id& pack);

  // Of each block the number of its pack, 0 for a hole, and the slot there.
  std::array<uint16_t, kRegionBlocks> pack_numbers_{};
  std::array<uint32_t, kRegionBlocks> slots_{};
  std::vector<Id> packs_ = {Id()};  // by number
  std::unordered_map<Id, uint16_t, IdHash> numbers_;
};

}  // namespace quoin

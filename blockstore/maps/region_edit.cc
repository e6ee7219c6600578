#include "blockstore/maps/region_edit.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "blockstore/maps/content_digest.h"

namespace quoin {

RegionEdit::RegionEdit(std::span<const MapExtent> base) {
  for (const MapExtent& extent : base) SetData(extent.first, extent.count, extent.slot);
}

uint16_t RegionEdit::NumberOf(const Id& pack) {
  if (packs_.back() == pack) return static_cast<uint16_t>(packs_.size() - 1);
  const auto known = numbers_.find(pack);
  if (known != numbers_.end()) return known->second;
  // Only an edit that was changed tens of thousands of times could use up the numbers: those that
  // nothing names any more are then given anew.
  if (packs_.size() > std::numeric_limits<uint16_t>::max()) {
    const std::vector<MapExtent> extents = Extents();
    *this = RegionEdit(extents);
  }
  packs_.push_back(pack);
  const auto number = static_cast<uint16_t>(packs_.size() - 1);
  numbers_.emplace(pack, number);
  return number;
}

void RegionEdit::SetData(uint32_t first, uint32_t count, const SlotLocation& slot) {
  const bool fits = first <= kRegionBlocks && count <= kRegionBlocks - first;
  if (!fits || slot.IsNull() || slot.slot + uint64_t{count} > uint64_t{1} << 32) std::abort();
  const uint16_t number = NumberOf(slot.pack);
  std::fill_n(pack_numbers_.begin() + first, count, number);
  for (uint32_t i = 0; i < count; ++i) slots_[first + i] = slot.slot + i;
}

void RegionEdit::SetHole(uint32_t first, uint32_t count) {
  if (first > kRegionBlocks || count > kRegionBlocks - first) std::abort();
  std::fill_n(pack_numbers_.begin() + first, count, uint16_t{0});
}

SlotLocation RegionEdit::SlotOf(uint32_t block) const {
  if (pack_numbers_[block] == 0) return {};
  return {packs_[pack_numbers_[block]], slots_[block]};
}

std::vector<MapExtent> RegionEdit::Extents() const {
  std::vector<MapExtent> extents;
  for (uint32_t block = 0; block < kRegionBlocks;) {
    const uint16_t number = pack_numbers_[block];
    uint32_t end = block + 1;
    if (number != 0) {
      // Compared as 64 bits: the slot after the last one is not slot 0.
      while (end < kRegionBlocks && pack_numbers_[end] == number &&
             slots_[end] == uint64_t{slots_[end - 1]} + 1) {
        ++end;
      }
      extents.push_back({.first = static_cast<uint16_t>(block),
                         .count = static_cast<uint16_t>(end - block),
                         .slot = {packs_[number], slots_[block]}});
    }
    block = end;
  }
  return extents;
}

RegionNode RegionEdit::Build(std::span<const Digest, kRegionBlocks> block_digests) const {
  RegionNode node;
  node.extents = Extents();
  node.digest = RegionDigest(node.extents, block_digests);
  return node;
}

Result<RegionNode> RegionEdit::Build(
    const std::function<Result<Digest>(uint32_t)>& block_digest) const {
  RegionNode node;
  node.extents = Extents();
  QUOIN_ASSIGN(node.digest, RegionDigest(node.extents, block_digest));
  return node;
}

}  // namespace quoin

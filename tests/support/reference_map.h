// What a map should say, as plain arrays: of each block of a sparse disk what it holds and where.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/digest.h"
#include "blockstore/maps/content_digest.h"
#include "blockstore/maps/map.h"
#include "blockstore/maps/map_builder.h"
#include "blockstore/maps/map_node.h"

namespace quoin {

// A pack of blocks for tests: its number is in its id.
inline Id TestPack(uint32_t number) {
  std::array<uint8_t, Id::kBytes> bytes{};
  bytes[0] = 0xb1;
  for (size_t i = 0; i < 4; ++i) bytes[4 + i] = static_cast<uint8_t>(number >> (8 * i));
  return Id::FromBytes(bytes);
}

// The digest of the block that a test calls by this number.
inline Digest TestBlockDigest(uint64_t content) {
  return DigestOf(std::as_bytes(std::span(&content, 1)));
}

struct ReferenceBlock {
  uint64_t content = 0;  // 0: a hole
  SlotLocation slot;
};

class ReferenceMap {
 public:
  void SetData(uint64_t block, uint64_t content, const SlotLocation& slot) {
    MutableRegion(block / kRegionBlocks)[block % kRegionBlocks] = {content, slot};
  }
  void SetHole(uint64_t first, uint64_t count) {
    for (uint64_t block = first; block < first + count; ++block) {
      if (regions_.contains(block / kRegionBlocks)) {
        MutableRegion(block / kRegionBlocks)[block % kRegionBlocks] = {};
      }
    }
  }
  void Truncate(uint64_t blocks) {
    regions_.erase(regions_.lower_bound((blocks + kRegionBlocks - 1) / kRegionBlocks),
                   regions_.end());
    if (blocks % kRegionBlocks != 0) SetHole(blocks, kRegionBlocks - blocks % kRegionBlocks);
  }

  ReferenceBlock At(uint64_t block) const {
    const auto known = regions_.find(block / kRegionBlocks);
    return known == regions_.end() ? ReferenceBlock() : known->second[block % kRegionBlocks];
  }
  // Regions that hold or held data.
  std::vector<uint64_t> Regions() const {
    std::vector<uint64_t> regions;
    for (const auto& [region, blocks] : regions_) regions.push_back(region);
    return regions;
  }

  // Block by block, so that nothing is shared with what is tested.
  RegionNode NodeOf(uint64_t region) const {
    RegionNode node;
    RegionDigester digester;
    for (uint32_t i = 0; i < kRegionBlocks; ++i) {
      const ReferenceBlock block = At(region * kRegionBlocks + i);
      if (block.content == 0) continue;
      digester.Add(i, TestBlockDigest(block.content));
      MapExtent* last = node.extents.empty() ? nullptr : &node.extents.back();
      if (last != nullptr && last->end() == i && last->slot.pack == block.slot.pack &&
          last->slot.slot + uint64_t{last->count} == block.slot.slot) {
        ++last->count;
      } else {
        node.extents.push_back({static_cast<uint16_t>(i), 1, block.slot});
      }
    }
    node.digest = digester.Finish();
    return node;
  }

  MapRun RunAt(uint64_t block, uint64_t limit) const {
    const ReferenceBlock start = At(block);
    MapRun run{start.content != 0, 1, start.slot};
    while (run.count < limit) {
      const ReferenceBlock next = At(block + run.count);
      if ((next.content != 0) != run.data) break;
      if (run.data && (next.slot.pack != start.slot.pack ||
                       next.slot.slot != uint64_t{start.slot.slot} + run.count)) {
        break;
      }
      ++run.count;
    }
    return run;
  }
  uint64_t CountData(uint64_t first, uint64_t end) const {
    uint64_t count = 0;
    for (const auto& [region, blocks] : regions_) {
      for (uint64_t i = 0; i < kRegionBlocks; ++i) {
        const uint64_t block = region * kRegionBlocks + i;
        if (first <= block && block < end && blocks[i].content != 0) ++count;
      }
    }
    return count;
  }

 private:
  using Region = std::vector<ReferenceBlock>;
  Region& MutableRegion(uint64_t region) {
    Region& blocks = regions_[region];
    blocks.resize(kRegionBlocks);
    return blocks;
  }

  std::map<uint64_t, Region> regions_;
};

// Builds all of the reference on an empty map.
inline Result<MapRoot> BuildAll(const ReferenceMap& reference, RecordReader& reader,
                                RecordWriter& writer, NodeCache& cache) {
  QUOIN_ASSIGN(const std::unique_ptr<Map> empty, Map::Open(reader, cache, MapRoot()));
  MapBuilder builder(*empty, writer);
  for (const uint64_t region : reference.Regions()) {
    QUOIN_TRY(builder.SetRegion(region, reference.NodeOf(region)));
  }
  return builder.Finish();
}

}  // namespace quoin

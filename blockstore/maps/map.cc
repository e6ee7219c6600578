#include "blockstore/maps/map.h"

#include <algorithm>
#include <utility>

namespace quoin {
namespace {

// first + count, or the greatest number.
uint64_t EndOf(uint64_t first, uint64_t count) {
  return count > ~uint64_t{0} - first ? ~uint64_t{0} : first + count;
}

// The run from `block` on within its region.
MapRun RunIn(const RegionNode& region, uint32_t block) {
  const auto after = std::upper_bound(
      region.extents.begin(), region.extents.end(), block,
      [](uint32_t wanted, const MapExtent& extent) { return wanted < extent.first; });
  if (after != region.extents.begin()) {
    const MapExtent& extent = *std::prev(after);
    if (block < extent.end()) {
      const uint32_t skipped = block - extent.first;
      return {true, extent.end() - block, {extent.slot.pack, extent.slot.slot + skipped}};
    }
  }
  const uint64_t next = after == region.extents.end() ? kRegionBlocks : after->first;
  return {false, next - block, {}};
}

// The data blocks in [first, end) of its region.
uint64_t CountIn(const RegionNode& region, uint64_t first, uint64_t end) {
  auto extent =
      std::partition_point(region.extents.begin(), region.extents.end(),
                           [first](const MapExtent& each) { return each.end() <= first; });
  uint64_t blocks = 0;
  for (; extent != region.extents.end() && extent->first < end; ++extent) {
    blocks += std::min<uint64_t>(extent->end(), end) - std::max<uint64_t>(extent->first, first);
  }
  return blocks;
}

bool Extends(const MapRun& run, const MapRun& next) {
  if (run.data != next.data) return false;
  return !run.data || (run.first.pack == next.first.pack &&
                       uint64_t{run.first.slot} + run.count == next.first.slot);
}

}  // namespace

Result<std::unique_ptr<Map>> Map::Open(RecordReader& reader, NodeCache& cache,
                                       const MapRoot& root) {
  QUOIN_TRY(CheckMapRoot(root));
  return std::unique_ptr<Map>(new Map(reader, cache, root));
}

Map::Map(RecordReader& reader, NodeCache& cache, const MapRoot& root)
    : reader_(reader), cache_(cache), root_(root) {}

Map::~Map() {
  for (auto& chunk : leaves_) delete chunk.load(std::memory_order_relaxed);
}

Map::Leaf& Map::LeafOf(uint64_t region) const {
  std::atomic<LeafChunk*>& slot = leaves_[region / kChunkLeaves % kChunks];
  LeafChunk* chunk = slot.load(std::memory_order_acquire);
  if (chunk == nullptr) {
    auto fresh = std::make_unique<LeafChunk>();
    if (slot.compare_exchange_strong(chunk, fresh.get(), std::memory_order_acq_rel)) {
      chunk = fresh.release();
    }
  }
  return (*chunk)[region % kChunkLeaves];
}

// The region must lie within the map's span.
Result<Map::Place> Map::Find(uint64_t region) const {
  Leaf& leaf = LeafOf(region);
  {
    MutexLock lock(leaf.mutex);
    if (leaf.region == region) {
      if (leaf.absent_end != 0) return Place{nullptr, leaf.absent_end};
      if (std::shared_ptr<const MapNode> node = leaf.node.lock()) {
        node->MarkUsed();
        return Place{std::move(node), 0};
      }
    }
  }
  QUOIN_ASSIGN(Place place, Descend(region));
  MutexLock lock(leaf.mutex);
  leaf.region = region;
  leaf.absent_end = place.absent_end;
  leaf.node = place.leaf;
  return place;
}

Result<Map::Place> Map::Descend(uint64_t region) const {
  MapChild child = ChildOfRoot(root_);
  for (unsigned level = root_.height;; --level) {
    QUOIN_ASSIGN(std::shared_ptr<const MapNode> node, ReadNode(child, level));
    if (level == 0) return Place{std::move(node), 0};
    const auto& children = node->inner()->children;
    size_t index = region / RegionsUnder(level - 1) % kMapFanout;
    if (!children[index].IsNull()) {
      child = children[index];
      continue;
    }
    while (index < kMapFanout && children[index].IsNull()) ++index;
    const uint64_t node_first = region / RegionsUnder(level) * RegionsUnder(level);
    return Place{nullptr, node_first + index * RegionsUnder(level - 1)};
  }
}

Result<MapRun> Map::FindRun(uint64_t block, uint64_t limit) const {
  const uint64_t end = EndOf(block, limit);
  MapRun run;
  uint64_t at = block;
  while (at < end) {
    MapRun piece;
    if (at >= span_blocks()) {
      piece.count = end - at;
    } else {
      QUOIN_ASSIGN(const Place place, Find(at / kRegionBlocks));
      if (place.leaf == nullptr) {
        piece.count = place.absent_end * kRegionBlocks - at;
      } else {
        piece = RunIn(*place.leaf->region(), static_cast<uint32_t>(at % kRegionBlocks));
      }
    }
    if (at == block) {
      run = piece;
    } else if (Extends(run, piece)) {
      run.count += piece.count;
    } else {
      break;
    }
    at += piece.count;
    if (at % kRegionBlocks != 0) break;  // within a region, what follows is another run
  }
  run.count = std::min(run.count, end - block);
  return run;
}

Result<uint64_t> Map::CountData(uint64_t first, uint64_t count) const {
  const uint64_t end = std::min(EndOf(first, count), span_blocks());
  if (first >= end) return 0;
  // Each first write of a guest asks for its few blocks: no way down is gone for them, nor every
  // extent looked at.
  const uint64_t region = first / kRegionBlocks;
  if (end - first < kRegionBlocks && (end - 1) / kRegionBlocks == region) {
    QUOIN_ASSIGN(const Place place, Find(region));
    if (place.leaf == nullptr) return 0;
    const uint64_t base = region * kRegionBlocks;
    return CountIn(*place.leaf->region(), first - base, end - base);
  }
  return CountUnder(ChildOfRoot(root_), root_.height, 0, first, end);
}

// Of the node that begins at block `node_first`, the data blocks in [first, end).
Result<uint64_t> Map::CountUnder(const MapChild& child, unsigned level, uint64_t node_first,
                                 uint64_t first, uint64_t end) const {
  const uint64_t node_end = node_first + BlocksUnder(level);
  if (child.IsNull() || end <= node_first || node_end <= first) return 0;
  if (first <= node_first && node_end <= end) return child.data_blocks;
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> node, ReadNode(child, level));
  if (level == 0) {
    const uint64_t from = std::max(first, node_first) - node_first;
    return CountIn(*node->region(), from, std::min(end, node_end) - node_first);
  }
  uint64_t blocks = 0;
  for (size_t i = 0; i < kMapFanout; ++i) {
    QUOIN_ASSIGN(const uint64_t part,
                 CountUnder(node->inner()->children[i], level - 1,
                            node_first + i * BlocksUnder(level - 1), first, end));
    blocks += part;
  }
  return blocks;
}

Result<std::optional<uint64_t>> Map::FindData(uint64_t block, uint64_t end) const {
  // A hole ends where data begins, so this is at most two rounds.
  while (block < std::min(end, span_blocks())) {
    QUOIN_ASSIGN(const MapRun run, FindRun(block, end - block));
    if (run.data) return std::optional(block);
    block += run.count;
  }
  return std::optional<uint64_t>();
}

Result<std::optional<uint64_t>> Map::FindHole(uint64_t block, uint64_t end) const {
  if (block >= end) return std::optional<uint64_t>();
  if (block < span_blocks()) {
    const uint64_t inside_end = std::min(end, span_blocks());
    QUOIN_ASSIGN(const std::optional<uint64_t> hole,
                 HoleUnder(ChildOfRoot(root_), root_.height, 0, block, inside_end));
    if (hole) return hole;
    block = inside_end;
  }
  return block < end ? std::optional(block) : std::nullopt;
}

Result<std::optional<uint64_t>> Map::HoleUnder(const MapChild& child, unsigned level,
                                               uint64_t node_first, uint64_t first,
                                               uint64_t end) const {
  const uint64_t from = std::max(first, node_first);
  const uint64_t to = std::min(end, node_first + BlocksUnder(level));
  if (from >= to || child.data_blocks == BlocksUnder(level)) return std::optional<uint64_t>();
  if (child.IsNull()) return std::optional(from);
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> node, ReadNode(child, level));
  if (level == 0) {
    uint64_t at = from;
    while (at < to) {
      const MapRun run = RunIn(*node->region(), static_cast<uint32_t>(at - node_first));
      if (!run.data) return std::optional(at);
      at += run.count;
    }
    return std::optional<uint64_t>();
  }
  for (size_t i = 0; i < kMapFanout; ++i) {
    QUOIN_ASSIGN(const std::optional<uint64_t> hole,
                 HoleUnder(node->inner()->children[i], level - 1,
                           node_first + i * BlocksUnder(level - 1), first, end));
    if (hole) return hole;
  }
  return std::optional<uint64_t>();
}

Status Map::ForEachExtent(uint64_t first, uint64_t end, const ExtentVisitor& visit) const {
  end = std::min(end, span_blocks());
  for (uint64_t region = first / kRegionBlocks; region * kRegionBlocks < end;) {
    QUOIN_ASSIGN(const Place place, Find(region));
    if (place.leaf == nullptr) {
      region = place.absent_end;
      continue;
    }
    const uint64_t base = region * kRegionBlocks;
    for (const MapExtent& extent : place.leaf->region()->extents) {
      const uint64_t from = std::max(first, base + extent.first);
      const uint64_t to = std::min(end, base + extent.end());
      if (from >= to) continue;
      const auto skipped = static_cast<uint32_t>(from - base - extent.first);
      QUOIN_TRY(visit(from, to - from, SlotLocation{extent.slot.pack, extent.slot.slot + skipped}));
    }
    ++region;
  }
  return {};
}

Result<std::shared_ptr<const RegionNode>> Map::ReadRegion(uint64_t region) const {
  if (region >= kMaxVdiRegions || region * kRegionBlocks >= span_blocks()) return nullptr;
  QUOIN_ASSIGN(const Place place, Find(region));
  if (place.leaf == nullptr) return nullptr;
  return std::shared_ptr<const RegionNode>(place.leaf, place.leaf->region());
}

}  // namespace quoin

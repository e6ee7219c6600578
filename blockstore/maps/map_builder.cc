#include "blockstore/maps/map_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <utility>

#include "blockstore/maps/content_digest.h"
#include "blockstore/maps/region_change.h"

namespace quoin {
namespace {

uint64_t RegionsOf(uint64_t blocks) { return (blocks + kRegionBlocks - 1) / kRegionBlocks; }

}  // namespace

MapBuilder::MapBuilder(const Map& base, RecordWriter& writer, uint64_t keep_blocks)
    : base_(base),
      writer_(writer),
      keep_blocks_(std::min(keep_blocks, kMaxVdiBlocks)),
      top_{ChildOfRoot(base.root()), base.root().height, false} {}

MapBuilder::Subtree& MapBuilder::ParentEntry(unsigned level, uint64_t index) {
  return level == kMaxMapHeight ? top_ : open_[level + 1]->children[index % kMapFanout];
}

Status MapBuilder::SetRegion(uint64_t region, const RegionNode& content) {
  const bool rises = !last_region_ || *last_region_ < region;
  const uint64_t end = content.extents.empty() ? 0 : content.extents.back().end();
  const bool fits =
      region < RegionsOf(keep_blocks_) && region * kRegionBlocks + end <= keep_blocks_;
  if (!rises || !fits) std::abort();
  QUOIN_TRY(OpenPath(region));
  last_region_ = region;
  Subtree& entry = ParentEntry(0, region);
  if (content.extents.empty()) {
    entry = {};
    return {};
  }
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> before, Before(entry));
  if (before != nullptr && before->region()->extents == content.extents &&
      entry.child.digest == content.digest) {
    return {};
  }
  QUOIN_ASSIGN(const std::string bytes, EncodeRegion(entry.child.at, before, content));
  QUOIN_ASSIGN(const SlotLocation at, Write(bytes));
  entry = {{.digest = content.digest, .at = at, .data_blocks = content.CountData()}, 0, true};
  return {};
}

// The region as it is in the base; null if it is not there. What is damaged is no base for
// anything, and need not be: the region's new content is known.
Result<std::shared_ptr<const MapNode>> MapBuilder::Before(const Subtree& entry) {
  if (entry.IsNull()) return nullptr;
  Result<std::shared_ptr<const MapNode>> node = base_.ReadNode(entry.child, 0);
  if (!node && node.error().code == ErrorCode::kCorrupt) return nullptr;
  return node;
}

// Whole, or as changes to the region as it is in the base, at `at`, or to one that this is built
// on: the node of the chain that the next position has for its base.
Result<std::string> MapBuilder::EncodeRegion(const SlotLocation& at,
                                             const std::shared_ptr<const MapNode>& before,
                                             const RegionNode& content) {
  std::string whole = EncodeRegionNode(content);
  const size_t limit_bytes = whole.size() / 2;
  if (before == nullptr || limit_bytes < kMinRegionChangeBytes) return whole;
  const RegionChain& chain = before->chain();
  if (chain.position == kMaxChainPosition) return whole;
  RegionChange change;
  change.digest = content.digest;
  change.result_checksum = RegionChecksum(content);
  change.position = chain.position + 1;
  // The base before has lost one bit of its position for each step down its chain.
  std::shared_ptr<const MapNode> base = before;
  change.base = at;
  if (const int steps = std::countr_one(chain.position); steps > 0) {
    change.base = chain.bases[static_cast<size_t>(steps) - 1];
    Result<std::shared_ptr<const MapNode>> earlier = base_.ReadBase(change.base);
    if (!earlier && earlier.error().code == ErrorCode::kCorrupt) return whole;
    if (!earlier) return Failure(std::move(earlier).error());
    base = std::move(*earlier);
  }
  change.runs = DifferenceOf(base->region()->extents, content.extents);
  std::string bytes = EncodeRegionChange(change);
  return bytes.size() <= limit_bytes ? bytes : whole;
}

// Opens all nodes above the region, after closing those that are not.
Status MapBuilder::OpenPath(uint64_t region) {
  for (unsigned level = 1; level <= kMaxMapHeight; ++level) {
    if (open_[level] && open_[level]->index != region / RegionsUnder(level)) {
      QUOIN_TRY(CloseNode(level));
    }
  }
  for (unsigned level = kMaxMapHeight; level >= 1; --level) {
    if (open_[level]) continue;
    const uint64_t index = region / RegionsUnder(level);
    QUOIN_ASSIGN(open_[level], Expand(ParentEntry(level, index), level, index));
  }
  return {};
}

Result<MapBuilder::OpenNode> MapBuilder::Expand(const Subtree& subtree, unsigned level,
                                                uint64_t index) {
  OpenNode node;
  node.index = index;
  if (subtree.IsNull()) return node;
  if (subtree.level < level) {
    node.children[0] = subtree;
    return node;
  }
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> present, base_.ReadNode(subtree.child, level));
  node.base = subtree.child;
  node.base_children = present->inner()->children;
  for (size_t i = 0; i < kMapFanout; ++i) {
    const uint64_t first_region = (index * kMapFanout + i) * RegionsUnder(level - 1);
    if (first_region >= RegionsOf(keep_blocks_)) break;
    node.children[i] = {node.base_children[i], level - 1, false};
  }
  return node;
}

Status MapBuilder::CloseNode(unsigned level) {
  QUOIN_ASSIGN(const Subtree subtree, Collapse(*open_[level], level));
  ParentEntry(level, open_[level]->index) = subtree;
  open_[level].reset();
  return {};
}

// What a node that is done becomes: nothing, the base's node, what is under its child 0 as long as
// no node above needs more, or a new node.
Result<MapBuilder::Subtree> MapBuilder::Collapse(const OpenNode& node, unsigned level) {
  bool beyond_first = false;
  bool any = false;
  bool changed = node.base.IsNull();
  for (size_t i = 0; i < kMapFanout; ++i) {
    const Subtree& child = node.children[i];
    any = any || !child.IsNull();
    beyond_first = beyond_first || (i > 0 && !child.IsNull());
    changed = changed || child.child != node.base_children[i] ||
              (!child.IsNull() && child.level != level - 1);
  }
  if (!any) return Subtree();
  if (!changed) return Subtree{node.base, level, false};
  if (node.index == 0 && !beyond_first) return node.children[0];
  InnerNode inner;
  inner.level = static_cast<uint8_t>(level);
  for (size_t i = 0; i < kMapFanout; ++i) {
    if (node.children[i].IsNull()) continue;
    QUOIN_ASSIGN(inner.children[i], Lift(node.children[i], level - 1));
  }
  QUOIN_ASSIGN(const MapChild written, WriteInner(inner));
  return Subtree{written, level, true};
}

// Writes the nodes that a lower subtree lacks to be one of this level.
Result<MapChild> MapBuilder::Lift(const Subtree& subtree, unsigned level) {
  MapChild child = subtree.child;
  for (unsigned at = subtree.level + 1; at <= level; ++at) {
    InnerNode inner;
    inner.level = static_cast<uint8_t>(at);
    inner.children[0] = child;
    QUOIN_ASSIGN(child, WriteInner(inner));
  }
  return child;
}

Result<MapChild> MapBuilder::WriteInner(const InnerNode& inner) {
  QUOIN_ASSIGN(const SlotLocation at, Write(EncodeInnerNode(inner)));
  return MapChild{.digest = InnerDigest(inner), .at = at, .data_blocks = inner.CountData()};
}

Result<SlotLocation> MapBuilder::Write(const std::string& bytes) {
  ++nodes_written_;
  bytes_written_ += bytes.size();
  return writer_.AddRecord(RecordKind::kMapNode, bytes);
}

Result<MapRoot> MapBuilder::Finish() {
  if (keep_blocks_ == 0) {
    top_ = {};
  } else if (keep_blocks_ < base_.span_blocks()) {
    QUOIN_TRY(CheckCut());
  }
  for (unsigned level = 1; level <= kMaxMapHeight; ++level) {
    if (open_[level]) QUOIN_TRY(CloseNode(level));
  }
  QUOIN_TRY(StripTop());
  return MapRoot{.location = top_.child.at,
                 .height = static_cast<uint8_t>(top_.level),
                 .digest = top_.child.digest,
                 .data_blocks = top_.child.data_blocks};
}

// Opens the path to the last region that is kept: every node that the cut goes through is on it,
// and is left without what lies beyond.
Status MapBuilder::CheckCut() {
  const uint64_t last = RegionsOf(keep_blocks_) - 1;
  QUOIN_TRY(OpenPath(last));
  const Subtree& entry = ParentEntry(0, last);
  if (entry.IsNull() || entry.is_new || keep_blocks_ % kRegionBlocks == 0) return {};
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> node, base_.ReadNode(entry.child, 0));
  if (node->region()->extents.back().end() <= keep_blocks_ % kRegionBlocks) return {};
  return Fail(
      ErrorCode::kInvalid,
      fmt::format("cannot cut a map to {} blocks: region {} has data beyond and was not set",
                  keep_blocks_, last));
}

// A root that has only child 0 gives way to it. Such nodes are never new: Collapse makes none.
Status MapBuilder::StripTop() {
  while (!top_.IsNull() && top_.level > 0 && !top_.is_new) {
    QUOIN_ASSIGN(const std::shared_ptr<const MapNode> node, base_.ReadNode(top_.child, top_.level));
    const auto& children = node->inner()->children;
    if (std::any_of(children.begin() + 1, children.end(),
                    [](const MapChild& child) { return !child.IsNull(); })) {
      break;
    }
    top_ = {children[0], top_.level - 1, false};
  }
  if (top_.IsNull()) top_ = {};
  return {};
}

}  // namespace quoin

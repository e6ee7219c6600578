#include "blockstore/maps/map_walk.h"

#include <algorithm>
#include <array>
#include <span>

#include "blockstore/maps/extent_cursor.h"

namespace quoin {
namespace {

Result<std::shared_ptr<const MapNode>> Read(RecordReader& reader, const MapChild& child,
                                            unsigned level, MapVisitor& visitor,
                                            NodeCache* regions) {
  if (level > 0) return ReadMapNode(reader, child, level);
  NodeReading reading;
  reading.visit_base = [&visitor](const SlotLocation& at) { return visitor.VisitBase(at); };
  if (regions == nullptr) return ReadMapNode(reader, child, level, reading);
  return regions->Get(reader, child, level, reading.visit_base);
}

Status VisitUnder(RecordReader& reader, const MapChild& child, unsigned level, MapVisitor& visitor,
                  NodeCache* regions) {
  QUOIN_ASSIGN(const bool is_first, visitor.VisitNode(child.at));
  if (!is_first) return {};
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> node,
               Read(reader, child, level, visitor, regions));
  if (level == 0) {
    for (const MapExtent& extent : node->region()->extents) {
      QUOIN_TRY(visitor.VisitExtent(extent.slot, extent.count));
    }
    return {};
  }
  for (const MapChild& below : node->inner()->children) {
    if (!below.IsNull()) QUOIN_TRY(VisitUnder(reader, below, level - 1, visitor, regions));
  }
  return {};
}

void VisitPlacesUnder(RecordReader& reader, const MapChild& child, unsigned level, uint64_t first,
                      PlaceVisitor& visitor) {
  if (!visitor.EnterNode(child.at)) return;
  NodeReading reading;
  reading.visit_base = [&visitor](const SlotLocation& at) -> Status {
    visitor.VisitBase(at);
    return {};
  };
  const Result<std::shared_ptr<const MapNode>> node = ReadMapNode(reader, child, level, reading);
  if (!node) {
    visitor.VisitDamage(first, BlocksUnder(level), child.at, node.error());
  } else if (level == 0) {
    for (const MapExtent& extent : (*node)->region()->extents) {
      visitor.VisitExtent(first + extent.first, extent.slot, extent.count);
    }
  } else {
    for (size_t i = 0; i < kMapFanout; ++i) {
      const MapChild& below = (*node)->inner()->children[i];
      if (below.IsNull()) continue;
      VisitPlacesUnder(reader, below, level - 1, first + i * BlocksUnder(level - 1), visitor);
    }
  }
  visitor.LeaveNode(child.at);
}

// One of the two maps, as far as the comparison has gone down in it. Where the other map is higher,
// the node is of a lower level than the place it stands in, and is all that is under its child 0.
struct Side {
  MapChild child;
  unsigned level = 0;
};

Result<std::array<Side, kMapFanout>> ChildrenOf(const Map& map, const Side& side, unsigned level) {
  std::array<Side, kMapFanout> children;
  if (side.child.IsNull()) return children;
  if (side.level < level) {
    children[0] = side;
    return children;
  }
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> node, map.ReadNode(side.child, level));
  for (size_t i = 0; i < kMapFanout; ++i) {
    children[i] = {node->inner()->children[i], level - 1};
  }
  return children;
}

class Comparison {
 public:
  Comparison(const Map& a, const Map& b, uint64_t first, uint64_t end,
             const DifferenceVisitor& visit)
      : a_(a), b_(b), first_(first), end_(end), visit_(visit) {}

  // Of the nodes of this level that begin at block `node_first`.
  Status Under(const Side& a, const Side& b, unsigned level, uint64_t node_first) {
    if (end_ <= node_first || node_first + BlocksUnder(level) <= first_) return {};
    if (a.child.IsNull() && b.child.IsNull()) return {};
    if (a.level == b.level && a.child.digest == b.child.digest) return {};
    if (level == 0) return Regions(a, b, node_first);
    QUOIN_ASSIGN(const auto a_children, ChildrenOf(a_, a, level));
    QUOIN_ASSIGN(const auto b_children, ChildrenOf(b_, b, level));
    for (size_t i = 0; i < kMapFanout; ++i) {
      QUOIN_TRY(
          Under(a_children[i], b_children[i], level - 1, node_first + i * BlocksUnder(level - 1)));
    }
    return {};
  }

  Status Finish() {
    if (run_first_ == run_end_) return {};
    return visit_(run_first_, run_end_ - run_first_);
  }

 private:
  static Result<std::shared_ptr<const MapNode>> Leaf(const Map& map, const Side& side) {
    if (side.child.IsNull()) return nullptr;
    return map.ReadNode(side.child, 0);
  }
  static std::span<const MapExtent> ExtentsOf(const MapNode* node) {
    if (node == nullptr) return {};
    return node->region()->extents;
  }

  Status Regions(const Side& a, const Side& b, uint64_t node_first) {
    QUOIN_ASSIGN(const std::shared_ptr<const MapNode> a_node, Leaf(a_, a));
    QUOIN_ASSIGN(const std::shared_ptr<const MapNode> b_node, Leaf(b_, b));
    ExtentCursor a_cursor(ExtentsOf(a_node.get()));
    ExtentCursor b_cursor(ExtentsOf(b_node.get()));
    for (uint32_t at = 0; at < kRegionBlocks;) {
      const Stretch a_stretch = a_cursor.At(at);
      const Stretch b_stretch = b_cursor.At(at);
      const uint32_t next = std::min(a_stretch.end, b_stretch.end);
      if (!AreSame(a_stretch, b_stretch)) QUOIN_TRY(Add(node_first + at, node_first + next));
      at = next;
    }
    return {};
  }

  // Differences in rising order; those that touch are reported as one.
  Status Add(uint64_t first, uint64_t end) {
    first = std::max(first, first_);
    end = std::min(end, end_);
    if (first >= end) return {};
    if (run_first_ != run_end_ && run_end_ == first) {
      run_end_ = end;
      return {};
    }
    QUOIN_TRY(Finish());
    run_first_ = first;
    run_end_ = end;
    return {};
  }

  const Map& a_;
  const Map& b_;
  const uint64_t first_;
  const uint64_t end_;
  const DifferenceVisitor& visit_;
  uint64_t run_first_ = 0;
  uint64_t run_end_ = 0;
};

Side SideOf(const Map& map) { return {ChildOfRoot(map.root()), map.root().height}; }

}  // namespace

Status VisitReachable(RecordReader& reader, const MapRoot& root, MapVisitor& visitor,
                      NodeCache* regions) {
  QUOIN_TRY(CheckMapRoot(root));
  if (root.IsEmpty()) return {};
  return VisitUnder(reader, ChildOfRoot(root), root.height, visitor, regions);
}

void VisitPlaces(RecordReader& reader, const MapRoot& root, PlaceVisitor& visitor) {
  if (root.IsEmpty()) return;
  if (const Status checked = CheckMapRoot(root); !checked) {
    return visitor.VisitDamage(0, kMaxVdiBlocks, root.location, checked.error());
  }
  VisitPlacesUnder(reader, ChildOfRoot(root), root.height, 0, visitor);
}

Status CompareMaps(const Map& a, const Map& b, uint64_t first, uint64_t end,
                   const DifferenceVisitor& visit) {
  Comparison comparison(a, b, first, end, visit);
  const unsigned level = std::max(a.root().height, b.root().height);
  QUOIN_TRY(comparison.Under(SideOf(a), SideOf(b), level, 0));
  return comparison.Finish();
}

}  // namespace quoin

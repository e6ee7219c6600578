// Going through whole maps: everything that a root reaches (for the collector), the same with where
// it lies on the disk and past what is damaged (for scrubbing), and what two maps do not have in common
// (for diffs). Any thread; only visitors keep state.
#pragma once

#include <cstdint>
#include <functional>

#include "blockstore/base/error.h"
#include "blockstore/maps/map.h"
#include "blockstore/maps/map_root.h"
#include "blockstore/maps/node_cache.h"
#include "blockstore/packs/records.h"

namespace quoin {

// What a walk finds. An error ends the walk and is passed on.
class MapVisitor {
 public:
  virtual ~MapVisitor() = default;
  // A node's record. False if it was visited before: the walk then leaves it out, unread, with all
  // that is under it. A visitor that remembers nodes sees each once, however many maps share it.
  virtual Result<bool> VisitNode(const SlotLocation& at) = 0;
  // A record that the node visited last is built on (MapNode::chain), which must live as long as that
  // node. This is no visit of what is there: it may be a node of another map, with extents of its own
  // that this map does not reach, so it must not count as visited, nor a visit of it keep anybody from
  // being told of it here. Told of each such record of each node that is visited.
  virtual Status VisitBase(const SlotLocation& at) = 0;
  // `count` blocks in consecutive slots.
  virtual Status VisitExtent(const SlotLocation& first, uint64_t count) = 0;
};

// What walkers that go through many maps give to their `regions`.
inline constexpr size_t kWalkCacheBytes = size_t{64} << 20;

// Visits every node and every extent that the root reaches, parents before children. kCorrupt for
// damaged nodes, and the reader's errors. At most kMaxMapHeight + 1 nodes in memory, and what `regions`
// keeps: with it nodes of regions are built on those of the maps that were walked before instead of
// from the whole one on. It should be the walker's own, for one pass over everything would only push
// out of a map's what guests need.
Status VisitReachable(RecordReader& reader, const MapRoot& root, MapVisitor& visitor,
                      NodeCache* regions = nullptr);

// What a walk finds, and where on the disk.
class PlaceVisitor {
 public:
  virtual ~PlaceVisitor() = default;
  // False: the node is left out, unread, with all that is under it.
  virtual bool EnterNode(const SlotLocation& at) = 0;
  // A record that the node entered last is built on, as in MapVisitor; where one cannot be read, that
  // one is the last.
  virtual void VisitBase(const SlotLocation& at) = 0;
  // After all that is under a node that was entered.
  virtual void LeaveNode(const SlotLocation& at) = 0;
  // `count` blocks of the disk from `first` on are in consecutive slots from `slot` on.
  virtual void VisitExtent(uint64_t first, const SlotLocation& slot, uint64_t count) = 0;
  // The node at `at`, or what it is built on, cannot be read, so what `count` blocks from `first` on
  // hold is not known.
  virtual void VisitDamage(uint64_t first, uint64_t count, const SlotLocation& at,
                           const Error& error) = 0;
};

// As VisitReachable, in rising order of blocks; what cannot be read is told to the visitor and passed
// over. A node that was entered and cannot be read is left all the same.
void VisitPlaces(RecordReader& reader, const MapRoot& root, PlaceVisitor& visitor);

// Calls visit(first block, count) for the runs of [first, end) in which the maps may differ: where
// one has data and the other a hole, or both have data in different slots. In rising order, as long
// as can be. Skips subtrees of equal digests, so the time it takes depends on what differs and not
// on the size; but blocks that lie in different slots of a region that differs elsewhere are
// reported even if they are equal.
using DifferenceVisitor = std::function<Status(uint64_t, uint64_t)>;
Status CompareMaps(const Map& a, const Map& b, uint64_t first, uint64_t end,
                   const DifferenceVisitor& visit);

}  // namespace quoin

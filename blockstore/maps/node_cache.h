// Decoded nodes of maps by where they lie, shared by all maps of a store: snapshots and clones of
// one image have most nodes in common. Thread-safe; in shards with a lock each, so that threads
// rarely meet. Nodes never change, so nothing is ever invalid.
//
// What goes first when the budget is spent is what was not used since it was last looked at: a
// second chance instead of strict order, so that a map may use a node that it already has by
// marking it (MapNode::MarkUsed), without a lock and without asking here.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <unordered_map>

#include "blockstore/base/error.h"
#include "blockstore/base/mutex.h"
#include "blockstore/maps/map_node.h"
#include "blockstore/packs/records.h"

namespace quoin {

struct NodeCacheCounters {
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t evictions = 0;
  uint64_t nodes = 0;  // now
  uint64_t bytes = 0;  // now
};

class NodeCache {
 public:
  // Of the budget each of kShards shards has its part; a node that is larger than that is not kept.
  static constexpr size_t kShards = 16;
  explicit NodeCache(size_t budget_bytes) : shard_budget_bytes_(budget_bytes / kShards) {}

  // The node of `child`, from memory or through the reader, checked against what its parent says
  // (CheckMapNode). Errors are passed on and not remembered. Two threads that miss the same node at
  // once both read it, and share one copy afterwards. `visit_base` is told of what the node is
  // built on in either case (NodeReading); it may be empty.
  using BaseVisitor = std::function<Status(const SlotLocation&)>;
  Result<std::shared_ptr<const MapNode>> Get(RecordReader& reader, const MapChild& child,
                                             unsigned level, const BaseVisitor& visit_base = {});

  // The node of a region that others are built on, from memory or past it: it is wanted for making
  // the next one and not for itself. It is not known by its parent; kCorrupt if it is not a
  // region's.
  Result<std::shared_ptr<const MapNode>> GetBase(RecordReader& reader, const SlotLocation& at);

  NodeCacheCounters counters();

 private:
  struct Entry {
    SlotLocation at;
    std::shared_ptr<const MapNode> node;
    size_t bytes;
  };
  struct alignas(64) Shard {
    Mutex mutex{LockRank::kLeaf};
    std::list<Entry> entries QUOIN_GUARDED_BY(mutex);  // the newest first
    std::unordered_map<SlotLocation, std::list<Entry>::iterator, SlotLocationHash> by_location
        QUOIN_GUARDED_BY(mutex);
    uint64_t bytes QUOIN_GUARDED_BY(mutex) = 0;
    uint64_t hits QUOIN_GUARDED_BY(mutex) = 0;
    uint64_t misses QUOIN_GUARDED_BY(mutex) = 0;
    uint64_t evictions QUOIN_GUARDED_BY(mutex) = 0;
  };

  Shard& ShardOf(const SlotLocation& at);
  std::shared_ptr<const MapNode> Find(const SlotLocation& at);
  // What is read anew is built on what is in memory.
  NodeReading Reading(const BaseVisitor& visit_base);
  std::shared_ptr<const MapNode> Insert(Shard& shard, const SlotLocation& at,
                                        std::shared_ptr<const MapNode> node);
  void Evict(Shard& shard) QUOIN_REQUIRES(shard.mutex);

  const size_t shard_budget_bytes_;
  std::array<Shard, kShards> shards_;
};

}  // namespace quoin

// An immutable map: which of a disk's blocks hold data, and in which slots of which packs. Made
// from a MapRoot; reads nodes as they are needed. Thread-safe. Borrows the reader and the cache,
// which must outlive it.
//
// A lookup in a region that was looked at before takes one lock of its own region's and no other
// (leaves_), so threads meet only within 16 MiB. The map holds leaves weakly: what the cache gives
// up is gone, unless a reader has it in hand.
//
// Blocks are numbered from the disk's start. A map knows no size: beyond its last data all is hole.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "blockstore/base/error.h"
#include "blockstore/base/mutex.h"
#include "blockstore/maps/map_node.h"
#include "blockstore/maps/map_root.h"
#include "blockstore/maps/node_cache.h"
#include "blockstore/packs/records.h"

namespace quoin {

// `count` consecutive blocks that are holes, or lie in consecutive slots from `first` on.
struct MapRun {
  bool data = false;
  uint64_t count = 0;
  SlotLocation first;  // null for a hole

  bool operator==(const MapRun&) const = default;
};

class Map {
 public:
  // kCorrupt if there can be no such root. Reads nothing yet. Every method below that reads nodes
  // fails with kCorrupt for a damaged one, and with the reader's errors.
  static Result<std::unique_ptr<Map>> Open(RecordReader& reader, NodeCache& cache,
                                           const MapRoot& root);
  ~Map();
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;

  const MapRoot& root() const { return root_; }
  // All blocks from here on are holes.
  uint64_t span_blocks() const { return root_.IsEmpty() ? 0 : BlocksUnder(root_.height); }

  // The longest run from `block` on, of at most `limit` blocks (limit > 0), that is all hole or all
  // in consecutive slots. Skips absent subtrees in one step.
  Result<MapRun> FindRun(uint64_t block, uint64_t limit) const;

  // How many of these blocks hold data. Reads only the nodes at the two ends.
  Result<uint64_t> CountData(uint64_t first, uint64_t count) const;

  // The first block in [block, end) that holds data, or that does not; nothing if there is none.
  // Skip what is empty, or full, in one step.
  Result<std::optional<uint64_t>> FindData(uint64_t block, uint64_t end) const;
  Result<std::optional<uint64_t>> FindHole(uint64_t block, uint64_t end) const;

  // Calls visit(first block, count, first slot) for every extent of [first, end), in order, cut at
  // the ends and at the borders of regions. Stops at the first error of `visit` and passes it on.
  using ExtentVisitor = std::function<Status(uint64_t, uint64_t, const SlotLocation&)>;
  Status ForEachExtent(uint64_t first, uint64_t end, const ExtentVisitor& visit) const;

  // Null if the region holds no data.
  Result<std::shared_ptr<const RegionNode>> ReadRegion(uint64_t region) const;

  // A node of this map, for those who walk it themselves.
  Result<std::shared_ptr<const MapNode>> ReadNode(const MapChild& child, unsigned level) const {
    return cache_.Get(reader_, child, level);
  }
  // A node that one of this map's is built on (MapNode::chain), for those who make the next one.
  Result<std::shared_ptr<const MapNode>> ReadBase(const SlotLocation& at) const {
    return cache_.GetBase(reader_, at);
  }

 private:
  // What was found for a region: its node, or that nothing is in regions up to `absent_end`.
  struct Place {
    std::shared_ptr<const MapNode> leaf;
    uint64_t absent_end = 0;
  };
  // The place of the last region looked for of those that share this entry.
  struct Leaf {
    static constexpr uint64_t kNoRegion = ~uint64_t{0};
    Mutex mutex{LockRank::kLeaf};
    uint64_t region QUOIN_GUARDED_BY(mutex) = kNoRegion;
    uint64_t absent_end QUOIN_GUARDED_BY(mutex) = 0;  // 0: `node` is the region's
    std::weak_ptr<const MapNode> node QUOIN_GUARDED_BY(mutex);
  };
  // Leaves of 256 GiB without two sharing an entry. 5 KiB for each chunk that is looked at, so at
  // most 1.3 MiB a map.
  static constexpr uint64_t kChunkLeaves = 64;
  static constexpr uint64_t kChunks = 256;
  using LeafChunk = std::array<Leaf, kChunkLeaves>;

  Map(RecordReader& reader, NodeCache& cache, const MapRoot& root);

  Leaf& LeafOf(uint64_t region) const;
  Result<Place> Find(uint64_t region) const;
  Result<Place> Descend(uint64_t region) const;
  Result<uint64_t> CountUnder(const MapChild& child, unsigned level, uint64_t node_first,
                              uint64_t first, uint64_t end) const;
  Result<std::optional<uint64_t>> HoleUnder(const MapChild& child, unsigned level,
                                            uint64_t node_first, uint64_t first,
                                            uint64_t end) const;

  RecordReader& reader_;
  NodeCache& cache_;
  const MapRoot root_;
  // Owned; each made once, then there until the end.
  mutable std::array<std::atomic<LeafChunk*>, kChunks> leaves_{};
};

}  // namespace quoin

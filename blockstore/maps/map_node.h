// The nodes of a map, decoded, and their form on disk (byte by byte in blockstore/README.md).
//
// A region's node (level 0) lists the extents of 4,096 blocks; an inner node of level n has sixteen
// children of level n - 1. What holds no data has no node: an absent child, not an empty one. Nodes
// are records of packs, written once and never changed, so a decoded node may be shared by all
// threads for as long as anyone likes.
//
// A node is believed only as far as its parent vouches for it: CheckMapNode compares its level, its
// content's digest and its number of data blocks with what the parent says, so a walk always gets
// one level lower and ends, and counts are the same wherever they are read.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/digest.h"
#include "blockstore/base/error.h"
#include "blockstore/maps/map_root.h"
#include "blockstore/packs/records.h"
#include "blockstore/packs/slot.h"

namespace quoin {

inline constexpr unsigned kMapFanoutBits = 4;
inline constexpr size_t kMapFanout = size_t{1} << kMapFanoutBits;
inline constexpr unsigned kMaxMapHeight = 6;

// What a node of this level spans.
constexpr uint64_t RegionsUnder(unsigned level) { return uint64_t{1} << (kMapFanoutBits * level); }
constexpr uint64_t BlocksUnder(unsigned level) { return RegionsUnder(level) * kRegionBlocks; }

static_assert(RegionsUnder(kMaxMapHeight) == kMaxVdiRegions);

// `count` consecutive blocks of a region in consecutive slots of one pack.
struct MapExtent {
  uint16_t first = 0;  // block in the region
  uint16_t count = 0;
  SlotLocation slot;  // of the first block

  bool operator==(const MapExtent&) const = default;
  uint32_t end() const { return uint32_t{first} + count; }
};

// True if `next` begins where `extent` ends, in the region and in the pack: the two are one.
bool Continues(const MapExtent& extent, const MapExtent& next);

struct RegionNode {
  Digest digest;                   // of the content: RegionDigester
  std::vector<MapExtent> extents;  // rising, apart, none continues the one before; empty: no data

  bool operator==(const RegionNode&) const = default;
  uint64_t CountData() const;
};

// What a parent knows of a child.
struct MapChild {
  Digest digest;
  SlotLocation at;
  uint64_t data_blocks = 0;

  bool operator==(const MapChild&) const = default;
  bool IsNull() const { return at.IsNull(); }
};

struct InnerNode {
  uint8_t level = 1;
  std::array<MapChild, kMapFanout> children;  // at least one is not null

  bool operator==(const InnerNode&) const = default;
  uint64_t CountData() const;
};

// Where a region's node is written down, besides its own record: a node may be written as changes to an
// earlier one, and that one too (region_change.h).
struct RegionChain {
  uint32_t position = 0;            // 0: the node's record is all of it
  std::vector<SlotLocation> bases;  // the records that it is built on; the last one is whole

  bool operator==(const RegionChain&) const = default;
};

// Either kind, with what is asked of both. Immutable but for the mark that the cache looks at.
class MapNode {
 public:
  explicit MapNode(RegionNode region, RegionChain chain = {});
  explicit MapNode(InnerNode inner);

  unsigned level() const;
  const Digest& digest() const { return digest_; }
  uint64_t data_blocks() const { return data_blocks_; }
  size_t memory_bytes() const;

  // Null if the node is of the other kind.
  const RegionNode* region() const { return std::get_if<RegionNode>(&node_); }
  const InnerNode* inner() const { return std::get_if<InnerNode>(&node_); }
  const RegionChain& chain() const { return chain_; }

  // Used since the mark was last taken. Looks before it writes: threads that read one node share
  // its cache line.
  void MarkUsed() const {
    if (!used_.load(std::memory_order_relaxed)) used_.store(true, std::memory_order_relaxed);
  }
  bool TakeUsedMark() const { return used_.exchange(false, std::memory_order_relaxed); }

 private:
  const std::variant<RegionNode, InnerNode> node_;
  const RegionChain chain_;
  const Digest digest_;
  const uint64_t data_blocks_;
  mutable std::atomic<bool> used_{false};
};

// Abort if the node breaks the rules above: nobody may write such a node.
std::string EncodeRegionNode(const RegionNode& node);
std::string EncodeInnerNode(const InnerNode& node);

// Of a node that is written whole. kCorrupt, with what is wrong, for everything that the two above
// cannot make. Allocates in proportion to the bytes.
Result<std::shared_ptr<const MapNode>> DecodeMapNode(std::string_view bytes);

// What whoever has nodes read may take part in; either may be left out.
struct NodeReading {
  // Told of each record that the node is built on, the nearest first, before it is read. An error ends
  // the reading and is passed on.
  std::function<Status(const SlotLocation&)> visit_base;
  // The node there if it is in memory, else null. Saves reading it and what it is built on.
  std::function<std::shared_ptr<const MapNode>(const SlotLocation&)> find_node;
};

// Reads and decodes the node of `child`, if it is written as changes with all that it is built on, and
// checks it against what its parent says. kCorrupt also if something of it is missing. Reads at most
// thirteen records, whatever they hold.
Result<std::shared_ptr<const MapNode>> ReadMapNode(RecordReader& reader, const MapChild& child,
                                                   unsigned level, const NodeReading& reading = {});
// The same for a node that others are built on, for which no parent vouches here: kCorrupt if it is not
// a region's.
Result<std::shared_ptr<const MapNode>> ReadBaseNode(RecordReader& reader, const SlotLocation& at,
                                                    const NodeReading& reading = {});
// kCorrupt if the node is not of this level, digest and number of data blocks.
Status CheckMapNode(const MapNode& node, const MapChild& child, unsigned level);

// kCorrupt if no map can have such a root.
Status CheckMapRoot(const MapRoot& root);
MapChild ChildOfRoot(const MapRoot& root);

}  // namespace quoin

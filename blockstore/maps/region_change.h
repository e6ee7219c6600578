// A region's node written down as changes to an earlier node of the region (byte by byte in
// blockstore/README.md), which is how a region of thousands of extents costs little when few of
// them change. MapBuilder decides who is written so, ReadMapNode reads it; everybody else sees
// nodes that are whole. Pure functions.
//
// A node has a position in its chain: one that is written whole has 0, one that is made from a node
// of position i has i + 1, and what it is written as changes to is the node of the chain at
// BasePosition. A node with as many bits set in its position is made of that many records besides
// the whole one, so of twelve at most; and positions fall strictly on the way, so no chain ever
// loops.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/digest.h"
#include "blockstore/base/error.h"
#include "blockstore/maps/map_node.h"
#include "blockstore/maps/region_edit.h"
#include "blockstore/packs/slot.h"

namespace quoin {

inline constexpr uint32_t kMaxChainPosition = 4095;

// The position without its lowest bit. Of a node of position i the chain to the whole node goes
// through all that clearing the lowest bits of i leaves, and BasePosition(i + 1) is i or among
// them: i + 1 without its lowest bit is i without the ones that it ends with.
constexpr uint32_t BasePosition(uint32_t position) { return position & (position - 1); }

// `count` blocks that are not where they are in the base.
struct ChangedRun {
  uint16_t first = 0;  // block in the region
  uint16_t count = 0;
  SlotLocation slot;  // of the first block; null: a hole

  bool operator==(const ChangedRun&) const = default;
  uint32_t end() const { return uint32_t{first} + count; }
};

struct RegionChange {
  Digest digest;  // of the region's content, as in RegionNode
  uint64_t result_checksum = 0;
  uint32_t position = 1;
  SlotLocation base;             // of the node at BasePosition(position)
  std::vector<ChangedRun> runs;  // rising, apart, none continues the one before

  bool operator==(const RegionChange&) const = default;
};

// XXH3-64 of all that a region's node says, which changes to a wrong base would not result in. Of
// numbers of a fixed width rather than of the node as it is written whole: with 4,094 extents
// encoding takes 167 µs, as long as all else that follows reading, and this 27.
uint64_t RegionChecksum(const RegionNode& node);

// Where the result is not as the base, in as few runs as there can be.
std::vector<ChangedRun> DifferenceOf(std::span<const MapExtent> base,
                                     std::span<const MapExtent> result);
// Makes the base, which `edit` holds, the result. kCorrupt if a block is said to change that does
// not: DifferenceOf makes no such run, so each pair of base and result has one form.
Status ApplyRuns(std::span<const ChangedRun> runs, RegionEdit& edit);

// True if these bytes begin as EncodeRegionChange begins them, rather than as a node that is whole.
bool IsRegionChange(std::string_view bytes);
// Aborts if the change breaks the rules above. No less than kMinRegionChangeBytes.
std::string EncodeRegionChange(const RegionChange& change);
inline constexpr size_t kMinRegionChangeBytes = 67;
// kCorrupt, with what is wrong, for everything that EncodeRegionChange cannot make. Allocates in
// proportion to the bytes.
Result<RegionChange> DecodeRegionChange(std::string_view bytes);

}  // namespace quoin

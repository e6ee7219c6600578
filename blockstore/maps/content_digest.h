// Digests of content: what two maps are compared by, whatever lies where in the packs. Frozen: they
// are on disk, and two stores must come to the same for the same bytes. Any thread.
//
// Only what holds data counts, so equal content has equal digests only if a block of zeros is never
// stored as data: whoever makes extents sees to that (a block that reads zero is a hole).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "blockstore/base/block.h"
#include "blockstore/base/digest.h"
#include "blockstore/base/error.h"
#include "blockstore/maps/map_node.h"
#include "blockstore/maps/map_root.h"

namespace quoin {

// The digest of a region: SHA-256 over, for each block with data in rising order, its number in the
// region (u16, little-endian) and its SHA-256. Null if there is none.
class RegionDigester {
 public:
  // `block` rises from call to call, below kRegionBlocks.
  void Add(uint32_t block, const Digest& block_digest);
  Digest Finish() const;

 private:
  std::string bytes_;  // at most 34 * kRegionBlocks
};

// The same for a list of extents, with the digests of all blocks of the region (those of holes are
// not looked at), or asked for one by one.
Digest RegionDigest(std::span<const MapExtent> extents,
                    std::span<const Digest, kRegionBlocks> block_digests);
Result<Digest> RegionDigest(std::span<const MapExtent> extents,
                            const std::function<Result<Digest>(uint32_t)>& block_digest);

// The digest of an inner node: SHA-256 over 0xff 0xff (which begins no region's list of blocks),
// the level, and for each child that there is, in rising order, its number and its digest.
Digest InnerDigest(const InnerNode& node);

// The digest of a whole disk of this size: SHA-256 over "quoin-content-v1", the size (u64,
// little-endian) and the root's digest. A root that MapBuilder made is of the least height that
// reaches the last data (a node above would only have child 0), so the same content has the same
// root digest whatever size the disk once had, and in whatever order it was written.
Digest ContentDigest(uint64_t size_bytes, const MapRoot& root);

}  // namespace quoin

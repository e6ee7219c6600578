// What takes space in a store, and for whom. What is published counts, so VDIs that are being
// written are seen as they were when they were last let go or snapshotted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blockstore/base/id.h"

namespace quoin {

struct SnapshotSpace {
  std::string name;
  uint64_t logical_bytes = 0;  // of data that it shows
  // Of the packs' blocks only it refers to, uncompressed, and of files only it needs: what its
  // removal would free, now or once what else is in the same frames has gone.
  uint64_t freed_bytes = 0;
};

struct VdiSpace {
  Id id;
  uint64_t logical_bytes = 0;  // of data that it shows, snapshots not counted
  uint64_t unique_bytes =
      0;                    // in packs, uncompressed: nothing but it and its snapshots refers to it
  uint64_t file_bytes = 0;  // of layers that no other VDI links, as the storage counts
  std::vector<SnapshotSpace> snapshots;  // by order of taking
};

struct SpaceReport {
  uint64_t logical_bytes = 0;      // of data that all VDIs and snapshots show
  uint64_t unique_bytes = 0;       // of different blocks in packs, uncompressed, and of layers
  uint64_t shared_bytes = 0;       // logical less unique
  uint64_t stored_bytes = 0;       // those blocks in packs as they are stored, compressed
  uint64_t layer_bytes = 0;        // of files that are not sealed yet, as the storage counts
  uint64_t reclaimable_bytes = 0;  // garbage in packs
  uint64_t map_bytes = 0;          // metadata: records in packs,
  uint64_t table_bytes = 0;        // tables and checksums of packs,
  uint64_t database_bytes = 0;     // databases of VDIs
  uint64_t packs = 0;
  uint64_t pack_bytes = 0;
  std::vector<VdiSpace> vdis;  // only if asked for
};

}  // namespace quoin

// A VDI as the packs know it: what its root records come to, put together so that it can be made
// again. Plain data, and the function that makes it; changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metadata/vdi_records.h"
#include "snapshots/packed_roots.h"

namespace quoin {

// Something that a rebuild could not bring back.
struct LeftOut {
  std::string object;  // "vdis/a@monday", "pack 0123…", ...
  std::string why;
  bool is_damage = true;  // false: it was removed and collected, or has nothing to be brought back
};

struct LostVdi {
  Id id;
  std::string recorded_name;  // as of its newest record that has one; "" if there is none
  int64_t newest_ns = 0;      // of its newest record
  uint64_t size_bytes = 0;
  Attributes attributes;
  int64_t created_ns = 0;  // of its oldest record: it is at least as old
  // One sealed layer for each distinct map, and the snapshots of those, by ordinal; numbers of
  // layers are from 1 on, their names are still to be given.
  std::vector<LayerRecord> layers;
  std::vector<SnapshotRecord> snapshots;
  uint32_t base_seq = 0;     // the layer that its head is to stand on
  uint64_t data_blocks = 0;  // of that, below size_bytes
  bool is_cut_off = false;   // the map of that holds data beyond size_bytes, which is not the VDI's

  bool IsEmpty() const { return layers.empty(); }
};

// The name of the newest record that has one.
std::string RecordedName(const std::vector<RootRecord>& records);

// From all records of one VDI, which `title` names for people. Snapshots whose maps are not whole
// are left out, and told in `left_out`. The head stands on what was recorded last: the newest
// snapshot's map, or what the VDI stood on after that. Two snapshots never have one name or one
// ordinal: the later one keeps its name, and the ordinals of later ones are raised. Empty if no map
// is whole. An error only if the packs cannot be read.
Result<LostVdi> AssembleVdi(const Id& id, const std::string& title, std::vector<RootRecord> records,
                            PackedRoots& roots, std::vector<LeftOut>* left_out);

}  // namespace quoin

// The rows of a VDI's database, as plain data. The meaning is the snapshots room's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blockstore/base/digest.h"
#include "blockstore/base/id.h"
#include "blockstore/maps/map_root.h"

namespace quoin {

struct Attributes {
  uint32_t mode = 0600;  // permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  bool operator==(const Attributes&) const = default;
};

struct VdiRecord {
  Id id;
  uint64_t size_bytes = 0;
  Attributes attributes;
  int64_t created_ns = 0;
  uint64_t epoch = 0;        // of the last owner that changed the structure
  uint32_t head_seq = 0;     // a layer's seq
  uint32_t next_seq = 1;     // never used before
  uint64_t data_blocks = 0;  // visible data when last recorded at a clean release
  // What a clone was made from; null and "" for an original.
  Id parent_snapshot;
  std::string parent_name;  // "VDI@SNAPSHOT" at that time, for people
  // A copy in pieces under way: blocks at and beyond copied_to_bytes are not yet the VDI's.
  Id copy_origin;
  uint64_t copied_to_bytes = 0;
  // Only in published.db: the file in the layers folder with the head's ownership; "" if the head
  // is not part of the published state (the VDI is being written) or owns nothing.
  std::string head_ownership_file;
  bool head_published = false;
  bool operator==(const VdiRecord&) const = default;
};

enum class LayerState {
  kHead,    // the one that is written
  kFrozen,  // files that never change again
  kSealed,  // no files: a map in packs holds all that the frozen layers down to the bottom held
};

struct LayerRecord {
  uint32_t seq = 0;         // never reused in one VDI; > 0
  uint32_t parent_seq = 0;  // the layer below; 0: none (always so for a sealed layer)
  LayerState state = LayerState::kFrozen;
  std::string name;  // "<seq>-<epoch>" of its files; a sealed layer keeps the name it had
  uint64_t size_bytes = 0;
  bool has_ownership_file = false;  // frozen: <name>.owned is durable and no rows are needed
  MapRoot map = {};                 // of a sealed layer; may be the empty map
  bool is_recorded = false;         // sealed: the packs say that this VDI stood on it
  bool operator==(const LayerRecord&) const = default;
};

struct SnapshotRecord {
  Id id;
  std::string name;
  uint64_t ordinal = 0;    // order of taking within the VDI; > 0
  uint32_t layer_seq = 0;  // topmost layer; 0: nothing was ever written
  uint64_t size_bytes = 0;
  uint64_t data_blocks = 0;
  int64_t created_ns = 0;
  bool is_protected = false;
  Attributes attributes;
  Id pending_group;  // not null: part of a group that is not yet decided
  Digest digest;     // of the content; null until its layer is sealed, and if nothing is in it
  bool is_recorded = false;  // the packs say what it is called and where its map begins
  bool operator==(const SnapshotRecord&) const = default;
};

// Everything but ownership rows.
struct VdiState {
  VdiRecord vdi;
  std::vector<LayerRecord> layers;        // by seq
  std::vector<SnapshotRecord> snapshots;  // by ordinal
  bool operator==(const VdiState&) const = default;
};

}  // namespace quoin

// Root records: what a sealed snapshot was called and where its map begins, kept in the packs, so that
// everything sealed can be found again from the packs alone. A record without a snapshot says what its
// VDI stood on. A record says what was so when it was written: a snapshot or VDI that is renamed later
// has its new name in the databases only. Pure functions.
//
// Format: "quoin-root-v01", then little-endian: VDI's id (16), snapshot's id (16), ordinal u64, size
// u64, created i64 (ns), mode u32, uid u32, gid u32, map: pack id (16), slot u32, height u8, digest
// (32), data blocks u64; then two strings, each a u16 length and bytes: the VDI's name, the
// snapshot's. Without a snapshot its id and ordinal are 0 and its name is empty; created is then when
// the record was written, later than the VDI's newest snapshot, and the rest is the VDI's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "blockstore/base/error.h"
#include "blockstore/maps/map_root.h"
#include "metadata/vdi_records.h"

namespace quoin {

struct RootRecord {
  Id vdi;
  std::string vdi_name;  // "" if it was not known
  Id snapshot;  // null: what the VDI stood on
  std::string snapshot_name;
  uint64_t ordinal = 0;
  uint64_t size_bytes = 0;
  int64_t created_ns = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  MapRoot map;

  bool operator==(const RootRecord&) const = default;
};

std::string EncodeRootRecord(const RootRecord& record);
// kCorrupt for anything that EncodeRootRecord does not make of a record that is possible.
Result<RootRecord> DecodeRootRecord(std::string_view bytes);

}  // namespace quoin

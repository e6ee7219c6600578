// The records of a VDI as rows: the SQL of this room, but for the schema's. Works on any SQLite
// connection: vdi.db's, or one in memory (database_image.h). SQLite's exceptions pass through;
// callers run these inside GuardSqlite (sqlite_error.h). Not thread-safe, like the connection.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/error.h"
#include "blockstore/layers/ownership_set.h"
#include "metadata/prepared_statements.h"
#include "metadata/vdi_records.h"

namespace quoin {

// More than any encoding of one region needs (4,096 runs of a few bytes each).
inline constexpr size_t kMaxRegionRunsBytes = size_t{64} << 10;

// Each inserts the row or replaces it whole. kInvalid for a record that breaks record_checks.h. The
// row of a sealed layer takes the layer's ownership rows away.
Status PutVdiRow(PreparedStatements& statements, const VdiRecord& vdi);
Status PutLayerRow(PreparedStatements& statements, const LayerRecord& layer);
Status PutSnapshotRow(PreparedStatements& statements, const SnapshotRecord& snapshot);
Status PutOwnershipRow(PreparedStatements& statements, uint32_t layer_seq,
                       const RegionRecord& record);

void RemoveLayerRow(PreparedStatements& statements, uint32_t seq);
void RemoveSnapshotRow(PreparedStatements& statements, const Id& id);
// Returns how many rows were removed, at most `limit`, lowest regions first.
uint64_t RemoveOwnershipRows(PreparedStatements& statements, uint32_t layer_seq, uint64_t limit);

// All rows but ownership, checked (record_checks.h). kCorrupt naming `path`.
Result<VdiState> ReadState(PreparedStatements& statements, const std::string& path);

// Calls visit for each ownership row of the layer, in region order, until it fails.
Status ReadOwnership(PreparedStatements& statements, uint32_t layer_seq, const std::string& path,
                     const std::function<Status(uint32_t, std::string_view)>& visit);

}  // namespace quoin

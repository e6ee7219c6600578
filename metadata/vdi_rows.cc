#include "metadata/vdi_rows.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <limits>
#include <optional>

#include "blockstore/base/block.h"
#include "metadata/record_checks.h"
#include "metadata/sqlite_error.h"

namespace quoin {
namespace {

constexpr std::array<const char*, 3> kLayerStateWords = {"head", "frozen", "sealed"};

constexpr const char* kPutVdi =
    "INSERT OR REPLACE INTO vdi (only_row, id, size_bytes, mode, uid, gid, atime_ns, mtime_ns,"
    " ctime_ns, created_ns, epoch, head_seq, next_seq, data_blocks, parent_snapshot,"
    " parent_name, copy_origin, copied_to_bytes, head_ownership_file, head_published)"
    " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr const char* kReadVdi =
    "SELECT id, size_bytes, mode, uid, gid, atime_ns, mtime_ns, ctime_ns, created_ns, epoch,"
    " head_seq, next_seq, data_blocks, parent_snapshot, parent_name, copy_origin,"
    " copied_to_bytes, head_ownership_file, head_published FROM vdi";

constexpr const char* kPutLayer =
    "INSERT INTO layer (seq, parent_seq, state, name, size_bytes, has_ownership_file, map_pack,"
    " map_slot, map_height, map_digest, map_data_blocks, is_recorded)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (seq) DO UPDATE SET parent_seq = excluded.parent_seq, state = excluded.state,"
    " name = excluded.name, size_bytes = excluded.size_bytes,"
    " has_ownership_file = excluded.has_ownership_file, map_pack = excluded.map_pack,"
    " map_slot = excluded.map_slot, map_height = excluded.map_height,"
    " map_digest = excluded.map_digest, map_data_blocks = excluded.map_data_blocks,"
    " is_recorded = excluded.is_recorded";
constexpr const char* kReadLayers =
    "SELECT seq, parent_seq, state, name, size_bytes, has_ownership_file, map_pack, map_slot,"
    " map_height, map_digest, map_data_blocks, is_recorded FROM layer ORDER BY seq";

constexpr const char* kPutSnapshot =
    "INSERT INTO snapshot (id, name, ordinal, layer_seq, size_bytes, data_blocks, created_ns,"
    " is_protected, mode, uid, gid, atime_ns, mtime_ns, ctime_ns, pending_group, digest,"
    " is_recorded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET"
    " name = excluded.name, ordinal = excluded.ordinal, layer_seq = excluded.layer_seq,"
    " size_bytes = excluded.size_bytes, data_blocks = excluded.data_blocks,"
    " created_ns = excluded.created_ns, is_protected = excluded.is_protected,"
    " mode = excluded.mode, uid = excluded.uid, gid = excluded.gid, atime_ns = excluded.atime_ns,"
    " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,"
    " pending_group = excluded.pending_group, digest = excluded.digest,"
    " is_recorded = excluded.is_recorded";
constexpr const char* kReadSnapshots =
    "SELECT id, name, ordinal, layer_seq, size_bytes, data_blocks, created_ns, is_protected, mode,"
    " uid, gid, atime_ns, mtime_ns, ctime_ns, pending_group, digest, is_recorded FROM snapshot"
    " ORDER BY ordinal";

constexpr const char* kPutOwnership =
    "INSERT INTO ownership (layer_seq, region, runs) VALUES (?, ?, ?)"
    " ON CONFLICT (layer_seq, region) DO UPDATE SET runs = excluded.runs";
constexpr const char* kRemoveRegion = "DELETE FROM ownership WHERE layer_seq = ? AND region = ?";
constexpr const char* kRemoveOwnership =
    "DELETE FROM ownership WHERE layer_seq = ?1 AND region <= (SELECT max(region) FROM"
    " (SELECT region FROM ownership WHERE layer_seq = ?1 ORDER BY region LIMIT ?2))";
constexpr const char* kRemoveLayerOwnership = "DELETE FROM ownership WHERE layer_seq = ?";
constexpr const char* kReadOwnership =
    "SELECT region, runs FROM ownership WHERE layer_seq = ? ORDER BY region";

// Binds the columns of a row from left to right.
class RowWriter {
 public:
  explicit RowWriter(SQLite::Statement& statement) : statement_(statement) {}

  RowWriter& Number(int64_t value) {
    statement_.bind(++column_, value);
    return *this;
  }
  // The records were checked: nothing is beyond SQLite's signed integers.
  RowWriter& Unsigned(uint64_t value) { return Number(static_cast<int64_t>(value)); }
  RowWriter& SeqOrNull(uint32_t seq) { return seq == 0 ? Null() : Unsigned(seq); }
  RowWriter& Text(const std::string& value) {
    statement_.bind(++column_, value);
    return *this;
  }
  RowWriter& IdOrNull(const Id& id) { return id.IsNull() ? Null() : Text(id.ToString()); }
  RowWriter& DigestOrNull(const Digest& digest) {
    if (digest.IsNull()) return Null();
    statement_.bind(++column_, static_cast<const void*>(digest.bytes.data()), Digest::kBytes);
    return *this;
  }
  RowWriter& Map(const MapRoot& map) {
    return IdOrNull(map.location.pack)
        .Unsigned(map.location.slot)
        .Unsigned(map.height)
        .DigestOrNull(map.digest)
        .Unsigned(map.data_blocks);
  }
  RowWriter& Permissions(const Attributes& of) {
    return Unsigned(of.mode).Unsigned(of.uid).Unsigned(of.gid);
  }
  RowWriter& Times(const Attributes& of) {
    return Number(of.atime_ns).Number(of.mtime_ns).Number(of.ctime_ns);
  }

 private:
  RowWriter& Null() {
    statement_.bind(++column_);
    return *this;
  }

  SQLite::Statement& statement_;
  int column_ = 0;
};

// Reads the columns of a row from left to right; is_good() turns false at the first value that no
// RowWriter can have written.
class RowReader {
 public:
  explicit RowReader(SQLite::Statement& statement) : statement_(statement) {}

  bool is_good() const { return is_good_; }

  int64_t Number() { return Next().getInt64(); }
  uint64_t Unsigned() {
    const int64_t value = Number();
    if (value < 0) is_good_ = false;
    return static_cast<uint64_t>(value);
  }
  uint32_t Unsigned32() {
    const uint64_t value = Unsigned();
    if (value > std::numeric_limits<uint32_t>::max()) is_good_ = false;
    return static_cast<uint32_t>(value);
  }
  bool Flag() { return Unsigned() != 0; }
  std::string Text() { return Next().getString(); }
  Id IdOrNull() {
    const SQLite::Column column = Next();
    if (column.isNull()) return {};
    const std::optional<Id> id = Id::Parse(column.getString());
    if (!id) is_good_ = false;
    return id.value_or(Id());
  }
  Digest DigestOrNull() {
    const SQLite::Column column = Next();
    Digest digest;
    if (column.isNull()) return digest;
    if (column.getBytes() == static_cast<int>(Digest::kBytes)) {
      std::memcpy(digest.bytes.data(), column.getBlob(), Digest::kBytes);
    }
    if (digest.IsNull()) is_good_ = false;  // NULL is written for none
    return digest;
  }
  MapRoot Map() {
    MapRoot map;
    map.location.pack = IdOrNull();
    map.location.slot = Unsigned32();
    const uint32_t height = Unsigned32();
    if (height > std::numeric_limits<uint8_t>::max()) is_good_ = false;
    map.height = static_cast<uint8_t>(height);
    map.digest = DigestOrNull();
    map.data_blocks = Unsigned();
    return map;
  }
  LayerState State() {
    const std::string word = Text();
    for (size_t i = 0; i < kLayerStateWords.size(); ++i) {
      if (word == kLayerStateWords[i]) return static_cast<LayerState>(i);
    }
    is_good_ = false;
    return LayerState::kFrozen;
  }
  void Permissions(Attributes& out) {
    out.mode = Unsigned32();
    out.uid = Unsigned32();
    out.gid = Unsigned32();
  }
  void Times(Attributes& out) {
    out.atime_ns = Number();
    out.mtime_ns = Number();
    out.ctime_ns = Number();
  }

 private:
  SQLite::Column Next() { return statement_.getColumn(column_++); }

  SQLite::Statement& statement_;
  int column_ = 0;
  bool is_good_ = true;
};

template <typename Record>
Status CheckBeforeWriting(const Record& record) {
  if (const std::optional<std::string> problem = FindProblem(record)) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot record an impossible state: {}", *problem));
  }
  return {};
}

Failure Damaged(const std::string& path, std::string_view problem) {
  return Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged: {}", path, problem),
              std::string(kDamageNext));
}

// SQLite gives NULL columns as 0, which is what records say for "none".
VdiRecord ParseVdi(RowReader& row) {
  VdiRecord vdi;
  vdi.id = row.IdOrNull();
  vdi.size_bytes = row.Unsigned();
  row.Permissions(vdi.attributes);
  row.Times(vdi.attributes);
  vdi.created_ns = row.Number();
  vdi.epoch = row.Unsigned();
  vdi.head_seq = row.Unsigned32();
  vdi.next_seq = row.Unsigned32();
  vdi.data_blocks = row.Unsigned();
  vdi.parent_snapshot = row.IdOrNull();
  vdi.parent_name = row.Text();
  vdi.copy_origin = row.IdOrNull();
  vdi.copied_to_bytes = row.Unsigned();
  vdi.head_ownership_file = row.Text();
  vdi.head_published = row.Flag();
  return vdi;
}

LayerRecord ParseLayer(RowReader& row) {
  LayerRecord layer;
  layer.seq = row.Unsigned32();
  layer.parent_seq = row.Unsigned32();
  layer.state = row.State();
  layer.name = row.Text();
  layer.size_bytes = row.Unsigned();
  layer.has_ownership_file = row.Flag();
  layer.map = row.Map();
  layer.is_recorded = row.Flag();
  return layer;
}

SnapshotRecord ParseSnapshot(RowReader& row) {
  SnapshotRecord snapshot;
  snapshot.id = row.IdOrNull();
  snapshot.name = row.Text();
  snapshot.ordinal = row.Unsigned();
  snapshot.layer_seq = row.Unsigned32();
  snapshot.size_bytes = row.Unsigned();
  snapshot.data_blocks = row.Unsigned();
  snapshot.created_ns = row.Number();
  snapshot.is_protected = row.Flag();
  row.Permissions(snapshot.attributes);
  row.Times(snapshot.attributes);
  snapshot.pending_group = row.IdOrNull();
  snapshot.digest = row.DigestOrNull();
  snapshot.is_recorded = row.Flag();
  return snapshot;
}

void RemoveAllOwnership(PreparedStatements& statements, uint32_t layer_seq) {
  StatementUse remove = statements.Prepare(kRemoveLayerOwnership);
  RowWriter(*remove).Unsigned(layer_seq);
  remove->exec();
}

template <typename Record>
Result<std::vector<Record>> ReadRows(PreparedStatements& statements, const char* sql,
                                     Record (*parse)(RowReader&), const std::string& path) {
  std::vector<Record> records;
  StatementUse select = statements.Prepare(sql);
  while (select->executeStep()) {
    RowReader row(*select);
    records.push_back(parse(row));
    if (!row.is_good()) return Damaged(path, "a row holds an impossible value");
  }
  return records;
}

}  // namespace

Status PutVdiRow(PreparedStatements& statements, const VdiRecord& vdi) {
  QUOIN_TRY(CheckBeforeWriting(vdi));
  StatementUse put = statements.Prepare(kPutVdi);
  RowWriter(*put)
      .Text(vdi.id.ToString())
      .Unsigned(vdi.size_bytes)
      .Permissions(vdi.attributes)
      .Times(vdi.attributes)
      .Number(vdi.created_ns)
      .Unsigned(vdi.epoch)
      .Unsigned(vdi.head_seq)
      .Unsigned(vdi.next_seq)
      .Unsigned(vdi.data_blocks)
      .IdOrNull(vdi.parent_snapshot)
      .Text(vdi.parent_name)
      .IdOrNull(vdi.copy_origin)
      .Unsigned(vdi.copied_to_bytes)
      .Text(vdi.head_ownership_file)
      .Unsigned(vdi.head_published ? 1 : 0);
  put->exec();
  return {};
}

Status PutLayerRow(PreparedStatements& statements, const LayerRecord& layer) {
  QUOIN_TRY(CheckBeforeWriting(layer));
  StatementUse put = statements.Prepare(kPutLayer);
  RowWriter(*put)
      .Unsigned(layer.seq)
      .SeqOrNull(layer.parent_seq)
      .Text(kLayerStateWords[static_cast<size_t>(layer.state)])
      .Text(layer.name)
      .Unsigned(layer.size_bytes)
      .Unsigned(layer.has_ownership_file ? 1 : 0)
      .Map(layer.map)
      .Unsigned(layer.is_recorded ? 1 : 0);
  put->exec();
  if (layer.state == LayerState::kSealed) RemoveAllOwnership(statements, layer.seq);
  return {};
}

Status PutSnapshotRow(PreparedStatements& statements, const SnapshotRecord& snapshot) {
  QUOIN_TRY(CheckBeforeWriting(snapshot));
  StatementUse put = statements.Prepare(kPutSnapshot);
  RowWriter(*put)
      .Text(snapshot.id.ToString())
      .Text(snapshot.name)
      .Unsigned(snapshot.ordinal)
      .SeqOrNull(snapshot.layer_seq)
      .Unsigned(snapshot.size_bytes)
      .Unsigned(snapshot.data_blocks)
      .Number(snapshot.created_ns)
      .Unsigned(snapshot.is_protected ? 1 : 0)
      .Permissions(snapshot.attributes)
      .Times(snapshot.attributes)
      .IdOrNull(snapshot.pending_group)
      .DigestOrNull(snapshot.digest)
      .Unsigned(snapshot.is_recorded ? 1 : 0);
  put->exec();
  return {};
}

Status PutOwnershipRow(PreparedStatements& statements, uint32_t layer_seq,
                       const RegionRecord& record) {
  if (record.region >= kMaxVdiRegions || record.runs.size() > kMaxRegionRunsBytes) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot record {} bytes of ownership for region {}", record.runs.size(),
                            record.region));
  }
  if (record.runs.empty()) {
    StatementUse remove = statements.Prepare(kRemoveRegion);
    RowWriter(*remove).Unsigned(layer_seq).Unsigned(record.region);
    remove->exec();
    return {};
  }
  StatementUse put = statements.Prepare(kPutOwnership);
  RowWriter(*put).Unsigned(layer_seq).Unsigned(record.region);
  put->bind(3, static_cast<const void*>(record.runs.data()), static_cast<int>(record.runs.size()));
  put->exec();
  return {};
}

void RemoveLayerRow(PreparedStatements& statements, uint32_t seq) {
  RemoveAllOwnership(statements, seq);
  StatementUse remove = statements.Prepare("DELETE FROM layer WHERE seq = ?");
  RowWriter(*remove).Unsigned(seq);
  remove->exec();
}

void RemoveSnapshotRow(PreparedStatements& statements, const Id& id) {
  StatementUse remove = statements.Prepare("DELETE FROM snapshot WHERE id = ?");
  RowWriter(*remove).Text(id.ToString());
  remove->exec();
}

uint64_t RemoveOwnershipRows(PreparedStatements& statements, uint32_t layer_seq, uint64_t limit) {
  StatementUse remove = statements.Prepare(kRemoveOwnership);
  constexpr uint64_t kMostRows = kMaxVdiRegions;
  RowWriter(*remove).Unsigned(layer_seq).Unsigned(limit < kMostRows ? limit : kMostRows);
  return static_cast<uint64_t>(remove->exec());
}

Result<VdiState> ReadState(PreparedStatements& statements, const std::string& path) {
  VdiState state;
  QUOIN_ASSIGN(std::vector<VdiRecord> vdis, ReadRows(statements, kReadVdi, ParseVdi, path));
  if (vdis.size() != 1) return Damaged(path, "the row of the VDI is missing");
  state.vdi = std::move(vdis.front());
  QUOIN_ASSIGN(state.layers, ReadRows(statements, kReadLayers, ParseLayer, path));
  QUOIN_ASSIGN(state.snapshots, ReadRows(statements, kReadSnapshots, ParseSnapshot, path));
  if (const std::optional<std::string> problem = FindProblem(state)) return Damaged(path, *problem);
  return state;
}

Status ReadOwnership(PreparedStatements& statements, uint32_t layer_seq, const std::string& path,
                     const std::function<Status(uint32_t, std::string_view)>& visit) {
  StatementUse select = statements.Prepare(kReadOwnership);
  RowWriter(*select).Unsigned(layer_seq);
  while (select->executeStep()) {
    const int64_t region = select->getColumn(0).getInt64();
    const SQLite::Column runs = select->getColumn(1);
    const auto size = static_cast<size_t>(runs.getBytes());
    if (region < 0 || region >= static_cast<int64_t>(kMaxVdiRegions) || size == 0 ||
        size > kMaxRegionRunsBytes) {
      return Damaged(path, fmt::format("the ownership of layer {} is impossible", layer_seq));
    }
    QUOIN_TRY(visit(static_cast<uint32_t>(region),
                    std::string_view(static_cast<const char*>(runs.getBlob()), size)));
  }
  return {};
}

}  // namespace quoin

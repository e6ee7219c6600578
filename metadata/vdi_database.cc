#include "metadata/vdi_database.h"

#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <array>
#include <span>
#include <type_traits>
#include <utility>

#include "blockstore/base/atomic_file.h"
#include "metadata/database_image.h"
#include "metadata/database_page.h"
#include "metadata/sqlite_error.h"
#include "metadata/sqlite_vfs.h"
#include "metadata/vdi_rows.h"
#include "metadata/vdi_schema.h"

namespace quoin {
namespace {

constexpr int kWalPages = 1000;      // checkpoint when the WAL has grown to this; it is then reused
constexpr int kPageCacheKib = 2048;  // of one open VDI

// How every vdi.db begins: the name of the format, pages of 4,096 bytes, WAL for writing and
// reading, 8 reserved bytes a page.
constexpr std::string_view kHeaderStart("SQLite format 3\0\x10\0\x2\x2\x8", 21);
static_assert(kHeaderStart[kHeaderReservedBytesOffset] == kPageChecksumBytes);

// The order matters: without shared memory, WAL needs EXCLUSIVE before the first access.
void Configure(SQLite::Database& database) {
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  database.exec("PRAGMA temp_store = MEMORY");
  const std::string mode = database.execAndGet("PRAGMA journal_mode = WAL").getString();
  if (mode != "wal") throw SQLite::Exception("the database cannot use a WAL", SQLITE_FORMAT);
  database.exec("PRAGMA synchronous = FULL");
  database.exec("PRAGMA foreign_keys = ON");
  database.exec("PRAGMA secure_delete = OFF");
  database.exec(fmt::format("PRAGMA wal_autocheckpoint = {}", kWalPages));
  database.exec(fmt::format("PRAGMA cache_size = -{}", kPageCacheKib));
  // Only Checkpoint() may write back: whoever closes without it may no longer be the owner.
  database.check(sqlite3_db_config(database.getHandle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
                                   static_cast<int*>(nullptr)));
}

// SQLite takes an empty file for a new database and then deletes the WAL beside it, so a file that
// cannot be ours is refused before SQLite sees it. Only the header, which lies in one sector: the
// rest of the first page may be half written after a crash in a checkpoint, and then the WAL has
// it.
Status CheckHeader(FileSystem& file_system, const std::string& path) {
  QUOIN_ASSIGN(const std::unique_ptr<File> file, file_system.Open(path, {}));
  std::array<char, kHeaderStart.size()> start;
  QUOIN_ASSIGN(const size_t done, file->Read(0, std::as_writable_bytes(std::span(start))));
  if (done != start.size() || std::string_view(start.data(), start.size()) != kHeaderStart) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged: its header is wrong", path),
                std::string(kDamageNext));
  }
  return {};
}

}  // namespace

struct VdiDatabase::Connection {
  Connection(FileSystem& file_system, const std::string& database_path)
      : path(database_path),
        database(database_path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, /*aBusyTimeoutMs=*/0,
                 RegisterSeamVfs(file_system)),
        statements(database) {}

  bool InTransaction() const { return sqlite3_get_autocommit(database.getHandle()) == 0; }

  // SQLite has rolled back by itself after some errors; then there is nothing to do.
  void RollBack() {
    if (!InTransaction()) return;
    try {
      statements.Prepare("ROLLBACK")->exec();
    } catch (const SQLite::Exception&) {
      // What failed before is what the caller was told; the next BEGIN tells if this did too.
    }
  }

  const std::string path;
  SQLite::Database database;
  PreparedStatements statements;
};

struct VdiDatabase::Transaction::State {
  explicit State(Connection& owner) : connection(owner) {}
  ~State() {
    if (!finished) connection.RollBack();
  }

  // Runs one change; after a failure no other is made and Commit answers the first error.
  template <typename Call>
  auto Change(Call&& call) -> std::invoke_result_t<Call> {
    if (!failed) return Failure(failed.error());
    if (finished) return Fail(ErrorCode::kInvalid, "the transaction has ended");
    auto result = GuardSqlite("write", connection.path, std::forward<Call>(call));
    if (!result) failed = Failure(result.error());
    return result;
  }

  Connection& connection;
  Status failed;
  bool finished = false;
};

VdiDatabase::Transaction::Transaction(std::unique_ptr<State> state) : state_(std::move(state)) {}
VdiDatabase::Transaction::Transaction(Transaction&&) noexcept = default;
VdiDatabase::Transaction::~Transaction() = default;

Status VdiDatabase::Transaction::PutVdi(const VdiRecord& vdi) {
  return state_->Change([&] { return PutVdiRow(state_->connection.statements, vdi); });
}

Status VdiDatabase::Transaction::PutLayer(const LayerRecord& layer) {
  return state_->Change([&] { return PutLayerRow(state_->connection.statements, layer); });
}

Status VdiDatabase::Transaction::RemoveLayer(uint32_t seq) {
  return state_->Change([&]() -> Status {
    RemoveLayerRow(state_->connection.statements, seq);
    return {};
  });
}

Status VdiDatabase::Transaction::PutSnapshot(const SnapshotRecord& snapshot) {
  return state_->Change([&] { return PutSnapshotRow(state_->connection.statements, snapshot); });
}

Status VdiDatabase::Transaction::RemoveSnapshot(const Id& id) {
  return state_->Change([&]() -> Status {
    RemoveSnapshotRow(state_->connection.statements, id);
    return {};
  });
}

Status VdiDatabase::Transaction::PutOwnership(uint32_t layer_seq,
                                              const std::vector<RegionRecord>& regions) {
  return state_->Change([&]() -> Status {
    for (const RegionRecord& region : regions) {
      QUOIN_TRY(PutOwnershipRow(state_->connection.statements, layer_seq, region));
    }
    return {};
  });
}

Result<uint64_t> VdiDatabase::Transaction::RemoveOwnership(uint32_t layer_seq, uint64_t limit) {
  return state_->Change([&]() -> Result<uint64_t> {
    return RemoveOwnershipRows(state_->connection.statements, layer_seq, limit);
  });
}

Status VdiDatabase::Transaction::Commit() {
  const Status committed = state_->Change([&]() -> Status {
    state_->connection.statements.Prepare("COMMIT")->exec();
    return {};
  });
  if (!committed) state_->connection.RollBack();
  state_->finished = true;
  return committed;
}

VdiDatabase::VdiDatabase(std::unique_ptr<Connection> connection)
    : connection_(std::move(connection)) {}
VdiDatabase::~VdiDatabase() = default;

Result<std::unique_ptr<VdiDatabase>> VdiDatabase::Create(FileSystem& file_system,
                                                         const std::string& path,
                                                         const VdiState& state) {
  QUOIN_ASSIGN(const std::string image, EncodeDatabase(state, JournalForm::kWal));
  const std::string temporary = fmt::format("{}.{}", path, Id::Random().ToString());
  QUOIN_TRY(PublishNewFile(file_system, path, temporary, image));
  return Open(file_system, path);
}

Result<std::unique_ptr<VdiDatabase>> VdiDatabase::Open(FileSystem& file_system,
                                                       const std::string& path) {
  QUOIN_TRY(CheckHeader(file_system, path));
  return GuardSqlite("open", path, [&]() -> Result<std::unique_ptr<VdiDatabase>> {
    auto connection = std::make_unique<Connection>(file_system, path);
    Configure(connection->database);
    QUOIN_TRY(CheckAndMigrate(connection->database, path));
    return std::unique_ptr<VdiDatabase>(new VdiDatabase(std::move(connection)));
  });
}

Result<VdiState> VdiDatabase::Load() {
  return GuardSqlite("read", connection_->path,
                     [&] { return ReadState(connection_->statements, connection_->path); });
}

Status VdiDatabase::LoadOwnership(
    uint32_t layer_seq,
    const std::function<Status(uint32_t region, std::string_view runs)>& visit) {
  return GuardSqlite("read", connection_->path, [&] {
    return ReadOwnership(connection_->statements, layer_seq, connection_->path, visit);
  });
}

Result<VdiDatabase::Transaction> VdiDatabase::Begin() {
  if (connection_->InTransaction()) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("a change of {} is already under way", connection_->path));
  }
  QUOIN_TRY(GuardSqlite("write", connection_->path, [&]() -> Status {
    connection_->statements.Prepare("BEGIN IMMEDIATE")->exec();
    return {};
  }));
  return Transaction(std::make_unique<Transaction::State>(*connection_));
}

Status VdiDatabase::CheckAll() {
  QUOIN_TRY(Load());
  return GuardSqlite("check", connection_->path, [&]() -> Status {
    const auto damaged = [&](const std::string& problem) {
      return Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged: {}", connection_->path, problem),
                  std::string(kDamageNext));
    };
    StatementUse check = connection_->statements.Prepare("PRAGMA integrity_check(1)");
    const std::string found = check->executeStep() ? check->getColumn(0).getString() : "no answer";
    if (found != "ok") return damaged(found);
    StatementUse sealed = connection_->statements.Prepare(
        "SELECT layer_seq FROM ownership JOIN layer ON seq = layer_seq WHERE state = 'sealed'");
    if (sealed->executeStep()) {
      return damaged(fmt::format("layer {} is sealed and has a list of blocks",
                                 sealed->getColumn(0).getInt64()));
    }
    StatementUse references = connection_->statements.Prepare("PRAGMA foreign_key_check");
    if (references->executeStep()) {
      return damaged(fmt::format("a row of {} names a layer that is not there",
                                 references->getColumn(0).getString()));
    }
    return {};
  });
}

Status VdiDatabase::Checkpoint() {
  return GuardSqlite("write back", connection_->path, [&]() -> Status {
    StatementUse checkpoint = connection_->statements.Prepare("PRAGMA wal_checkpoint(TRUNCATE)");
    const bool has_row = checkpoint->executeStep();
    if (!has_row || checkpoint->getColumn(0).getInt() != 0) {
      return Fail(ErrorCode::kBusy,
                  fmt::format("cannot write back {}: it is in use", connection_->path));
    }
    return {};
  });
}

}  // namespace quoin

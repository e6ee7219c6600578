#include "metadata/database_image.h"

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Transaction.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>
#include <memory>
#include <optional>
#include <span>

#include "metadata/database_page.h"
#include "metadata/image_reader.h"
#include "metadata/record_checks.h"
#include "metadata/sqlite_error.h"
#include "metadata/vdi_rows.h"
#include "metadata/vdi_schema.h"

namespace quoin {
namespace {

constexpr const char* kInMemory = ":memory:";
constexpr int kOpenFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

struct SqliteFree {
  void operator()(unsigned char* bytes) const { sqlite3_free(bytes); }
};
using SqliteBytes = std::unique_ptr<unsigned char, SqliteFree>;

void SetUpPages(SQLite::Database& database) {
  database.exec(fmt::format("PRAGMA page_size = {}", kDatabasePageBytes));
  int reserved = kPageChecksumBytes;
  database.check(
      sqlite3_file_control(database.getHandle(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved));
}

Status FillDatabase(SQLite::Database& database, const VdiState& state) {
  SQLite::Transaction transaction(database);
  CreateSchema(database);
  PreparedStatements statements(database);
  QUOIN_TRY(PutVdiRow(statements, state.vdi));
  for (const LayerRecord& layer : state.layers) QUOIN_TRY(PutLayerRow(statements, layer));
  for (const SnapshotRecord& snapshot : state.snapshots) {
    QUOIN_TRY(PutSnapshotRow(statements, snapshot));
  }
  transaction.commit();
  return {};
}

std::string FinishImage(SQLite::Database& database, JournalForm form) {
  sqlite3_int64 size = 0;
  const SqliteBytes serialized(sqlite3_serialize(database.getHandle(), "main", &size, 0));
  if (!serialized) throw SQLite::Exception("out of memory", SQLITE_NOMEM);
  std::string image(reinterpret_cast<const char*>(serialized.get()), static_cast<size_t>(size));
  const char version = form == JournalForm::kWal ? 2 : 1;
  image[kHeaderWriteVersionOffset] = version;
  image[kHeaderReadVersionOffset] = version;
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(image));
  for (uint64_t offset = 0; offset < bytes.size(); offset += kDatabasePageBytes) {
    StampPage(bytes.subspan(offset, kDatabasePageBytes), offset / kDatabasePageBytes);
  }
  return image;
}

bool ImageIsIntact(std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes.size() % kDatabasePageBytes != 0) return false;
  for (uint64_t offset = 0; offset < bytes.size(); offset += kDatabasePageBytes) {
    if (!PageIsIntact(bytes.subspan(offset, kDatabasePageBytes), offset / kDatabasePageBytes)) {
      return false;
    }
  }
  return bytes[kHeaderReadVersionOffset] == std::byte{1} &&
         bytes[kHeaderReservedBytesOffset] == std::byte{kPageChecksumBytes};
}

// Makes the connection read from a copy of the bytes.
void LoadImage(SQLite::Database& database, const std::string& bytes) {
  SqliteBytes copy(static_cast<unsigned char*>(sqlite3_malloc64(bytes.size())));
  if (!copy) throw SQLite::Exception("out of memory", SQLITE_NOMEM);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  const auto size = static_cast<sqlite3_int64>(bytes.size());
  // SQLite frees the copy whether this succeeds or not.
  database.check(
      sqlite3_deserialize(database.getHandle(), "main", copy.release(), size, size,
                          SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE));
}

std::string EmptyImage() {
  SQLite::Database database(kInMemory, kOpenFlags);
  SetUpPages(database);
  SQLite::Transaction transaction(database);
  CreateSchema(database);
  transaction.commit();
  return FinishImage(database, JournalForm::kRollback);
}

// Nothing if a connection must be opened for the image; whatever is wrong with it shows there too.
std::optional<Result<VdiState>> ReadByThread(const std::string& bytes, const std::string& path) {
  thread_local std::unique_ptr<ImageReader> reader;
  try {
    if (reader == nullptr) reader = std::make_unique<ImageReader>(EmptyImage());
    return reader->Read(bytes, path);
  } catch (const SQLite::Exception&) {
    reader.reset();
    return std::nullopt;
  }
}

}  // namespace

Result<std::string> EncodeDatabase(const VdiState& state, JournalForm form) {
  if (const std::optional<std::string> problem = FindProblem(state)) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot record an impossible state: {}", *problem));
  }
  return GuardSqlite("make", "a database in memory", [&]() -> Result<std::string> {
    SQLite::Database database(kInMemory, kOpenFlags);
    SetUpPages(database);
    QUOIN_TRY(FillDatabase(database, state));
    return FinishImage(database, form);
  });
}

Result<VdiState> DecodeDatabase(const std::string& bytes, const std::string& path) {
  if (!ImageIsIntact(std::as_bytes(std::span(bytes)))) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged: its checksums do not fit", path));
  }
  if (std::optional<Result<VdiState>> read = ReadByThread(bytes, path)) return std::move(*read);
  return GuardSqlite("read", path, [&]() -> Result<VdiState> {
    SQLite::Database database(kInMemory, kOpenFlags);
    LoadImage(database, bytes);
    QUOIN_TRY(CheckAndMigrate(database, path));
    PreparedStatements statements(database);
    return ReadState(statements, path);
  });
}

}  // namespace quoin

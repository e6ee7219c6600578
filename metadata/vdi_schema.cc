#include "metadata/vdi_schema.h"

#include <SQLiteCpp/Transaction.h>
#include <fmt/format.h>

namespace quoin {
namespace {

int64_t ReadNumber(SQLite::Database& database, const char* pragma) {
  return database.execAndGet(pragma).getInt64();
}

}  // namespace

void CreateSchema(SQLite::Database& database) { database.exec(std::string(PresentSchema())); }

Status CheckAndMigrate(SQLite::Database& database, const std::string& path) {
  if (ReadNumber(database, "PRAGMA application_id") != kVdiApplicationId) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} is not the database of a VDI", path));
  }
  const int64_t version = ReadNumber(database, "PRAGMA user_version");
  if (version > kVdiSchemaVersion) {
    return Fail(ErrorCode::kNewerFormat,
                fmt::format("{} has version {}; this quoin knows versions up to {}", path, version,
                            kVdiSchemaVersion),
                "use the newer quoin that wrote it");
  }
  if (version == kVdiSchemaVersion) return {};
  if (version < 1) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} has the impossible version {}", path, version));
  }
  SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
  for (const Migration& migration : Migrations()) {
    if (migration.to_version > version) database.exec(migration.sql);
  }
  transaction.commit();
  return {};
}

}  // namespace quoin

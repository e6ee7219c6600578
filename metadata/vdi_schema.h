// The schema of a VDI's database, embedded in the program: schema.sql for a new database, the
// numbered files of schema/ for bringing up an older one. Constant; touches no file. SQLite's
// exceptions pass through: callers in this room run it inside GuardSqlite (sqlite_error.h).
#pragma once

#include <SQLiteCpp/Database.h>

#include <span>
#include <string>
#include <string_view>

#include "blockstore/base/error.h"

namespace quoin {

// Frozen: "QVDI", in the header of every database file.
inline constexpr int64_t kVdiApplicationId = 0x51564449;
inline constexpr int64_t kVdiSchemaVersion = 3;

struct Migration {
  int64_t to_version = 0;  // its PRAGMA user_version; one more than what it starts from
  const char* sql = nullptr;
};

std::string_view PresentSchema();
// In rising order of to_version, without a gap.
std::span<const Migration> Migrations();

// Makes the present schema in an empty database. Needs an open transaction to be atomic.
void CreateSchema(SQLite::Database& database);

// Checks that the database is ours and brings it up to the present version in one transaction.
// kCorrupt if it is not a VDI's database, kNewerFormat if a newer quoin wrote it. `path` is for
// messages.
Status CheckAndMigrate(SQLite::Database& database, const std::string& path);

}  // namespace quoin

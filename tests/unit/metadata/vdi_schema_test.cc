#include "metadata/vdi_schema.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <set>
#include <string>

#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

SQLite::Database Empty() {
  return SQLite::Database(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
}

// Every table, column, index and reference, and the two numbers in the header.
std::set<std::string> Describe(SQLite::Database& database) {
  std::set<std::string> lines;
  SQLite::Statement objects(database,
                            "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM "
                            "sqlite_schema");
  while (objects.executeStep()) lines.insert(objects.getColumn(0).getString());
  for (const char* pragma : {"application_id", "user_version"}) {
    lines.insert(std::string(pragma) + " " +
                 database.execAndGet(std::string("PRAGMA ") + pragma).getString());
  }
  return lines;
}

TEST(VdiSchemaTest, MigratingFromNothingGivesThePresentSchema) {
  SQLite::Database migrated = Empty();
  for (const Migration& migration : Migrations()) migrated.exec(migration.sql);
  SQLite::Database present = Empty();
  CreateSchema(present);
  EXPECT_EQ(Describe(migrated), Describe(present));
  EXPECT_GT(Describe(present).size(), 8u);
}

TEST(VdiSchemaTest, EachMigrationLeadsToItsOwnVersionWithoutAGap) {
  SQLite::Database database = Empty();
  int64_t version = 0;
  for (const Migration& migration : Migrations()) {
    EXPECT_EQ(migration.to_version, ++version);
    database.exec(migration.sql);
    EXPECT_EQ(database.execAndGet("PRAGMA user_version").getInt64(), version);
  }
  EXPECT_EQ(version, kVdiSchemaVersion);
}

TEST(VdiSchemaTest, ThePresentVersionIsAccepted) {
  SQLite::Database database = Empty();
  CreateSchema(database);
  EXPECT_OK(CheckAndMigrate(database, "vdi.db"));
}

TEST(VdiSchemaTest, ANewerVersionIsRefusedAndSaysWhatToDo) {
  SQLite::Database database = Empty();
  CreateSchema(database);
  database.exec("PRAGMA user_version = " + std::to_string(kVdiSchemaVersion + 1));
  const Status checked = CheckAndMigrate(database, "vdi.db");
  ASSERT_ERROR(kNewerFormat, checked);
  EXPECT_NE(checked.error().what.find("vdi.db"), std::string::npos);
  EXPECT_NE(checked.error().next, "");
}

TEST(VdiSchemaTest, ADatabaseOfAnotherProgramAndImpossibleVersionsAreCorrupt) {
  SQLite::Database foreign = Empty();
  EXPECT_ERROR(kCorrupt, CheckAndMigrate(foreign, "vdi.db"));
  for (const char* version : {"0", "-1"}) {
    SQLite::Database database = Empty();
    CreateSchema(database);
    database.exec(std::string("PRAGMA user_version = ") + version);
    EXPECT_ERROR(kCorrupt, CheckAndMigrate(database, "vdi.db")) << version;
  }
}

}  // namespace
}  // namespace quoin

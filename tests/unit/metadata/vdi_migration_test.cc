// Databases that an older quoin made: opened, brought up to date, and read where nobody may write.
#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <map>
#include <memory>
#include <string>

#include "metadata/database_image.h"
#include "metadata/database_page.h"
#include "metadata/published.h"
#include "metadata/vdi_database.h"
#include "metadata/vdi_schema.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

// Layers 1 <- 2 <- 4 (head) and a spare over it, two snapshots, as version 1 wrote them.
constexpr const char* kRowsOfVersion1 = R"sql(
BEGIN;
INSERT INTO vdi VALUES (1, '11111111111111111111111111111111', 1048576, 416, 1, 2, -5, 6, 7, 8, 9,
  4, 5, 7, 11, '22222222222222222222222222222222', 'lab/db@monday', NULL, 0, 'x.owned-9', 1);
INSERT INTO layer VALUES (1, NULL, 'frozen', '1-1', 512, 1);
INSERT INTO layer VALUES (2, 1, 'frozen', '2-1', 4096, 0);
INSERT INTO layer VALUES (4, 2, 'head', '4-3', 1048576, 0);
INSERT INTO layer VALUES (5, 4, 'spare', '5-3', 1048576, 0);
INSERT INTO snapshot VALUES ('44444444444444444444444444444444', 'monday', 1, NULL, 512, 0, 17, 1,
  256, 3, 4, -1, -2, -3, NULL);
INSERT INTO snapshot VALUES ('55555555555555555555555555555555', 'tuesday', 7, 2, 4096, 1, 18, 0,
  256, 3, 4, 21, 22, 23, '66666666666666666666666666666666');
INSERT INTO ownership VALUES (2, 3, x'0102'), (4, 16777215, x'03'), (5, 1, x'04');
COMMIT;
)sql";

// Layer 2 is sealed, 4 is the head on it, two snapshots, as version 2 wrote them.
constexpr const char* kRowsOfVersion2 = R"sql(
BEGIN;
INSERT INTO vdi VALUES (1, '11111111111111111111111111111111', 1048576, 416, 1, 2, -5, 6, 7, 8, 9,
  4, 7, 11, '22222222222222222222222222222222', 'lab/db@monday', NULL, 0, 'x.owned-9', 1);
INSERT INTO layer VALUES (2, NULL, 'sealed', '2-1', 4096, 0, '33333333333333333333333333333333', 4,
  0, x'05000000000000000000000000000000000000000000000000000000000000ff', 6);
INSERT INTO layer VALUES (4, 2, 'head', '4-3', 1048576, 0, NULL, 0, 0, NULL, 0);
INSERT INTO snapshot VALUES ('44444444444444444444444444444444', 'monday', 1, NULL, 512, 0, 17, 1,
  256, 3, 4, -1, -2, -3, NULL, NULL);
INSERT INTO snapshot VALUES ('55555555555555555555555555555555', 'tuesday', 7, 2, 4096, 1, 18, 0,
  256, 3, 4, 21, 22, 23, NULL,
  x'09000000000000000000000000000000000000000000000000000000000000ff');
INSERT INTO ownership VALUES (4, 16777215, x'03');
COMMIT;
)sql";

VdiState ExpectedState() {
  VdiState state;
  VdiRecord& vdi = state.vdi;
  vdi.id = SampleId(1);
  vdi.size_bytes = 1048576;
  vdi.attributes = {0640, 1, 2, -5, 6, 7};
  vdi.created_ns = 8;
  vdi.epoch = 9;
  vdi.head_seq = 4;
  vdi.next_seq = 7;
  vdi.data_blocks = 11;
  vdi.parent_snapshot = SampleId(2);
  vdi.parent_name = "lab/db@monday";
  vdi.head_ownership_file = "x.owned-9";
  vdi.head_published = true;
  state.layers = {{1, 0, LayerState::kFrozen, "1-1", 512, true},
                  {2, 1, LayerState::kFrozen, "2-1", 4096, false},
                  {4, 2, LayerState::kHead, "4-3", 1048576, false}};
  SnapshotRecord monday;
  monday.id = SampleId(4);
  monday.name = "monday";
  monday.ordinal = 1;
  monday.size_bytes = 512;
  monday.created_ns = 17;
  monday.is_protected = true;
  monday.attributes = {0400, 3, 4, -1, -2, -3};
  SnapshotRecord tuesday;
  tuesday.id = SampleId(5);
  tuesday.name = "tuesday";
  tuesday.ordinal = 7;
  tuesday.layer_seq = 2;
  tuesday.size_bytes = 4096;
  tuesday.data_blocks = 1;
  tuesday.created_ns = 18;
  tuesday.attributes = {0400, 3, 4, 21, 22, 23};
  tuesday.pending_group = SampleId(6);
  state.snapshots = {monday, tuesday};
  return state;
}

VdiState ExpectedStateOfVersion2() {
  VdiState state = ExpectedState();
  const MapRoot map{{SampleId(3), 4}, 0, SampleDigest(5), 6};
  state.layers = {{2, 0, LayerState::kSealed, "2-1", 4096, false, map},
                  {4, 2, LayerState::kHead, "4-3", 1048576, false}};
  state.snapshots[1].pending_group = Id();
  state.snapshots[1].digest = SampleDigest(9);
  return state;
}

// The bytes of a database file as that version made it.
std::string ImageOf(int64_t version, const char* rows, JournalForm form) {
  SQLite::Database database(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  database.exec("PRAGMA page_size = 4096");
  int reserved = kPageChecksumBytes;
  database.check(
      sqlite3_file_control(database.getHandle(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved));
  for (const Migration& migration : Migrations()) {
    if (migration.to_version <= version) database.exec(migration.sql);
  }
  database.exec(rows);
  sqlite3_int64 size = 0;
  unsigned char* bytes = sqlite3_serialize(database.getHandle(), "main", &size, 0);
  std::string image(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  sqlite3_free(bytes);
  const char form_number = form == JournalForm::kWal ? 2 : 1;
  image[kHeaderWriteVersionOffset] = image[kHeaderReadVersionOffset] = form_number;
  const std::span<std::byte> all = std::as_writable_bytes(std::span(image));
  for (uint64_t at = 0; at < all.size(); at += kDatabasePageBytes) {
    StampPage(all.subspan(at, kDatabasePageBytes), at / kDatabasePageBytes);
  }
  return image;
}

std::string ImageOfVersion1(JournalForm form) { return ImageOf(1, kRowsOfVersion1, form); }

std::map<uint32_t, std::string> OwnershipOf(VdiDatabase& database, uint32_t layer) {
  std::map<uint32_t, std::string> rows;
  EXPECT_OK(database.LoadOwnership(layer, [&](uint32_t region, std::string_view runs) -> Status {
    rows.emplace(region, runs);
    return {};
  }));
  return rows;
}

void ExpectMigrated(FileSystem& file_system, const std::string& path) {
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system, path));
  ASSERT_OK_AND_ASSIGN(const VdiState state, database->Load());
  EXPECT_TRUE(state == ExpectedState());
  EXPECT_EQ(OwnershipOf(*database, 2), (std::map<uint32_t, std::string>{{3, "\x01\x02"}}));
  EXPECT_EQ(OwnershipOf(*database, 4), (std::map<uint32_t, std::string>{{16777215, "\x03"}}));
  EXPECT_EQ(OwnershipOf(*database, 5).size(), 0u);
  EXPECT_OK(database->CheckAll());
}

template <typename Storage>
class VdiMigrationTest : public ::testing::Test {
 protected:
  Storage storage_;
  const std::string path_ = storage_.root + "/vdi.db";
};

TYPED_TEST_SUITE(VdiMigrationTest, AllStorages);

TYPED_TEST(VdiMigrationTest, AVersion1DatabaseIsBroughtUpOnceWithAllItsRows) {
  FileSystem& file_system = this->storage_.file_system;
  WriteBytes(file_system, this->path_, ImageOfVersion1(JournalForm::kWal));
  ExpectMigrated(file_system, this->path_);
  ExpectMigrated(file_system, this->path_);
}

TYPED_TEST(VdiMigrationTest, OfAVersion2DatabaseNothingCountsAsRecorded) {
  FileSystem& file_system = this->storage_.file_system;
  WriteBytes(file_system, this->path_, ImageOf(2, kRowsOfVersion2, JournalForm::kWal));
  for (int opening = 0; opening < 2; ++opening) {
    ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system, this->path_));
    ASSERT_OK_AND_ASSIGN(const VdiState state, database->Load());
    EXPECT_TRUE(state == ExpectedStateOfVersion2());
    EXPECT_EQ(OwnershipOf(*database, 4), (std::map<uint32_t, std::string>{{16777215, "\x03"}}));
    EXPECT_OK(database->CheckAll());
  }
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system, this->path_));
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.RemoveLayer(2));
  EXPECT_ERROR(kInvalid, change.Commit());
}

TYPED_TEST(VdiMigrationTest, TheReferencesHoldAsInANewDatabase) {
  FileSystem& file_system = this->storage_.file_system;
  WriteBytes(file_system, this->path_, ImageOfVersion1(JournalForm::kWal));
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system, this->path_));
  for (const uint32_t seq : {1u, 2u, 4u}) {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.RemoveLayer(seq));
    EXPECT_ERROR(kInvalid, change.Commit()) << seq;
  }
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.PutLayer(
      {6, 0, LayerState::kSealed, "6-9", 512, false, {{SampleId(3), 4}, 0, SampleDigest(5), 6}}));
  EXPECT_OK(change.Commit());
  EXPECT_EQ(database->Load()->layers.size(), 4u);
}

TYPED_TEST(VdiMigrationTest, AVersion1PublishedCopyIsReadAndStaysAsItIs) {
  FileSystem& file_system = this->storage_.file_system;
  const std::string vdi = this->storage_.root + "/vdi";
  ASSERT_OK(file_system.MakeDirectory(vdi, 0700));
  const std::string image = ImageOfVersion1(JournalForm::kRollback);
  WriteBytes(file_system, vdi + "/published.db", image);
  ASSERT_OK_AND_ASSIGN(const VdiState state, ReadPublished(file_system, vdi));
  EXPECT_TRUE(state == ExpectedState());
  EXPECT_EQ(ReadBytes(file_system, vdi + "/published.db"), image);
}

TEST(VdiMigrationCrashTest, ACrashLeavesAVersionThatIsBroughtUpByTheNextOpening) {
  const std::string image = ImageOfVersion1(JournalForm::kWal);
  for (uint64_t step = 1;; ++step) {
    SimulatedFileSystem file_system;
    WriteBytes(file_system, "/vdi.db", image);
    ASSERT_OK(file_system.SyncDirectory("/"));
    file_system.FailAfter(step, FaultMode::kCrash);
    (void)VdiDatabase::Open(file_system, "/vdi.db");
    const bool finished = !file_system.stopped();
    file_system.Crash(CrashMode::kRandom, step);
    SCOPED_TRACE(step);
    ExpectMigrated(file_system, "/vdi.db");
    if (finished) {
      EXPECT_GE(step, 3u);
      break;
    }
  }
}

}  // namespace
}  // namespace quoin

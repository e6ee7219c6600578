// Damaged vdi.db and published.db files: always an error, never a crash, never a wrong fact.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <string>

#include "metadata/database_image.h"
#include "metadata/database_page.h"
#include "metadata/published.h"
#include "metadata/vdi_database.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

constexpr const char* kRows = "the runs of this region";

std::string Flipped(std::string bytes, size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  return bytes;
}

// Gives the page a checksum that fits, as if quoin itself had written what is in it.
std::string Restamped(std::string bytes) {
  const std::span<std::byte> all = std::as_writable_bytes(std::span(bytes));
  for (uint64_t at = 0; at + kDatabasePageBytes <= all.size(); at += kDatabasePageBytes) {
    StampPage(all.subspan(at, kDatabasePageBytes), at / kDatabasePageBytes);
  }
  return bytes;
}

// Reads all there is to read. The first error, or the state.
Result<VdiState> ReadAll(FileSystem& file_system, const std::string& path) {
  QUOIN_ASSIGN(const auto database, VdiDatabase::Open(file_system, path));
  QUOIN_ASSIGN(VdiState state, database->Load());
  for (const LayerRecord& layer : state.layers) {
    QUOIN_TRY(database->LoadOwnership(layer.seq, [](uint32_t, std::string_view runs) -> Status {
      EXPECT_EQ(runs, kRows);
      return {};
    }));
  }
  return state;
}

class DamagedVdiDatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(const auto database,
                         VdiDatabase::Create(file_system_, path_, FullState()));
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    for (uint32_t region = 0; region < 300; ++region) {
      ASSERT_OK(change.PutOwnership(4, {{region, kRows}}));
    }
    ASSERT_OK(change.Commit());
    ASSERT_OK(database->Checkpoint());
  }

  // After damage: an error, or what was there (a page that is not read, or is in the WAL).
  void ExpectNoWrongFact(const std::string& bytes) {
    WriteBytes(file_system_, path_, bytes);
    const Result<VdiState> state = ReadAll(file_system_, path_);
    if (state) {
      EXPECT_TRUE(*state == FullState());
    } else {
      EXPECT_ERROR(kCorrupt, state);
      EXPECT_NE(state.error().what.find("vdi.db"), std::string::npos) << state.error().what;
      EXPECT_NE(state.error().next, "");
      ++refused_;
    }
  }

  SimulatedFileSystem file_system_;
  const std::string path_ = "/vdi.db";
  uint64_t refused_ = 0;
};

TEST_F(DamagedVdiDatabaseTest, AFlippedBitIsNoticed) {
  const std::string good = ReadBytes(file_system_, path_);
  ASSERT_GE(good.size(), 10 * kDatabasePageBytes);
  std::mt19937_64 random(1);
  constexpr uint64_t kFlips = 1000;
  for (uint64_t i = 0; i < kFlips; ++i) {
    const size_t bit = random() % (good.size() * 8);
    SCOPED_TRACE(testing::Message() << "bit " << bit % 8 << " of byte " << bit / 8);
    ExpectNoWrongFact(Flipped(good, bit));
  }
  EXPECT_GT(refused_, kFlips / 2);  // the others were in pages of indexes, which nobody read
}

TEST_F(DamagedVdiDatabaseTest, ACheckOfTheWholeFileNoticesEveryFlippedBit) {
  const std::string good = ReadBytes(file_system_, path_);
  {
    ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system_, path_));
    EXPECT_OK(database->CheckAll());
  }
  std::mt19937_64 random(5);
  for (int i = 0; i < 300; ++i) {
    const size_t bit = random() % (good.size() * 8);
    WriteBytes(file_system_, path_, Flipped(good, bit));
    const auto database = VdiDatabase::Open(file_system_, path_);
    const Status checked = database ? (*database)->CheckAll() : Failure(database.error());
    ASSERT_ERROR(kCorrupt, checked) << "bit " << bit;
  }
}

TEST_F(DamagedVdiDatabaseTest, AFlippedBitInTheHeaderIsNoticed) {
  const std::string good = ReadBytes(file_system_, path_);
  for (size_t bit = 0; bit < 100 * 8; ++bit) ExpectNoWrongFact(Flipped(good, bit));
  EXPECT_EQ(refused_, 800u);
}

TEST_F(DamagedVdiDatabaseTest, ATruncatedFileIsNoticed) {
  const std::string good = ReadBytes(file_system_, path_);
  for (size_t size = 0; size < good.size(); size += 1000) {
    SCOPED_TRACE(size);
    WriteBytes(file_system_, path_, good.substr(0, size));
    EXPECT_ERROR(kCorrupt, ReadAll(file_system_, path_));
  }
}

TEST_F(DamagedVdiDatabaseTest, PagesInEachOthersPlaceAreNoticed) {
  std::string bytes = ReadBytes(file_system_, path_);
  std::swap_ranges(bytes.begin() + kDatabasePageBytes, bytes.begin() + 2 * kDatabasePageBytes,
                   bytes.begin() + 2 * kDatabasePageBytes);
  WriteBytes(file_system_, path_, bytes);
  EXPECT_ERROR(kCorrupt, ReadAll(file_system_, path_));
}

TEST_F(DamagedVdiDatabaseTest, RubbishIsRefusedAndLeftAsItIs) {
  for (const std::string& rubbish :
       {std::string(), std::string("x"), std::string(100'000, '\0'), std::string(100'000, 'x')}) {
    WriteBytes(file_system_, path_, rubbish);
    EXPECT_ERROR(kCorrupt, VdiDatabase::Open(file_system_, path_));
    EXPECT_EQ(ReadBytes(file_system_, path_), rubbish);
  }
}

TEST_F(DamagedVdiDatabaseTest, AnEmptyFileDoesNotCostTheWal) {
  {
    ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system_, path_));
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    ASSERT_OK(change.PutOwnership(4, {{1000, kRows}}));
    ASSERT_OK(change.Commit());
  }
  const std::string wal = ReadBytes(file_system_, path_ + "-wal");
  ASSERT_GT(wal.size(), kDatabasePageBytes);
  WriteBytes(file_system_, path_, "");
  EXPECT_ERROR(kCorrupt, VdiDatabase::Open(file_system_, path_));
  EXPECT_EQ(ReadBytes(file_system_, path_ + "-wal"), wal);
}

// The checksum fits but the content is wrong: what a program with a mistake would leave.
TEST_F(DamagedVdiDatabaseTest, WrongContentUnderGoodChecksumsNeverCrashes) {
  const std::string good = ReadBytes(file_system_, path_);
  std::mt19937_64 random(2);
  for (int i = 0; i < 500; ++i) {
    std::string bytes = good;
    for (int k = 0; k < 8; ++k) bytes = Flipped(bytes, random() % (good.size() * 8));
    WriteBytes(file_system_, path_, Restamped(bytes));
    const auto database = VdiDatabase::Open(file_system_, path_);
    if (!database) continue;
    (void)(*database)->Load();
    (void)(*database)->LoadOwnership(4, [](uint32_t, std::string_view) { return Status(); });
  }
}

TEST_F(DamagedVdiDatabaseTest, ADamagedWalEndsAtTheDamage) {
  {
    ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system_, path_));
    for (uint32_t region = 1000; region < 1010; ++region) {
      ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
      ASSERT_OK(change.PutOwnership(4, {{region, kRows}}));
      ASSERT_OK(change.Commit());
    }
  }
  const std::string wal = ReadBytes(file_system_, path_ + "-wal");
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) {
    WriteBytes(file_system_, path_ + "-wal", Flipped(wal, random() % (wal.size() * 8)));
    const Result<VdiState> state = ReadAll(file_system_, path_);
    ASSERT_OK(state);
    EXPECT_TRUE(*state == FullState());
  }
}

class PublishedDamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(file_system_.MakeDirectory(layout_.Temporaries()));
    ASSERT_OK(file_system_.MakeDirectory("/vdi"));
    ASSERT_OK(WritePublished(file_system_, layout_, "/vdi", FullState()));
    good_ = ReadBytes(file_system_, path_);
  }

  SimulatedFileSystem file_system_;
  const StoreLayout layout_{""};
  const std::string path_ = "/vdi/published.db";
  std::string good_;
};

TEST_F(PublishedDamageTest, EveryFlippedBitIsNoticed) {
  ASSERT_TRUE(DecodeDatabase(good_, path_).has_value());
  for (size_t bit = 0; bit < good_.size() * 8; bit += 13) {
    ASSERT_ERROR(kCorrupt, DecodeDatabase(Flipped(good_, bit), path_)) << "bit " << bit;
  }
}

TEST_F(PublishedDamageTest, EveryTruncationIsNoticedAndNamesTheFileAndWhatToDo) {
  for (size_t size = 0; size < good_.size(); size += 512) {
    WriteBytes(file_system_, path_, good_.substr(0, size));
    const Result<VdiState> state = ReadPublished(file_system_, "/vdi");
    ASSERT_ERROR(kCorrupt, state) << size;
    EXPECT_NE(state.error().what.find(path_), std::string::npos);
    EXPECT_NE(state.error().next.find("open the VDI for writing"), std::string::npos);
  }
}

TEST_F(PublishedDamageTest, AVdiDatabaseInItsPlaceIsRefused) {
  const std::string wal_form = EncodeDatabase(FullState(), JournalForm::kWal).value();
  EXPECT_ERROR(kCorrupt, DecodeDatabase(wal_form, path_));
}

TEST_F(PublishedDamageTest, WrongContentUnderGoodChecksumsNeverCrashes) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 1000; ++i) {
    std::string bytes = good_;
    for (int k = 0; k < 8; ++k) bytes = Flipped(bytes, random() % (good_.size() * 8));
    const Result<VdiState> state = DecodeDatabase(Restamped(bytes), path_);
    EXPECT_TRUE(!state || !state->vdi.id.IsNull());
  }
}

}  // namespace
}  // namespace quoin

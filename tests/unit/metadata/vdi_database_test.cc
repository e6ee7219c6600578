#include "metadata/vdi_database.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "metadata/database_image.h"
#include "metadata/vdi_rows.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

using Rows = std::map<uint32_t, std::string>;

Rows OwnershipOf(VdiDatabase& database, uint32_t layer) {
  Rows rows;
  EXPECT_OK(database.LoadOwnership(layer, [&](uint32_t region, std::string_view runs) -> Status {
    rows.emplace(region, runs);
    return {};
  }));
  return rows;
}

template <typename Storage>
class VdiDatabaseTest : public ::testing::Test {
 protected:
  std::unique_ptr<VdiDatabase> Create(const VdiState& state) {
    auto database = VdiDatabase::Create(storage_.file_system, path_, state);
    EXPECT_OK(database);
    return database ? *std::move(database) : nullptr;
  }
  std::unique_ptr<VdiDatabase> Open() {
    auto database = VdiDatabase::Open(storage_.file_system, path_);
    EXPECT_OK(database);
    return database ? *std::move(database) : nullptr;
  }

  Storage storage_;
  const std::string path_ = storage_.root + "/vdi.db";
};

TYPED_TEST_SUITE(VdiDatabaseTest, AllStorages);

TYPED_TEST(VdiDatabaseTest, GivesBackEveryFieldOfTheStateItWasMadeWith) {
  for (const VdiState& state : {FullState(), PlainState()}) {
    (void)this->storage_.file_system.Remove(this->path_);
    (void)this->storage_.file_system.Remove(this->path_ + "-wal");
    {
      const auto database = this->Create(state);
      ASSERT_OK_AND_ASSIGN(const VdiState loaded, database->Load());
      EXPECT_TRUE(loaded == state);
    }
    ASSERT_OK_AND_ASSIGN(const VdiState loaded, this->Open()->Load());
    EXPECT_TRUE(loaded == state);
  }
}

TYPED_TEST(VdiDatabaseTest, RefusesToCreateOverAnExistingOne) {
  this->Create(PlainState());
  EXPECT_ERROR(kExists, VdiDatabase::Create(this->storage_.file_system, this->path_, FullState()));
  ASSERT_OK_AND_ASSIGN(const VdiState loaded, this->Open()->Load());
  EXPECT_TRUE(loaded == PlainState());
}

TYPED_TEST(VdiDatabaseTest, LeavesNothingBesideANewDatabaseThatIsClosed) {
  this->Create(PlainState());
  ASSERT_OK_AND_ASSIGN(
      const auto entries,
      this->storage_.file_system.List(this->storage_.root.empty() ? "/" : this->storage_.root));
  for (const DirectoryEntry& entry : entries) {
    EXPECT_TRUE(entry.name == "vdi.db" || entry.name == "vdi.db-wal") << entry.name;
  }
}

TYPED_TEST(VdiDatabaseTest, AMissingDatabaseIsNotFound) {
  EXPECT_ERROR(kNotFound, VdiDatabase::Open(this->storage_.file_system, this->path_));
}

TYPED_TEST(VdiDatabaseTest, ASecondOpenIsRefusedAsBusyUntilTheFirstEnds) {
  auto database = this->Create(PlainState());
  const auto second = VdiDatabase::Open(this->storage_.file_system, this->path_);
  ASSERT_ERROR(kBusy, second);
  EXPECT_NE(second.error().what.find("locked by another"), std::string::npos);
  database.reset();
  EXPECT_OK(VdiDatabase::Open(this->storage_.file_system, this->path_));
}

TYPED_TEST(VdiDatabaseTest, CommittedChangesOfEveryKindAreThereAfterReopening) {
  VdiState expected = FullState();
  {
    const auto database = this->Create(FullState());
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    expected.vdi.size_bytes = 512;
    expected.layers[2].size_bytes = 512;  // replaced by its key
    expected.layers[3] = {6, 2, LayerState::kFrozen, "6-3", 512, false};
    expected.snapshots[0].name = "first";
    expected.snapshots[0].is_protected = false;
    expected.snapshots.pop_back();
    EXPECT_OK(change.PutVdi(expected.vdi));
    EXPECT_OK(change.RemoveLayer(5));
    EXPECT_OK(change.PutLayer(expected.layers[2]));
    EXPECT_OK(change.PutLayer(expected.layers[3]));
    EXPECT_OK(change.PutSnapshot(expected.snapshots[0]));
    EXPECT_OK(change.RemoveSnapshot(SampleId(8)));
    EXPECT_OK(change.PutOwnership(4, {{0, "abc"}, {4095, "d"}}));
    EXPECT_OK(change.Commit());
  }
  const auto database = this->Open();
  ASSERT_OK_AND_ASSIGN(const VdiState loaded, database->Load());
  EXPECT_TRUE(loaded == expected);
  EXPECT_EQ(OwnershipOf(*database, 4), (Rows{{0, "abc"}, {4095, "d"}}));
  EXPECT_EQ(OwnershipOf(*database, 1), Rows());
}

TYPED_TEST(VdiDatabaseTest, ATransactionThatIsNotCommittedLeavesNoTrace) {
  const auto database = this->Create(FullState());
  {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.RemoveSnapshot(SampleId(4)));
    EXPECT_OK(change.PutOwnership(4, {{7, "x"}}));
  }
  ASSERT_OK_AND_ASSIGN(const VdiState loaded, database->Load());
  EXPECT_TRUE(loaded == FullState());
  EXPECT_EQ(OwnershipOf(*database, 4), Rows());
  EXPECT_OK(database->Begin());
}

TYPED_TEST(VdiDatabaseTest, OnlyOneTransactionIsOpenAtATime) {
  const auto database = this->Create(PlainState());
  ASSERT_OK_AND_ASSIGN(auto first, database->Begin());
  EXPECT_ERROR(kInvalid, database->Begin());
  EXPECT_OK(first.PutOwnership(1, {{1, "x"}}));
  EXPECT_OK(first.Commit());
  EXPECT_ERROR(kInvalid, first.Commit());
  EXPECT_ERROR(kInvalid, first.PutOwnership(1, {{1, "y"}}));
  EXPECT_OK(database->Begin());
  EXPECT_EQ(OwnershipOf(*database, 1), (Rows{{1, "x"}}));
}

TYPED_TEST(VdiDatabaseTest, OwnershipIsReplacedByRegionAndEmptyRunsRemoveTheRow) {
  const auto database = this->Create(PlainState());
  const std::string binary("\0\xff\0", 3);
  const auto put = [&](std::vector<RegionRecord> regions) {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.PutOwnership(1, regions));
    EXPECT_OK(change.Commit());
  };
  put({{0, "a"}, {(1u << 24) - 1, "last"}, {3, binary}});
  put({{0, ""}, {3, "longer than before"}, {9, ""}});
  EXPECT_EQ(OwnershipOf(*database, 1), (Rows{{3, "longer than before"}, {(1u << 24) - 1, "last"}}));
}

TYPED_TEST(VdiDatabaseTest, OwnershipIsVisitedInRegionOrderUntilTheVisitFails) {
  const auto database = this->Create(PlainState());
  {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.PutOwnership(1, {{30, "c"}, {10, "a"}, {20, "b"}}));
    EXPECT_OK(change.Commit());
  }
  std::vector<uint32_t> seen;
  EXPECT_ERROR(kTooLarge, database->LoadOwnership(1, [&](uint32_t region, std::string_view) {
    seen.push_back(region);
    return seen.size() == 2 ? Status(Fail(ErrorCode::kTooLarge, "enough")) : Status();
  }));
  EXPECT_EQ(seen, (std::vector<uint32_t>{10, 20}));
  // The broken-off reading holds nothing open.
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.PutOwnership(1, {{40, "d"}}));
  EXPECT_OK(change.Commit());
  EXPECT_OK(database->Checkpoint());
}

TYPED_TEST(VdiDatabaseTest, OwnershipIsRemovedInPiecesOfTheGivenSize) {
  const auto database = this->Create(FullState());
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.PutOwnership(4, {{1, "a"}, {2, "b"}, {3, "c"}, {4, "d"}, {5, "e"}}));
  EXPECT_OK(change.PutOwnership(2, {{1, "other layer"}}));
  EXPECT_EQ(change.RemoveOwnership(4, 2).value(), 2u);
  EXPECT_EQ(change.RemoveOwnership(4, 2).value(), 2u);
  EXPECT_EQ(change.RemoveOwnership(4, 0).value(), 0u);
  EXPECT_EQ(change.RemoveOwnership(4, UINT64_MAX).value(), 1u);
  EXPECT_EQ(change.RemoveOwnership(4, 2).value(), 0u);
  EXPECT_OK(change.Commit());
  EXPECT_EQ(OwnershipOf(*database, 2), (Rows{{1, "other layer"}}));
}

TYPED_TEST(VdiDatabaseTest, RemovingALayerRemovesItsOwnershipHoweverMuchThereIs) {
  constexpr uint32_t kRegions = 20'000;
  const auto database = this->Create(FullState());
  std::vector<RegionRecord> regions;
  for (uint32_t i = 0; i < kRegions; ++i) regions.push_back({i * 7, std::string(90, 'r')});
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.PutLayer({6, 0, LayerState::kFrozen, "6-3", 512, false}));
  EXPECT_OK(change.PutOwnership(6, regions));
  EXPECT_OK(change.Commit());
  EXPECT_EQ(OwnershipOf(*database, 6).size(), kRegions);

  ASSERT_OK_AND_ASSIGN(auto removal, database->Begin());
  EXPECT_OK(removal.RemoveLayer(6));
  EXPECT_OK(removal.Commit());
  EXPECT_EQ(OwnershipOf(*database, 6).size(), 0u);
}

TYPED_TEST(VdiDatabaseTest, SealingALayerGivesItAMapAndTakesItsOwnershipAway) {
  VdiState expected = FullState();
  LayerRecord& layer = expected.layers[1];
  {
    const auto database = this->Create(FullState());
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.PutOwnership(2, {{0, "abc"}, {4095, "d"}}));
    EXPECT_OK(change.PutOwnership(4, {{7, "e"}}));
    EXPECT_OK(change.Commit());

    layer.state = LayerState::kSealed;
    layer.map = {{SampleId(3), 0}, 1, SampleDigest(4), 5};
    ASSERT_OK_AND_ASSIGN(auto refused, database->Begin());
    EXPECT_ERROR(kInvalid, refused.PutLayer(layer));  // it has a parent
    EXPECT_ERROR(kInvalid, refused.Commit());

    layer.parent_seq = 0;
    expected.snapshots[1].digest = layer.map.digest;
    ASSERT_OK_AND_ASSIGN(auto sealing, database->Begin());
    EXPECT_OK(sealing.PutLayer(layer));
    EXPECT_OK(sealing.PutSnapshot(expected.snapshots[1]));
    EXPECT_OK(sealing.Commit());
    EXPECT_OK(database->CheckAll());
  }
  const auto database = this->Open();
  ASSERT_OK_AND_ASSIGN(const VdiState loaded, database->Load());
  EXPECT_TRUE(loaded == expected);
  EXPECT_EQ(OwnershipOf(*database, 2), Rows());
  EXPECT_EQ(OwnershipOf(*database, 4), (Rows{{7, "e"}}));
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.PutOwnership(2, {{1, "x"}}));
  EXPECT_OK(change.Commit());
  EXPECT_ERROR(kCorrupt, database->CheckAll());
}

TYPED_TEST(VdiDatabaseTest, RefusesToRemoveALayerThatAnotherRecordNeeds) {
  const auto database = this->Create(FullState());
  for (const uint32_t seq : {1u, 2u, 4u}) {  // parent, snapshot's and parent, head
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.RemoveLayer(seq));
    EXPECT_ERROR(kInvalid, change.Commit()) << seq;
  }
  ASSERT_OK_AND_ASSIGN(const VdiState loaded, database->Load());
  EXPECT_TRUE(loaded == FullState());
}

TYPED_TEST(VdiDatabaseTest, RefusesRecordsThatBreakTheRules) {
  const auto database = this->Create(FullState());
  VdiRecord vdi = FullState().vdi;
  vdi.size_bytes = 513;
  LayerRecord layer{6, 0, LayerState::kFrozen, "../../etc", 0, false};
  SnapshotRecord snapshot = FullState().snapshots[0];
  snapshot.name = "a@b";
  SnapshotRecord taken = FullState().snapshots[0];
  taken.name = FullState().snapshots[1].name;
  const std::string too_long(kMaxRegionRunsBytes + 1, 'x');
  using Transaction = VdiDatabase::Transaction;
  const std::vector<std::pair<ErrorCode, std::function<Status(Transaction&)>>> refused = {
      {ErrorCode::kInvalid, [&](Transaction& change) { return change.PutVdi(vdi); }},
      {ErrorCode::kInvalid, [&](Transaction& change) { return change.PutLayer(layer); }},
      {ErrorCode::kInvalid, [&](Transaction& change) { return change.PutSnapshot(snapshot); }},
      {ErrorCode::kExists, [&](Transaction& change) { return change.PutSnapshot(taken); }},
      {ErrorCode::kInvalid,
       [&](Transaction& c) {
         return c.PutOwnership(4, {{1u << 24, "x"}});
       }},
      {ErrorCode::kInvalid,
       [&](Transaction& c) {
         return c.PutOwnership(4, {{1, too_long}});
       }},
  };
  for (size_t i = 0; i < refused.size(); ++i) {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.PutOwnership(4, {{1, "before"}}));
    EXPECT_TRUE(FailedWith(refused[i].first, refused[i].second(change))) << i;
    // What came before the refusal must not be committed without what was refused.
    EXPECT_TRUE(FailedWith(refused[i].first, change.PutOwnership(4, {{2, "after"}}))) << i;
    EXPECT_TRUE(FailedWith(refused[i].first, change.Commit())) << i;
  }
  EXPECT_EQ(OwnershipOf(*database, 4), Rows());
  ASSERT_OK_AND_ASSIGN(const VdiState loaded, database->Load());
  EXPECT_TRUE(loaded == FullState());
}

TYPED_TEST(VdiDatabaseTest, RefusesOwnershipOfALayerThatIsNotThere) {
  const auto database = this->Create(PlainState());
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.PutOwnership(99, {{1, "x"}}));
  EXPECT_ERROR(kInvalid, change.Commit());
}

TYPED_TEST(VdiDatabaseTest, AfterACheckpointTheFileAloneIsTheDatabase) {
  {
    const auto database = this->Create(PlainState());
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    EXPECT_OK(change.PutOwnership(1, {{5, "five"}}));
    EXPECT_OK(change.Commit());
    EXPECT_OK(database->Checkpoint());
    EXPECT_OK(database->Checkpoint());
  }
  ASSERT_OK(this->storage_.file_system.Remove(this->path_ + "-wal"));
  const auto database = this->Open();
  EXPECT_EQ(OwnershipOf(*database, 1), (Rows{{5, "five"}}));
}

TYPED_TEST(VdiDatabaseTest, ClosingWithoutACheckpointWritesNothing) {
  auto database = this->Create(PlainState());
  ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
  EXPECT_OK(change.PutOwnership(1, {{5, "five"}}));
  EXPECT_OK(change.Commit());
  const std::string file = ReadBytes(this->storage_.file_system, this->path_);
  const std::string wal = ReadBytes(this->storage_.file_system, this->path_ + "-wal");
  database.reset();
  EXPECT_EQ(ReadBytes(this->storage_.file_system, this->path_), file);
  EXPECT_EQ(ReadBytes(this->storage_.file_system, this->path_ + "-wal"), wal);
  EXPECT_EQ(OwnershipOf(*this->Open(), 1), (Rows{{5, "five"}}));
}

TYPED_TEST(VdiDatabaseTest, TheWalStaysBounded) {
  constexpr uint64_t kLimitBytes = uint64_t{6} << 20;  // 1,000 pages, one commit more, and headers
  const auto database = this->Create(PlainState());
  for (uint32_t i = 0; i < 2'000; ++i) {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    std::vector<RegionRecord> regions;
    for (uint32_t k = 0; k < 4; ++k) {
      regions.push_back({(i * 4093 + k * 65'537) % 100'000, std::string(300, 'q')});
    }
    ASSERT_OK(change.PutOwnership(1, regions));
    ASSERT_OK(change.Commit());
  }
  ASSERT_OK_AND_ASSIGN(const FileFacts wal, this->storage_.file_system.Facts(this->path_ + "-wal"));
  EXPECT_LT(wal.size_bytes, kLimitBytes);
}

TYPED_TEST(VdiDatabaseTest, HoldsTenThousandLayersAndSnapshots) {
  const VdiState state = ChainState(10'000);
  const auto database = this->Create(state);
  ASSERT_OK_AND_ASSIGN(const VdiState loaded, database->Load());
  EXPECT_TRUE(loaded == state);
}

}  // namespace
}  // namespace quoin

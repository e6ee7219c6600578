// Snapshots of several VDIs at one instant: all or none, whatever fails after the decision.
#include "snapshots/group_snapshot.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class GroupSnapshotTest : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    a_ = CreateWith("a", PatternOf(1, kBlockBytes));
    b_ = CreateWith("b", PatternOf(2, kBlockBytes));
  }

  std::string Wal(const Id& id) { return "/store/vdis/" + id.ToString() + "/vdi.db-wal"; }

  bool Has(const Id& vdi, const std::string& name) {
    const Result<std::vector<SnapshotRecord>> snapshots = store_->ListSnapshots(vdi);
    EXPECT_OK(snapshots);
    return snapshots && std::any_of(snapshots->begin(), snapshots->end(),
                                    [&](const auto& s) { return s.name == name; });
  }

  Id a_;
  Id b_;
};

// The group's file decides. If a VDI cannot record that its snapshot is decided (the store is full,
// say), the file must stay until it can: without it the snapshot would be taken for undecided.
TEST_F(GroupSnapshotTest, ADecidedSnapshotThatCouldNotBeRecordedSurvivesACleanReleaseAndACrash) {
  for (const Id& victim : {a_, b_}) {
    SCOPED_TRACE(victim == a_ ? "a" : "b");
    const std::string name = victim == a_ ? "s1" : "s2";
    VdiHandle a = OpenVdi(a_);
    VdiHandle b = OpenVdi(b_);
    bool decided = false;
    fs_.SetObserver([&](Call call, const std::string& path) {
      if (call != Call::kSyncDirectory || path != "/store/groups" || decided) return;
      decided = true;
      fs_.Plan({.mode = FaultMode::kErrors,
                .code = ErrorCode::kNoSpace,
                .only_call = Call::kWrite,
                .only_path_part = Wal(victim)});
    });
    ASSERT_OK(store_->CreateSnapshots({{"a", name}, {"b", name}}));
    ASSERT_TRUE(decided);
    EXPECT_TRUE(Has(a_, name) && Has(b_, name));
    fs_.ClearFaults();
    ASSERT_OK(a.Close());
    ASSERT_OK(b.Close());
    store_.reset();
    fs_.SetObserver(nullptr);  // no thread of the store runs now
    store_ = OpenAs(1);
    EXPECT_TRUE(Has(a_, name));
    EXPECT_TRUE(Has(b_, name));
    // A crash later on: the recovery decides what is still pending.
    a = OpenVdi(a_);
    b = OpenVdi(b_);
    KillProcess({&a, &b});
    store_ = OpenAs(1);
    EXPECT_TRUE(Has(a_, name));
    EXPECT_TRUE(Has(b_, name));
  }
}

// The other way round: what was not decided and could not be taken back at once must not keep its
// name, nor its VDI from being removed.
TEST_F(GroupSnapshotTest, APendingSnapshotThatCouldNotBeTakenBackIsGoneForTheNextOwner) {
  VdiHandle a = OpenVdi(a_);
  VdiHandle b = OpenVdi(b_);
  const std::string first_wal = a_ < b_ ? Wal(a_) : Wal(b_);
  fs_.SetObserver([&](Call call, const std::string& path) {
    if (call != Call::kLink || path.find("/groups/") == std::string::npos) return;
    fs_.Plan({.mode = FaultMode::kErrors, .code = ErrorCode::kNoSpace});
  });
  EXPECT_FALSE(store_->CreateSnapshots({{"a", "s"}, {"b", "s"}}));
  fs_.SetObserver(nullptr);
  fs_.ClearFaults();
  EXPECT_FALSE(Has(a_, "s"));
  EXPECT_FALSE(Has(b_, "s"));
  ASSERT_OK(a.Close());
  ASSERT_OK(b.Close());
  EXPECT_OK(store_->CreateSnapshots({{"a", "s"}, {"b", "s"}}));
  EXPECT_OK(store_->RemoveSnapshot(a_, "s"));
  EXPECT_OK(store_->RemoveVdi("a", false));
}

TEST_F(GroupSnapshotTest, AHeadThatCannotBeMadeAsLongAsTheDiskFailsTheSnapshotAndNotTheDaemon) {
  VdiHandle a = OpenVdi(a_);
  ASSERT_OK(a->Write(0, AsBytes(PatternOf(3, kBlockBytes))));
  // The disk grows while the new head is being made, and the new head cannot follow.
  bool grown = false;
  fs_.SetObserver([&](Call call, const std::string& path) {
    if (call != Call::kTruncate || path.find("/layers/") == std::string::npos || grown) return;
    grown = true;
    EXPECT_OK(a->Write(4 * kBlockBytes, AsBytes(PatternOf(4, kBlockBytes))));
    // This call sets the size that the disk had; those after it fail.
    fs_.Plan({.at = 2, .mode = FaultMode::kErrors, .only_call = Call::kTruncate});
  });
  EXPECT_ERROR(kIo, store_->CreateSnapshots({{"a", "s"}}));
  fs_.SetObserver(nullptr);
  fs_.ClearFaults();
  ASSERT_TRUE(grown);
  EXPECT_OK(store_->CreateSnapshots({{"a", "s"}}));
  ASSERT_OK_AND_ASSIGN(const SnapshotRecord record, store_->FindSnapshot(a_, "s"));
  EXPECT_EQ(record.size_bytes, 5 * kBlockBytes);
}

}  // namespace
}  // namespace quoin

#include "snapshots/last_owners.h"

#include "metadata/store_layout.h"
#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class LastOwnersTest : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    id_ = Create("a", 8);
    folder_ = StoreLayout("/store").Vdi(id_);
  }
  bool DiedAt(std::chrono::milliseconds after) { return owners_.DiedHere(folder_, start_ + after); }

  const HostIdentity self_ = TestHost(1);
  LastOwners owners_{fs_, self_};
  const LastOwners::Clock::time_point start_ = LastOwners::Clock::now();
  Id id_;
  std::string folder_;
};

TEST_F(LastOwnersTest, ACleanRecordIsReadNoMoreOnceItHasStoodForAWhile) {
  EXPECT_FALSE(DiedAt(std::chrono::milliseconds(0)));
  EXPECT_FALSE(DiedAt(std::chrono::milliseconds(100)));  // a change meanwhile might not show
  EXPECT_FALSE(DiedAt(LastOwners::kSettled));
  EXPECT_EQ(owners_.reads(), 3u);
  EXPECT_FALSE(DiedAt(2 * LastOwners::kSettled));
  EXPECT_FALSE(DiedAt(std::chrono::hours(1)));
  EXPECT_EQ(owners_.reads(), 3u);
}

TEST_F(LastOwnersTest, WhoeverDiesLaterIsFound) {
  EXPECT_FALSE(DiedAt(std::chrono::milliseconds(0)));
  EXPECT_FALSE(DiedAt(LastOwners::kSettled));
  VdiHandle guest = OpenVdi(id_);
  EXPECT_OK(guest->Write(0, AsBytes(std::string(kBlockBytes, 'x'))));
  EXPECT_OK(guest->Flush());
  EXPECT_FALSE(DiedAt(std::chrono::hours(1))) << "it is still held";
  EXPECT_FALSE(DiedAt(std::chrono::hours(2)));
  KillProcess({&guest});
  EXPECT_TRUE(DiedAt(std::chrono::hours(2)));
  EXPECT_TRUE(DiedAt(std::chrono::hours(3)));
}

TEST_F(LastOwnersTest, ADeadOwnerOnAnotherHostIsNoneOfOurs) {
  const std::unique_ptr<Store> other = OpenAs(2);
  Result<VdiHandle> guest = other->OpenVdi(id_, Access::kReadWrite);
  ASSERT_OK(guest);
  EXPECT_FALSE(DiedAt(std::chrono::milliseconds(0)));
  EXPECT_FALSE(DiedAt(LastOwners::kSettled));
  const uint64_t reads = owners_.reads();
  EXPECT_FALSE(DiedAt(2 * LastOwners::kSettled));
  EXPECT_EQ(owners_.reads(), reads);
  EXPECT_OK(guest->Close());
}

TEST_F(LastOwnersTest, AVdiThatIsNotThereIsNoOnes) {
  EXPECT_FALSE(owners_.DiedHere("/store/vdis/none"));
}

// What depends on it: a reader of another host follows what is published, snapshot by snapshot.
class HistoryTest : public StoreWorld {
 protected:
  static constexpr int kSnapshots = 100;
  void SetUp() override {
    StoreWorld::SetUp();
    id_ = Create("a", 8);
    for (int n = 0; n < kSnapshots; ++n) Snapshot("a", "s" + std::to_string(n));
  }
  static void ExpectNewest(Store& store, const Id& id, const std::string& name) {
    ASSERT_OK_AND_ASSIGN(const SnapshotRecord newest, store.NewestSnapshot(id));
    EXPECT_EQ(newest.name, name);
    ASSERT_OK_AND_ASSIGN(const HistoryInfo history, store.DescribeHistory(id));
    EXPECT_EQ(history.changed_ns, newest.created_ns);
  }
  void ExpectAllAreFound(Store& store) {
    ASSERT_OK_AND_ASSIGN(const std::vector<SnapshotRecord> listed, store.ListSnapshots(id_));
    for (const SnapshotRecord& each : listed) {
      ASSERT_OK_AND_ASSIGN(const SnapshotRecord by_name, store.FindSnapshot(id_, each.name));
      ASSERT_OK_AND_ASSIGN(const SnapshotRecord by_id, store.FindSnapshot(id_, each.id));
      EXPECT_EQ(by_name, each);
      EXPECT_EQ(by_id, each);
    }
  }
  // As an owner knows them, as this host has published them, and as another host reads that.
  template <typename Change>
  void AfterEach(Change change, const std::string& newest, const std::string& gone) {
    const std::unique_ptr<Store> other = OpenAs(2);
    ExpectAllAreFound(*other);  // and knows it all before the change
    VdiHandle guest = OpenVdi(id_);
    ExpectAllAreFound(*store_);
    change();
    const auto expect = [&](Store& store) {
      ExpectAllAreFound(store);
      ExpectNewest(store, id_, newest);
      EXPECT_ERROR(kNotFound, store.FindSnapshot(id_, gone));
    };
    expect(*store_);
    EXPECT_OK(guest.Close());
    expect(*store_);
    expect(*other);
  }

  Id id_;
};

TEST_F(HistoryTest, ARemovedSnapshotIsNotFoundAnyMoreAndTheOthersAre) {
  AfterEach([&] { EXPECT_OK(store_->RemoveSnapshot(id_, "s50")); }, "s99", "s50");
}

TEST_F(HistoryTest, WhenTheNewestIsRemovedTheOneBeforeIsTheNewest) {
  AfterEach([&] { EXPECT_OK(store_->RemoveSnapshot(id_, "s99")); }, "s98", "s99");
}

TEST_F(HistoryTest, ARenamedSnapshotHasItsNewNameOnly) {
  AfterEach([&] { EXPECT_OK(store_->RenameSnapshot(id_, "s99", "last")); }, "last", "s99");
  AfterEach(
      [&] {
        EXPECT_OK(store_->RenameSnapshot(id_, "s1", "free"));
        EXPECT_OK(store_->RenameSnapshot(id_, "s2", "s1"));
      },
      "last", "s2");
}

TEST_F(HistoryTest, ANewSnapshotIsFoundAndIsTheNewest) {
  AfterEach([&] { Snapshot("a", "another"); }, "another", "none");
}

TEST_F(HistoryTest, WithoutSnapshotsThereIsNoNewestAndTheFolderIsAsOldAsTheVdi) {
  const Id empty = Create("b", 8);
  EXPECT_ERROR(kNotFound, store_->NewestSnapshot(empty));
  ASSERT_OK_AND_ASSIGN(const VdiInfo info, store_->Describe(empty));
  ASSERT_OK_AND_ASSIGN(const HistoryInfo history, store_->DescribeHistory(empty));
  EXPECT_EQ(history.changed_ns, info.created_ns);
  EXPECT_EQ(history.attributes, info.attributes);
}

}  // namespace
}  // namespace quoin

// Flushes and snapshots of more regions than one transaction takes.
#include <gtest/gtest.h>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

constexpr uint64_t kRegions = 9000;

class LargeRecordTest : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    id_ = Create("a", kRegions * kRegionBlocks);
  }

  void WriteEverywhere(VdiHandle& handle, const std::string& sector) {
    for (uint64_t region = 0; region < kRegions; ++region) {
      ASSERT_OK(handle->Write(region * kRegionBytes, AsBytes(sector)));
    }
  }

  // Of which the first sync is of its header, and each later one of a transaction.
  std::string Wal() { return "/store/vdis/" + id_.ToString() + "/vdi.db-wal"; }

  // How many regions hold the sector; the others hold zeros.
  uint64_t CountIn(Image& image, const std::string& sector) {
    uint64_t count = 0;
    const std::string zeros(kSectorBytes, '\0');
    for (uint64_t region = 0; region < kRegions; ++region) {
      const std::string got = Read(image, region * kRegionBytes, kSectorBytes);
      EXPECT_TRUE(got == sector || got == zeros) << region;
      count += got == sector;
    }
    return count;
  }

  Id id_;
  const std::string sector_ = PatternOf(1, kSectorBytes);
};

TEST_F(LargeRecordTest, AFlushOfManyRegionsTakesSeveralTransactionsAndIsWholeInTheEnd) {
  VdiHandle handle = OpenVdi(id_);
  WriteEverywhere(handle, sector_);
  ASSERT_OK(handle->Flush());
  fs_.FailAfter(1, FaultMode::kCrash);
  handle = VdiHandle();
  store_.reset();
  fs_.Crash(CrashMode::kLoseAll);
  store_ = OpenAs(1);
  handle = OpenVdi(id_);
  EXPECT_EQ(CountIn(*handle, sector_), kRegions);
  EXPECT_EQ(handle->data_blocks(), kRegions);
}

TEST_F(LargeRecordTest, ACrashBetweenTheTransactionsOfASnapshotLeavesNoneOfIt) {
  VdiHandle handle = OpenVdi(id_);
  WriteEverywhere(handle, sector_);
  fs_.Plan({.at = 3, .mode = FaultMode::kCrash, .only_call = Call::kSync, .only_path_part = Wal()});
  EXPECT_FALSE(store_->CreateSnapshots({{"a", "s"}}));
  EXPECT_TRUE(fs_.stopped());
  handle = VdiHandle();
  store_.reset();
  fs_.Crash(CrashMode::kLoseAll);
  store_ = OpenAs(1);
  handle = OpenVdi(id_);
  EXPECT_ERROR(kNotFound, store_->FindSnapshot(id_, "s"));
  const uint64_t kept = CountIn(*handle, sector_);
  EXPECT_GT(kept, 0u);
  EXPECT_LT(kept, kRegions);
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  EXPECT_EQ(handle->data_blocks(), kept);
}

TEST_F(LargeRecordTest, AFullStoreBetweenTheTransactionsOfASnapshotLosesNothing) {
  VdiHandle handle = OpenVdi(id_);
  WriteEverywhere(handle, sector_);
  fs_.Plan({.at = 3,
            .mode = FaultMode::kErrorOnce,
            .code = ErrorCode::kNoSpace,
            .only_call = Call::kSync,
            .only_path_part = Wal()});
  EXPECT_ERROR(kNoSpace, store_->CreateSnapshots({{"a", "s"}}));
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  ASSERT_OK(handle.Close());
  store_.reset();
  store_ = OpenAs(1);
  ASSERT_OK_AND_ASSIGN(const SnapshotRecord record, store_->FindSnapshot(id_, "s"));
  EXPECT_EQ(record.data_blocks, kRegions);
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Image> image, store_->OpenSnapshot(id_, record.id));
  EXPECT_EQ(CountIn(*image, sector_), kRegions);
}

}  // namespace
}  // namespace quoin

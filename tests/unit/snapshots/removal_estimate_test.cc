// When a collection is worth its cost, and what a store counts for that.
#include "snapshots/removal_estimate.h"

#include "tests/support/temporary_directory.h"
#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
const RemovalEstimate::Clock::time_point kNow{std::chrono::hours(1000)};

RemovalEstimate::Seen Removed(uint64_t bytes, std::chrono::minutes ago = std::chrono::minutes(5)) {
  return {1, bytes, kNow - ago};
}
SpaceFacts Available(uint64_t percent) {
  SpaceFacts space;
  space.total_bytes = 1000 * kGiB;
  space.free_bytes = space.available_bytes = 10 * kGiB * percent;
  return space;
}

TEST(RemovalEstimateTest, ACollectionIsDueWhenItMayFreeATenthOfThePacks) {
  EXPECT_FALSE(IsCollectionDue(Removed(9 * kGiB), 100 * kGiB, Available(50), kNow));
  EXPECT_TRUE(IsCollectionDue(Removed(10 * kGiB), 100 * kGiB, Available(50), kNow));
  EXPECT_TRUE(IsCollectionDue(Removed(10 * kGiB), 10 * kGiB, Available(50), kNow));
  EXPECT_TRUE(IsCollectionDue(Removed(~uint64_t{0}), 100 * kGiB, Available(50), kNow));
}

TEST(RemovalEstimateTest, WithLittleSpaceLeftEveryRemovalFromPacksIsReasonEnough) {
  EXPECT_TRUE(IsCollectionDue(Removed(4096), 100 * kGiB, Available(9), kNow));
  EXPECT_FALSE(IsCollectionDue(Removed(4096), 100 * kGiB, Available(11), kNow));
  EXPECT_FALSE(IsCollectionDue(Removed(0), 100 * kGiB, Available(1), kNow));
}

TEST(RemovalEstimateTest, WhatWasRemovedDoesNotStayForLongerThanADay) {
  EXPECT_FALSE(IsCollectionDue(Removed(4096, std::chrono::hours(23)), 100 * kGiB, Available(50), kNow));
  EXPECT_TRUE(IsCollectionDue(Removed(4096, std::chrono::hours(24)), 100 * kGiB, Available(50), kNow));
  EXPECT_TRUE(IsCollectionDue(Removed(0, std::chrono::hours(24)), 100 * kGiB, Available(50), kNow));
}

TEST(RemovalEstimateTest, WithoutRemovalsNothingIsDue) {
  EXPECT_FALSE(IsCollectionDue({}, 100 * kGiB, Available(1), kNow));
  EXPECT_FALSE(IsCollectionDue({}, 0, Available(1), kNow));
}

TEST(RemovalEstimateTest, ForgetsWhatACollectionHasLookedAtAndNothingSince) {
  RemovalEstimate removals;
  const auto layer = [](LayerState state, uint64_t blocks) {
    LayerRecord record;
    record.state = state;
    record.map.data_blocks = blocks;
    return record;
  };
  removals.Count({layer(LayerState::kSealed, 5), layer(LayerState::kSealed, 8),
                  layer(LayerState::kFrozen, 100)},
                 kNow);
  EXPECT_EQ(removals.Now().bytes_at_most, 8 * kBlockBytes);
  EXPECT_EQ(removals.Now().first, kNow);
  const RemovalEstimate::Seen seen = removals.Now();
  removals.Count({layer(LayerState::kSealed, 3)}, kNow + std::chrono::minutes(1));
  removals.Forget(seen);
  EXPECT_EQ(removals.Now().removals, 1u);
  EXPECT_EQ(removals.Now().bytes_at_most, 3 * kBlockBytes);
  EXPECT_EQ(removals.Now().first, kNow + std::chrono::minutes(1));
  removals.Forget(seen);  // another collection that began when that was so
  removals.Forget(removals.Now());
  EXPECT_EQ(removals.Now().removals, 0u);
  EXPECT_FALSE(removals.Now().first);
}

class RemovedBytesTest : public SealedWorld {
 protected:
  uint64_t Reclaimable() { return store_->Activity().reclaimable_bytes_at_most; }
  static CollectOptions AtOnce() {
    CollectOptions options;
    options.grace = std::chrono::milliseconds(0);
    options.reserve_bytes = 0;
    return options;
  }
};

TEST_F(RemovedBytesTest, CountWhatWasSealedAndGoesUntilACollectionHasLooked) {
  const Id a = CreateWith("a", PatternOf(1, 32 * kBlockBytes));
  Snapshot("a", "s");
  Seal(a);
  CreateWith("b", PatternOf(2, 16 * kBlockBytes));
  ASSERT_OK(store_->RemoveVdi("b", false));
  EXPECT_EQ(Reclaimable(), 0u) << "its blocks were in a file of its own";

  // The snapshot's layer is what the head stands on, too.
  ASSERT_OK(store_->RemoveSnapshot(a, "s"));
  EXPECT_EQ(Reclaimable(), 0u);
  ASSERT_OK(store_->RemoveVdi("a", false));
  EXPECT_EQ(Reclaimable(), 32 * kBlockBytes);

  CollectOptions dry = AtOnce();
  dry.dry_run = true;
  ASSERT_OK(store_->Collect(dry));
  EXPECT_EQ(Reclaimable(), 32 * kBlockBytes);
  ASSERT_OK_AND_ASSIGN(const CollectReport report, store_->Collect(AtOnce()));
  EXPECT_GT(report.freed_bytes, 0u);
  EXPECT_EQ(Reclaimable(), 0u);
  EXPECT_EQ(store_->Activity().collections, 1u);
  EXPECT_EQ(store_->Activity().freed_bytes, report.freed_bytes);
}

TEST_F(RemovedBytesTest, ASnapshotCountsWithWhatOnlyItNeeded) {
  const Id a = CreateWith("a", PatternOf(1, 32 * kBlockBytes));
  Snapshot("a", "s");
  WriteBlocks(a, 0, PatternOf(3, kBlockBytes));
  Snapshot("a", "t");
  Seal(a);
  ASSERT_OK(store_->RemoveSnapshot(a, "s"));
  EXPECT_EQ(Reclaimable(), 32 * kBlockBytes) << "at most: all but one block is shown by t as well";
}

// The limits of what is remembered of the dead: sharing becomes less, and never wrong.
class KnownDeadTest : public SealedWorld {
 protected:
  static constexpr uint64_t kDead = 96;
  static constexpr uint64_t kKept = 32;

  void OpenWith(uint64_t runs, uint64_t packs) {
    StoreOptions options = TestOptions();
    options.state_dir = state_.path();
    options.known_dead_runs = runs;
    options.known_dead_packs = packs;
    store_.reset();
    Result<std::unique_ptr<Store>> opened = Store::Open(fs_, "/store", TestHost(1), options);
    ASSERT_OK(opened);
    store_ = std::move(*opened);
  }
  static std::string Blocks(uint8_t seed, uint64_t count) {
    std::string bytes;
    for (uint64_t n = 0; n < count; ++n) {
      std::string block = PatternOf(static_cast<uint8_t>(seed + n), kBlockBytes);
      block.replace(0, 3, {static_cast<char>(seed), static_cast<char>(n), static_cast<char>(n >> 8)});
      bytes += block;
    }
    return bytes;
  }

  // A pack of which most is declared dead and still there; then what is alive of it is stored again.
  uint64_t SharedWithTheLiving() {
    const Id a = CreateWith("a", Blocks(1, kDead) + kept_);
    Seal(a);
    {
      VdiHandle handle = OpenVdi(a);
      EXPECT_OK(handle->Zero(0, kDead * kBlockBytes));
      EXPECT_OK(handle.Close());
    }
    Seal(a);
    CollectOptions options;
    options.grace = std::chrono::hours(1);
    options.reserve_bytes = 0;
    const Result<CollectReport> report = store_->Collect(options);
    EXPECT_OK(report);
    EXPECT_GT(report->waiting_bytes, 0u);
    const Id b = CreateWith("b", kept_ + Blocks(1, kDead));
    const SealCounts counts = Seal(b);
    EXPECT_EQ(counts.shared_blocks + counts.stored_blocks, kKept + kDead);
    options.grace = std::chrono::hours(0);
    EXPECT_OK(store_->Collect(options));
    Reopen();
    EXPECT_EQ(Content(a), std::string(kDead * kBlockBytes, '\0') + kept_);
    EXPECT_EQ(Content(b), kept_ + Blocks(1, kDead));
    ExpectSound();
    return counts.shared_blocks;
  }

  TemporaryDirectory state_;
  const std::string kept_ = Blocks(200, kKept);
};

TEST_F(KnownDeadTest, WhatIsAliveBesideTheDeadIsShared) {
  OpenWith(1 << 20, 1 << 20);
  EXPECT_EQ(SharedWithTheLiving(), kKept);
}

TEST_F(KnownDeadTest, BeyondTheLimitOfRunsNothingIsSharedWithTheirPacks) {
  OpenWith(0, 1 << 20);
  EXPECT_EQ(SharedWithTheLiving(), 0u);
}

TEST_F(KnownDeadTest, BeyondTheLimitOfPacksNothingIsSharedAtAll) {
  OpenWith(1 << 20, 0);
  EXPECT_EQ(SharedWithTheLiving(), 0u);
}

}  // namespace
}  // namespace quoin

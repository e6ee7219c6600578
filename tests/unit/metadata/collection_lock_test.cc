#include "metadata/collection_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "metadata/superblock.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kNow{0};
constexpr milliseconds kSoon{20};
constexpr milliseconds kLong{20'000};

DeadList ListOf(int digit) {
  DeadList list;
  list.AddPack(SampleId(digit));
  return list;
}

template <typename Storage>
class CollectionLockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(InitialiseStore(storage_.file_system, root_, "lz4"));
    lock_ = Open();
  }

  std::unique_ptr<CollectionLock> Open() {
    auto lock = CollectionLock::Open(storage_.file_system, layout_);
    EXPECT_OK(lock);
    return lock ? *std::move(lock) : nullptr;
  }

  uint64_t Advance(const DeadList& dead) {
    auto hold = lock_->HoldExclusive(kNow);
    EXPECT_OK(hold);
    const Result<uint64_t> generation = hold->Advance(dead);
    EXPECT_OK(generation);
    return generation.value_or(0);
  }

  Storage storage_;
  const std::string root_ = storage_.root + "/store";
  const StoreLayout layout_{root_};
  std::unique_ptr<CollectionLock> lock_;
};

TYPED_TEST_SUITE(CollectionLockTest, AllStorages);

TYPED_TEST(CollectionLockTest, ManyShareItAndACollectorIsAlone) {
  const auto other_host = this->Open();
  {
    ASSERT_OK_AND_ASSIGN(auto first, this->lock_->HoldShared(kNow));
    ASSERT_OK_AND_ASSIGN(auto second, this->lock_->HoldShared(kNow));
    ASSERT_OK_AND_ASSIGN(auto third, other_host->HoldShared(kNow));
    EXPECT_ERROR(kBusy, this->lock_->HoldExclusive(kNow));
    EXPECT_ERROR(kBusy, other_host->HoldExclusive(kSoon));
    EXPECT_OK(first.Verify());
  }
  {
    ASSERT_OK_AND_ASSIGN(auto alone, this->lock_->HoldExclusive(kNow));
    const auto shared = other_host->HoldShared(kSoon);
    ASSERT_ERROR(kBusy, shared);
    EXPECT_NE(shared.error().what.find("collector"), std::string::npos);
    EXPECT_ERROR(kBusy, this->lock_->HoldShared(kNow));
    EXPECT_ERROR(kBusy, other_host->HoldExclusive(kNow));
    EXPECT_OK(alone.Verify());
  }
  EXPECT_OK(other_host->HoldShared(kNow));
}

TYPED_TEST(CollectionLockTest, AHoldMovesWithItsObject) {
  std::optional<CollectionLock::SharedHold> kept;
  {
    ASSERT_OK_AND_ASSIGN(auto hold, this->lock_->HoldShared(kNow));
    kept.emplace(std::move(hold));
  }
  EXPECT_ERROR(kBusy, this->lock_->HoldExclusive(kNow));
  kept.reset();
  EXPECT_OK(this->lock_->HoldExclusive(kNow));
}

TYPED_TEST(CollectionLockTest, ACollectorGetsItsTurnAmongSealersThatNeverStop) {
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> commits{0};
  std::vector<std::thread> sealers;
  for (int i = 0; i < 3; ++i) {
    sealers.emplace_back([&] {
      while (!stop) {
        const auto hold = this->lock_->HoldShared(kLong);
        EXPECT_OK(hold);
        std::this_thread::sleep_for(milliseconds(20));
        ++commits;
      }
    });
  }
  for (int i = 1; i <= 3; ++i) {
    const auto hold = this->lock_->HoldExclusive(kLong);
    EXPECT_OK(hold);
    const uint64_t before = commits;
    std::this_thread::sleep_for(milliseconds(30));
    EXPECT_EQ(commits, before);
  }
  stop = true;
  for (std::thread& sealer : sealers) sealer.join();
}

TYPED_TEST(CollectionLockTest, EachDeclarationIsANewGenerationAndItsListIsKept) {
  EXPECT_EQ(this->lock_->Generation().value(), 0u);
  EXPECT_TRUE(this->lock_->DeadSince(0)->packs().empty());
  uint64_t first = 0;
  uint64_t second = 0;
  {
    ASSERT_OK_AND_ASSIGN(auto hold, this->lock_->HoldExclusive(kNow));
    first = hold.Advance(ListOf(1)).value();
    second = hold.Advance(ListOf(2)).value();
    EXPECT_GT(first, 0u);
    EXPECT_GT(second, first);
    EXPECT_EQ(hold.generation(), second);
  }
  const uint64_t third = this->Advance(DeadList());
  EXPECT_GT(third, second);
  const auto again = this->Open();
  EXPECT_EQ(again->Generation().value(), third);
  EXPECT_EQ(again->HoldShared(kNow)->generation(), third);
  DeadList both = ListOf(1);
  both.Add(ListOf(2));
  EXPECT_TRUE(again->DeadSince(0).value() == both);
  EXPECT_TRUE(again->DeadSince(first).value() == ListOf(2));
  EXPECT_TRUE(again->DeadSince(second).value() == DeadList());
  EXPECT_TRUE(again->DeadSince(third).value() == DeadList());
  // Generations that never were.
  for (const uint64_t other : {first + 1, second - 1, third + 1}) {
    if (other == second || other == first) continue;
    EXPECT_ERROR(kNotFound, again->DeadSince(other)) << other;
  }
}

TYPED_TEST(CollectionLockTest, AGenerationThatTheStorageTookBackIsNoticed) {
  FileSystem& file_system = this->storage_.file_system;
  this->Advance(ListOf(1));
  const std::string before = ReadBytes(file_system, this->layout_.CollectionGeneration());
  const uint64_t lost = this->Advance(ListOf(2));
  WriteBytes(file_system, this->layout_.CollectionGeneration(), before);
  const uint64_t present = this->Advance(ListOf(3));
  if (present == lost) GTEST_SKIP() << "one chance in 65,536";
  EXPECT_ERROR(kNotFound, this->lock_->DeadSince(lost));
}

TYPED_TEST(CollectionLockTest, OldListsGoAndWhoNeedsThemIsToldToForgetAll) {
  this->Advance(ListOf(1));
  const uint64_t second = this->Advance(ListOf(2));
  const uint64_t third = this->Advance(ListOf(3));
  ASSERT_OK_AND_ASSIGN(auto hold, this->lock_->HoldExclusive(kNow));
  const int64_t written_ns =
      this->storage_.file_system.Facts(this->layout_.DeadList(third))->mtime_ns;
  const int64_t age_ns = std::chrono::nanoseconds(kDeadListAge).count();
  EXPECT_EQ(hold.RemoveOldLists(written_ns).value(), 0u);
  EXPECT_TRUE(this->lock_->DeadSince(second).value() == ListOf(3));
  EXPECT_EQ(hold.RemoveOldLists(written_ns + age_ns + 1).value(), 3u);
  EXPECT_ERROR(kNotFound, this->lock_->DeadSince(second));
  EXPECT_TRUE(this->lock_->DeadSince(third)->packs().empty());
}

TYPED_TEST(CollectionLockTest, DamageIsCorruptAndNeverAnotherGeneration) {
  const uint64_t generation = this->Advance(ListOf(1));
  FileSystem& file_system = this->storage_.file_system;
  const std::string path = this->layout_.CollectionGeneration();
  const std::string good = ReadBytes(file_system, path);
  std::vector<std::string> damaged = {"", "1", "1\n", good + " ", std::string(34, '0')};
  for (size_t i = 0; i < good.size() * 8; ++i) {
    damaged.push_back(good);
    damaged.back()[i / 8] = static_cast<char>(good[i / 8] ^ (1 << i % 8));
  }
  for (const std::string& bytes : damaged) {
    WriteBytes(file_system, path, bytes);
    EXPECT_ERROR(kCorrupt, this->lock_->Generation()) << bytes;
    EXPECT_ERROR(kCorrupt, this->lock_->HoldShared(kNow));
  }
  WriteBytes(file_system, path, good);
  WriteBytes(file_system, this->layout_.DeadList(generation), "rubbish");
  EXPECT_ERROR(kCorrupt, this->lock_->DeadSince(0));
}

TYPED_TEST(CollectionLockTest, AGenerationThatWasLostBeginsBeyondAllThatAnyoneCanRemember) {
  std::vector<uint64_t> remembered = {0};
  for (int digit = 1; digit <= 3; ++digit) remembered.push_back(this->Advance(ListOf(digit)));
  FileSystem& file_system = this->storage_.file_system;
  ASSERT_OK(file_system.Remove(this->layout_.CollectionGeneration()));
  const auto again = this->Open();
  EXPECT_GT(again->Generation().value(), remembered.back());
  for (const uint64_t generation : remembered) {
    EXPECT_ERROR(kNotFound, again->DeadSince(generation)) << generation;
  }
}

TYPED_TEST(CollectionLockTest, AFileThatIsNotTheNamedOneIsNoLock) {
  FileSystem& file_system = this->storage_.file_system;
  ASSERT_OK_AND_ASSIGN(auto hold, this->lock_->HoldShared(kNow));
  ASSERT_OK(file_system.Remove(this->layout_.CollectionLock()));
  EXPECT_ERROR(kNotFound, this->lock_->HoldExclusive(kNow));
}

TEST(CollectionLockCrashTest, OpeningIsFinishedByTheNextAfterACrashAtAnyStep) {
  bool finished = false;
  for (uint64_t step = 1; !finished; ++step) {
    for (const CrashMode mode :
         {CrashMode::kLoseAll, CrashMode::kRandom, CrashMode::kProcessOnly}) {
      SimulatedFileSystem file_system;
      const StoreLayout layout("/store");
      ASSERT_OK(InitialiseStore(file_system, "/store", "lz4"));
      file_system.FailAfter(step, FaultMode::kCrash);
      (void)CollectionLock::Open(file_system, layout);
      finished = !file_system.stopped();
      file_system.Crash(mode, step);
      SCOPED_TRACE(step);
      ASSERT_OK_AND_ASSIGN(const auto lock, CollectionLock::Open(file_system, layout));
      EXPECT_EQ(lock->Generation().value(), 0u);
      EXPECT_OK(lock->HoldExclusive(kNow)->Advance(ListOf(1)));
      EXPECT_TRUE(lock->DeadSince(0).value() == ListOf(1));
    }
    ASSERT_LT(step, 40u);
  }
}

TEST(CollectionLockCrashTest, ADeclarationIsWholeOrNeverWas) {
  bool finished = false;
  for (uint64_t step = 1; !finished; ++step) {
    for (const CrashMode mode :
         {CrashMode::kLoseAll, CrashMode::kRandom, CrashMode::kProcessOnly}) {
      SimulatedFileSystem file_system;
      const StoreLayout layout("/store");
      ASSERT_OK(InitialiseStore(file_system, "/store", "lz4"));
      ASSERT_OK_AND_ASSIGN(const auto before, CollectionLock::Open(file_system, layout));
      ASSERT_OK_AND_ASSIGN(const uint64_t first, before->HoldExclusive(kNow)->Advance(ListOf(1)));
      Result<uint64_t> advanced = uint64_t{0};
      {
        ASSERT_OK_AND_ASSIGN(auto hold, before->HoldExclusive(kNow));
        file_system.FailAfter(step, FaultMode::kCrash);
        advanced = hold.Advance(ListOf(2));
        finished = !file_system.stopped();
        file_system.Crash(mode, step);
      }
      SCOPED_TRACE(step);
      ASSERT_OK_AND_ASSIGN(const auto after, CollectionLock::Open(file_system, layout));
      const uint64_t generation = after->Generation().value();
      EXPECT_TRUE(advanced ? generation == *advanced : generation >= first);
      EXPECT_TRUE(after->DeadSince(first).value() == (generation > first ? ListOf(2) : DeadList()));
      // The lock is free, and the next declaration is not mixed up with the one that was cut short.
      ASSERT_OK_AND_ASSIGN(auto hold, after->HoldExclusive(kNow));
      EXPECT_OK(hold.Advance(ListOf(3)));
      EXPECT_TRUE(after->DeadSince(generation).value() == ListOf(3));
    }
    ASSERT_LT(step, 40u);
  }
}

TEST(CollectionLockCrashTest, RemovingListsLeavesTheYoungestWhateverTheStep) {
  for (uint64_t step = 1;; ++step) {
    SimulatedFileSystem file_system;
    const StoreLayout layout("/store");
    ASSERT_OK(InitialiseStore(file_system, "/store", "lz4"));
    ASSERT_OK_AND_ASSIGN(const auto lock, CollectionLock::Open(file_system, layout));
    std::vector<uint64_t> generations = {0};
    {
      ASSERT_OK_AND_ASSIGN(auto hold, lock->HoldExclusive(kNow));
      for (int digit = 1; digit <= 5; ++digit) {
        generations.push_back(hold.Advance(ListOf(digit)).value());
      }
      file_system.FailAfter(step, FaultMode::kCrash);
      (void)hold.RemoveOldLists(INT64_MAX);
    }
    const bool finished = !file_system.stopped();
    file_system.Crash(CrashMode::kRandom, step);
    ASSERT_OK_AND_ASSIGN(const auto after, CollectionLock::Open(file_system, layout));
    bool known = false;  // once a generation's lists are there, those of every younger one are
    for (const uint64_t generation : generations) {
      const bool is_known = after->DeadSince(generation).has_value();
      EXPECT_TRUE(is_known || !known) << step;
      known = is_known;
    }
    EXPECT_TRUE(known);
    if (finished) break;
  }
}

TEST(CollectionLockFaultTest, AStorageThatHasTakenTheLockEndsTheDeclaration) {
  SimulatedFileSystem file_system;
  const StoreLayout layout("/store");
  ASSERT_OK(InitialiseStore(file_system, "/store", "lz4"));
  ASSERT_OK_AND_ASSIGN(const auto lock, CollectionLock::Open(file_system, layout));
  {
    ASSERT_OK_AND_ASSIGN(auto hold, lock->HoldExclusive(kNow));
    file_system.Plan({1, FaultMode::kErrors, ErrorCode::kLostOwnership, Call::kLock, "gc/lock"});
    EXPECT_ERROR(kLostOwnership, hold.Advance(ListOf(1)));
    file_system.ClearFaults();
  }
  EXPECT_EQ(lock->Generation().value(), 0u);
  EXPECT_EQ(file_system.open_handles(), 0u);
}

}  // namespace
}  // namespace quoin

// What the simulated filesystem keeps and forgets in a crash, and how it fails on request: the
// ground that the crash tests of the store stand on.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "blockstore/base/block.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/simulated_file_system.h"

namespace quoin {
namespace {

constexpr OpenOptions kCreateNew{Access::kReadWrite, Creation::kExclusive, 0600};
constexpr OpenOptions kForWriting{Access::kReadWrite, Creation::kNever, 0600};
constexpr uint64_t kSeeds = 300;

std::unique_ptr<File> Open(FileSystem& fs, const std::string& path, OpenOptions options) {
  Result<std::unique_ptr<File>> file = fs.Open(path, options);
  EXPECT_OK(file);
  if (!file) std::abort();
  return std::move(*file);
}

// A file whose bytes and name are durable.
std::unique_ptr<File> MakeDurable(FileSystem& fs, const std::string& path,
                                  std::string_view content) {
  auto file = Open(fs, path, kCreateNew);
  EXPECT_OK(file->Write(0, AsBytes(content)));
  EXPECT_OK(file->Sync(SyncKind::kFull));
  const size_t slash = path.rfind('/');
  EXPECT_OK(fs.SyncDirectory(slash == 0 ? "/" : path.substr(0, slash)));
  return file;
}

std::string ContentOf(FileSystem& fs, const std::string& path) {
  const auto file = fs.Open(path, {});
  if (!file) return std::string(ToWord(file.error().code));
  return ReadText(**file, 0, 1 << 17).value_or("unreadable");
}

uint64_t LinkCountOf(FileSystem& fs, const std::string& path) {
  const auto facts = fs.Facts(path);
  return facts ? facts->link_count : 0;
}

TEST(SimulatedCrashTest, UnsyncedBytesAreLostAndSyncedOnesStay) {
  SimulatedFileSystem fs;
  const auto file = MakeDurable(fs, "/a", "durable");
  ASSERT_OK(file->Write(0, AsBytes("VOLATILE AND LONGER")));
  EXPECT_EQ(ContentOf(fs, "/a"), "VOLATILE AND LONGER");
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "durable");
}

TEST(SimulatedCrashTest, AWriteAfterASyncIsVolatileAgain) {
  SimulatedFileSystem fs;
  const auto file = MakeDurable(fs, "/a", "one");
  ASSERT_OK(file->Write(0, AsBytes("two")));
  ASSERT_OK(file->Sync(SyncKind::kData));
  ASSERT_OK(file->Write(0, AsBytes("three")));
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "two");
}

TEST(SimulatedCrashTest, SizesAndHolesAreVolatileToo) {
  SimulatedFileSystem fs;
  const auto cut = MakeDurable(fs, "/cut", PatternOf(1, 10'000));
  const auto grown = MakeDurable(fs, "/grown", "x");
  const auto holed = MakeDurable(fs, "/holed", PatternOf(2, 10'000));
  ASSERT_OK(cut->Truncate(10));
  ASSERT_OK(grown->Truncate(1'000'000));
  ASSERT_OK(holed->PunchHole(0, 8192));
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/cut"), PatternOf(1, 10'000));
  EXPECT_EQ(ContentOf(fs, "/grown"), "x");
  EXPECT_EQ(ContentOf(fs, "/holed"), PatternOf(2, 10'000));
}

TEST(SimulatedCrashTest, SyncedSizesAndHolesStay) {
  SimulatedFileSystem fs;
  const auto file = MakeDurable(fs, "/a", PatternOf(1, 10'000));
  ASSERT_OK(file->PunchHole(0, 4096));
  ASSERT_OK(file->Truncate(5'000));
  ASSERT_OK(file->Sync(SyncKind::kData));
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), std::string(4096, '\0') + PatternOf(1, 5'000).substr(4096));
  EXPECT_EQ(fs.used_bytes(), 4096u);
}

TEST(SimulatedCrashTest, ASyncedFileWithoutASyncedNameIsGone) {
  SimulatedFileSystem fs;
  const auto file = Open(fs, "/a", kCreateNew);
  ASSERT_OK(file->Write(0, AsBytes("x")));
  ASSERT_OK(file->Sync(SyncKind::kFull));
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "not_found");
  EXPECT_EQ(fs.used_bytes(), 0u);
}

TEST(SimulatedCrashTest, ASyncedNameWithoutSyncedBytesIsAnEmptyFile) {
  SimulatedFileSystem fs;
  const auto file = Open(fs, "/a", kCreateNew);
  ASSERT_OK(file->Write(0, AsBytes("x")));
  ASSERT_OK(fs.SyncDirectory("/"));
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "");
}

TEST(SimulatedCrashTest, AnUnsyncedFolderIsLostWithAllInIt) {
  SimulatedFileSystem fs;
  ASSERT_OK(fs.MakeDirectory("/d"));
  MakeDurable(fs, "/d/a", "x");
  fs.Crash();
  EXPECT_ERROR(kNotFound, fs.Facts("/d"));
}

TEST(SimulatedCrashTest, AnUnsyncedRemovalComesBackWithItsBytes) {
  SimulatedFileSystem fs;
  MakeDurable(fs, "/a", "back again");
  ASSERT_OK(fs.Remove("/a"));
  EXPECT_EQ(fs.used_bytes(), 0u);
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "back again");
  EXPECT_EQ(fs.used_bytes(), 4096u);
  ASSERT_OK(fs.Remove("/a"));
  ASSERT_OK(fs.SyncDirectory("/"));
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "not_found");
}

TEST(SimulatedCrashTest, LinkCountsAreThoseOfTheNamesThatSurvive) {
  SimulatedFileSystem fs;
  MakeDurable(fs, "/a", "x");
  ASSERT_OK(fs.Link("/a", "/b"));
  EXPECT_EQ(LinkCountOf(fs, "/a"), 2u);
  fs.Crash();
  EXPECT_EQ(LinkCountOf(fs, "/a"), 1u);
  EXPECT_ERROR(kNotFound, fs.Facts("/b"));
}

TEST(SimulatedCrashTest, ATearingCrashLeavesEachSectorOldOrNew) {
  const std::string old_bytes = PatternOf(1, 16'384);
  const std::string new_bytes = PatternOf(2, 16'384);
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimulatedFileSystem fs;
    const auto file = MakeDurable(fs, "/a", old_bytes);
    ASSERT_OK(file->Write(0, AsBytes(new_bytes)));
    fs.Crash(CrashMode::kRandom, seed);
    const std::string bytes = ContentOf(fs, "/a");
    ASSERT_EQ(bytes.size(), old_bytes.size());
    for (size_t at = 0; at < bytes.size(); at += kSectorBytes) {
      const std::string sector = bytes.substr(at, kSectorBytes);
      ASSERT_TRUE(sector == old_bytes.substr(at, kSectorBytes) ||
                  sector == new_bytes.substr(at, kSectorBytes))
          << "seed " << seed << ", sector at " << at;
    }
    outcomes.insert(bytes);
  }
  EXPECT_TRUE(outcomes.contains(old_bytes));
  EXPECT_TRUE(outcomes.contains(new_bytes));
  EXPECT_GT(outcomes.size(), kSeeds / 4);
}

TEST(SimulatedCrashTest, ATearingCrashMayLeaveAWriteThatAnotherOneReplaced) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimulatedFileSystem fs;
    const auto file = MakeDurable(fs, "/a", "0");
    ASSERT_OK(file->Write(0, AsBytes("1")));
    ASSERT_OK(file->Write(0, AsBytes("2")));
    fs.Crash(CrashMode::kRandom, seed);
    outcomes.insert(ContentOf(fs, "/a"));
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"0", "1", "2"}));
}

TEST(SimulatedCrashTest, ATearingCrashNeverTouchesWhatWasSynced) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimulatedFileSystem fs;
    const auto file = MakeDurable(fs, "/a", PatternOf(1, 8192));
    ASSERT_OK(file->Write(8192, AsBytes(PatternOf(2, 10'000))));
    fs.Crash(CrashMode::kRandom, seed);
    const std::string bytes = ContentOf(fs, "/a");
    ASSERT_GE(bytes.size(), 8192u);
    ASSERT_EQ(bytes.substr(0, 8192), PatternOf(1, 8192));
  }
}

TEST(SimulatedCrashTest, ATruncationThatTearsNeverShowsBytesBeyondTheEndLater) {
  std::set<size_t> sizes;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimulatedFileSystem fs;
    const auto file = MakeDurable(fs, "/a", PatternOf(1, 10'000));
    ASSERT_OK(file->Truncate(1'000));
    fs.Crash(CrashMode::kRandom, seed);
    const std::string kept = ContentOf(fs, "/a");
    sizes.insert(kept.size());
    ASSERT_OK(Open(fs, "/a", kForWriting)->Truncate(20'000));
    ASSERT_EQ(ContentOf(fs, "/a"), kept + std::string(20'000 - kept.size(), '\0'));
  }
  EXPECT_TRUE(sizes.contains(1'000));
  EXPECT_TRUE(sizes.contains(10'000));
}

TEST(SimulatedCrashTest, OfAFoldersUnsyncedChangesTheFirstOnesSurvive) {
  std::set<size_t> counts;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimulatedFileSystem fs;
    for (const char* path : {"/1", "/2", "/3"}) Open(fs, path, kCreateNew);
    fs.Crash(CrashMode::kRandom, seed);
    const auto entries = fs.List("/");
    ASSERT_OK(entries);
    for (size_t i = 0; i < entries->size(); ++i) {
      EXPECT_EQ((*entries)[i].name, std::to_string(i + 1));
    }
    counts.insert(entries->size());
  }
  EXPECT_EQ(counts, (std::set<size_t>{0, 1, 2, 3}));
}

TEST(SimulatedCrashTest, ARenameWithinAFolderIsWholeOrAbsent) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SimulatedFileSystem fs;
    MakeDurable(fs, "/to", "old");
    MakeDurable(fs, "/from", "new");
    ASSERT_OK(fs.Rename("/from", "/to"));
    fs.Crash(CrashMode::kRandom, seed);
    outcomes.insert(ContentOf(fs, "/to") + "," + ContentOf(fs, "/from"));
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"old,new", "new,not_found"}));
}

class RenameBetweenFoldersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(fs_.MakeDirectory("/from"));
    ASSERT_OK(fs_.MakeDirectory("/to"));
    ASSERT_OK(fs_.SyncDirectory("/"));
    MakeDurable(fs_, "/from/a", "x");
  }
  std::string Outcome() { return ContentOf(fs_, "/from/a") + "," + ContentOf(fs_, "/to/a"); }

  SimulatedFileSystem fs_;
};

TEST_F(RenameBetweenFoldersTest, UnsyncedItIsWholeOrAbsent) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    ASSERT_OK(fs_.Rename("/from/a", "/to/a"));
    fs_.Crash(CrashMode::kRandom, seed);
    outcomes.insert(Outcome());
    if (ContentOf(fs_, "/to/a") == "x") {
      ASSERT_OK(fs_.Rename("/to/a", "/from/a"));
      ASSERT_OK(fs_.SyncDirectory("/from"));
      ASSERT_OK(fs_.SyncDirectory("/to"));
    }
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"x,not_found", "not_found,x"}));
}

TEST_F(RenameBetweenFoldersTest, SyncingTheOldFolderKeepsTheNewName) {
  ASSERT_OK(fs_.Rename("/from/a", "/to/a"));
  ASSERT_OK(fs_.SyncDirectory("/from"));
  fs_.Crash();
  EXPECT_EQ(Outcome(), "not_found,x");
}

TEST_F(RenameBetweenFoldersTest, SyncingOnlyTheNewFolderMayLeaveBothNames) {
  ASSERT_OK(fs_.Rename("/from/a", "/to/a"));
  ASSERT_OK(fs_.SyncDirectory("/to"));
  fs_.Crash();
  EXPECT_EQ(Outcome(), "x,x");
  EXPECT_EQ(LinkCountOf(fs_, "/to/a"), 2u);
}

TEST_F(RenameBetweenFoldersTest, AFolderNeverHasTwoNames) {
  ASSERT_OK(fs_.Rename("/from", "/to/sub"));
  ASSERT_OK(fs_.SyncDirectory("/to"));
  fs_.Crash();
  EXPECT_ERROR(kNotFound, fs_.Facts("/from"));
  EXPECT_EQ(ContentOf(fs_, "/to/sub/a"), "x");
}

TEST(SimulatedCrashTest, EqualSeedsGiveEqualOutcomes) {
  const auto run = [](uint64_t seed) {
    SimulatedFileSystem fs;
    const auto file = MakeDurable(fs, "/a", PatternOf(1, 50'000));
    EXPECT_OK(file->Write(300, AsBytes(PatternOf(2, 40'000))));
    Open(fs, "/b", kCreateNew);
    EXPECT_OK(fs.Rename("/a", "/c"));
    fs.Crash(CrashMode::kRandom, seed);
    return ContentOf(fs, "/a") + "|" + ContentOf(fs, "/b") + "|" + ContentOf(fs, "/c");
  };
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(run(seed), run(seed));
    outcomes.insert(run(seed));
  }
  EXPECT_GT(outcomes.size(), 5u);
}

TEST(SimulatedCrashTest, HandlesAndLocksEndWithTheSystem) {
  SimulatedFileSystem fs;
  auto old_handle = MakeDurable(fs, "/a", "x");
  ASSERT_TRUE(old_handle->TryLock().value_or(false));
  fs.Crash();
  EXPECT_EQ(fs.open_handles(), 0u);
  EXPECT_ERROR(kIo, ReadText(*old_handle, 0, 1));
  EXPECT_ERROR(kIo, old_handle->Write(0, AsBytes("zombie")));
  EXPECT_ERROR(kIo, old_handle->Sync(SyncKind::kData));
  EXPECT_ERROR(kIo, old_handle->TryLock());
  EXPECT_ERROR(kIo, old_handle->Facts());
  const auto new_handle = Open(fs, "/a", kForWriting);
  EXPECT_TRUE(new_handle->TryLock().value_or(false));
  old_handle.reset();  // takes neither the lock nor the count with it
  EXPECT_EQ(fs.open_handles(), 1u);
  EXPECT_TRUE(Open(fs, "/a", kForWriting)->IsLockedElsewhere().value_or(false));
  EXPECT_EQ(ContentOf(fs, "/a"), "x");
}

TEST(SimulatedCrashTest, AKilledProcessLosesHandlesAndLocksOnly) {
  SimulatedFileSystem fs;
  const auto file = Open(fs, "/a", kCreateNew);
  ASSERT_OK(file->Write(0, AsBytes("unsynced")));
  ASSERT_TRUE(file->TryLock().value_or(false));
  const auto removed = Open(fs, "/b", kCreateNew);
  ASSERT_OK(removed->Write(0, AsBytes("b")));
  ASSERT_OK(fs.Remove("/b"));
  EXPECT_EQ(fs.used_bytes(), 2 * 4096u);
  fs.Crash(CrashMode::kProcessOnly);
  EXPECT_ERROR(kIo, file->Write(0, AsBytes("x")));
  EXPECT_EQ(ContentOf(fs, "/a"), "unsynced");
  EXPECT_TRUE(Open(fs, "/a", kForWriting)->TryLock().value_or(false));
  EXPECT_EQ(fs.used_bytes(), 4096u);
  fs.Crash();  // it was volatile all the time
  EXPECT_EQ(ContentOf(fs, "/a"), "not_found");
}

TEST(SimulatedFaultsTest, TheMachineStopsAtTheChosenStep) {
  // Creating, writing, syncing and syncing the folder are four steps; opening and reading none.
  for (uint64_t step = 1; step <= 5; ++step) {
    SimulatedFileSystem fs;
    fs.FailAfter(step, FaultMode::kCrash);
    const auto act = [&fs]() -> Status {
      QUOIN_ASSIGN(const auto file, fs.Open("/a", kCreateNew));
      QUOIN_TRY(file->Write(0, AsBytes("x")));
      QUOIN_TRY(ReadText(*file, 0, 1));
      QUOIN_TRY(file->Sync(SyncKind::kFull));
      return fs.SyncDirectory("/");
    };
    if (step == 5) {
      EXPECT_OK(act());
      EXPECT_EQ(fs.steps(), 4u);
      EXPECT_FALSE(fs.stopped());
      continue;
    }
    EXPECT_ERROR(kIo, act());
    EXPECT_TRUE(fs.stopped());
    EXPECT_EQ(fs.steps(), step);
    EXPECT_ERROR(kIo, fs.Facts("/"));
    EXPECT_ERROR(kIo, fs.List("/"));
    EXPECT_ERROR(kIo, fs.Open("/b", kCreateNew));
    fs.Crash();
    EXPECT_FALSE(fs.stopped());
    EXPECT_EQ(ContentOf(fs, "/a"), "not_found");
    EXPECT_OK(act());
  }
}

TEST(SimulatedFaultsTest, AnErrorStrikesOnceOrUntilItIsCleared) {
  SimulatedFileSystem fs;
  fs.FailAfter(2, FaultMode::kErrorOnce, ErrorCode::kNoSpace);
  EXPECT_OK(fs.MakeDirectory("/1"));
  EXPECT_ERROR(kNoSpace, fs.MakeDirectory("/2"));
  EXPECT_OK(fs.MakeDirectory("/2"));
  fs.FailAfter(1, FaultMode::kErrors, ErrorCode::kIo);
  EXPECT_ERROR(kIo, fs.MakeDirectory("/3"));
  EXPECT_ERROR(kIo, fs.SyncDirectory("/"));
  EXPECT_OK(fs.List("/"));
  fs.ClearFaults();
  EXPECT_OK(fs.MakeDirectory("/3"));
}

TEST(SimulatedFaultsTest, AFaultCanBeMeantForSomeCallsOnSomePaths) {
  SimulatedFileSystem fs;
  const auto a = MakeDurable(fs, "/a", "x");
  const auto b = MakeDurable(fs, "/b", "x");
  fs.Plan({.at = 1,
           .mode = FaultMode::kErrors,
           .code = ErrorCode::kIo,
           .only_call = Call::kSync,
           .only_path_part = "b"});
  EXPECT_OK(a->Sync(SyncKind::kData));
  EXPECT_OK(b->Write(0, AsBytes("y")));
  EXPECT_ERROR(kIo, b->Sync(SyncKind::kData));
  EXPECT_EQ(fs.count(Call::kSync), 4u);
}

TEST(SimulatedFaultsTest, AFailedWriteHasWrittenAPart) {
  SimulatedFileSystem fs;
  const std::string old(2048, '.');
  const auto file = MakeDurable(fs, "/a", old);
  fs.FailAfter(1, FaultMode::kErrorOnce);
  EXPECT_ERROR(kIo, file->Write(0, AsBytes(std::string(2048, 'x'))));
  EXPECT_EQ(ContentOf(fs, "/a"), std::string(1024, 'x') + std::string(1024, '.'));
}

TEST(SimulatedFaultsTest, AFailedWriteLeavesNoSectorHalfWritten) {
  SimulatedFileSystem fs;
  const auto file = MakeDurable(fs, "/a", std::string(2048, '.'));
  for (const size_t size : {8, 512, 900}) {
    fs.FailAfter(1, FaultMode::kErrorOnce);
    EXPECT_ERROR(kIo, file->Write(512, AsBytes(std::string(size, 'x'))));
    EXPECT_EQ(ContentOf(fs, "/a"), std::string(2048, '.')) << size;
  }
}

TEST(SimulatedFaultsTest, AFailedSyncDropsTheDataForGood) {
  SimulatedFileSystem fs;
  const auto file = MakeDurable(fs, "/a", "old");
  ASSERT_OK(file->Write(0, AsBytes("new")));
  fs.FailAfter(1, FaultMode::kErrorOnce);
  EXPECT_ERROR(kIo, file->Sync(SyncKind::kData));
  EXPECT_EQ(ContentOf(fs, "/a"), "new");
  ASSERT_OK(file->Sync(SyncKind::kData));  // succeeds, and saves nothing
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "old");
}

TEST(SimulatedFaultsTest, DataWrittenAgainAfterAFailedSyncCanBeSaved) {
  SimulatedFileSystem fs;
  const auto file = MakeDurable(fs, "/a", "old");
  ASSERT_OK(file->Write(0, AsBytes("new")));
  fs.FailAfter(1, FaultMode::kErrorOnce);
  EXPECT_ERROR(kIo, file->Sync(SyncKind::kData));
  ASSERT_OK(file->Write(0, AsBytes("new")));
  ASSERT_OK(file->Sync(SyncKind::kData));
  fs.Crash();
  EXPECT_EQ(ContentOf(fs, "/a"), "new");
}

TEST(SimulatedFaultsTest, AFullStoreRefusesNewPagesOnly) {
  SimulatedFileSystem fs;
  fs.SetCapacity(3 * 4096);
  auto file = Open(fs, "/a", kCreateNew);
  ASSERT_OK(file->Write(0, AsBytes(PatternOf(1, 2 * 4096))));
  EXPECT_ERROR(kNoSpace, file->Write(8192, AsBytes(PatternOf(2, 8192))));
  EXPECT_EQ(ContentOf(fs, "/a"), PatternOf(1, 8192) + PatternOf(2, 8192).substr(0, 4096));
  ASSERT_OK(file->Write(0, AsBytes(PatternOf(3, 4096))));
  ASSERT_OK_AND_ASSIGN(const SpaceFacts space, fs.Space("/"));
  EXPECT_EQ(space.free_bytes, 0u);
  ASSERT_OK(file->PunchHole(0, 4096));
  ASSERT_OK(file->Write(40'960, AsBytes("room again")));
  ASSERT_OK(fs.Remove("/a"));
  EXPECT_EQ(fs.used_bytes(), 3 * 4096u);  // still open
  file.reset();
  EXPECT_EQ(fs.used_bytes(), 0u);
}

TEST(SimulatedFaultsTest, AFileEndsAt16TiB) {
  SimulatedFileSystem fs;
  const auto file = Open(fs, "/a", kCreateNew);
  constexpr uint64_t kEnd = uint64_t{16} << 40;
  EXPECT_OK(file->Write(kEnd - 1, AsBytes("x")));
  EXPECT_ERROR(kTooLarge, file->Write(kEnd, AsBytes("x")));
  EXPECT_ERROR(kTooLarge, file->Truncate(kEnd + 1));
}

TEST(SimulatedFaultsTest, HolesCanBeUnsupported) {
  SimulatedFileSystem fs;
  fs.SetPunchingSupported(false);
  const auto file = MakeDurable(fs, "/a", "kept");
  EXPECT_ERROR(kUnsupported, file->PunchHole(0, 4));
  EXPECT_EQ(ContentOf(fs, "/a"), "kept");
}

TEST(SimulatedFaultsTest, TheObserverSeesEveryCallBeforeItHappens) {
  SimulatedFileSystem fs;
  std::vector<Call> calls;
  fs.SetObserver([&calls](Call call, const std::string&) { calls.push_back(call); });
  Open(fs, "/a", kCreateNew);
  EXPECT_OK(fs.Remove("/a"));
  EXPECT_EQ(calls, (std::vector<Call>{Call::kOpen, Call::kRemove}));
}

}  // namespace
}  // namespace quoin

// What every implementation of the seam promises; run on the real filesystem and on the simulated
// one.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "blockstore/base/posix_file_system.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/simulated_file_system.h"
#include "tests/support/temporary_directory.h"

namespace quoin {
namespace {

constexpr OpenOptions kCreateNew{Access::kReadWrite, Creation::kExclusive, 0600};
constexpr OpenOptions kForWriting{Access::kReadWrite, Creation::kNever, 0600};
constexpr OpenOptions kForReading{};

struct PosixSubject {
  PosixFileSystem file_system;
  TemporaryDirectory directory;
  std::string root = directory.path();
};

struct SimulatedSubject {
  SimulatedSubject() { EXPECT_OK(file_system.MakeDirectory(root)); }
  SimulatedFileSystem file_system;
  std::string root = "/root";
};

template <typename Subject>
class FileSystemContractTest : public ::testing::Test {
 protected:
  FileSystem& fs() { return subject_.file_system; }
  std::string Path(const std::string& name) const { return subject_.root + "/" + name; }

  std::unique_ptr<File> Make(const std::string& name, std::string_view content = "") {
    Result<std::unique_ptr<File>> file = fs().Open(Path(name), kCreateNew);
    EXPECT_OK(file);
    if (!file) std::abort();
    EXPECT_OK((*file)->Write(0, AsBytes(content)));
    return std::move(*file);
  }

  std::string ContentOf(const std::string& name) {
    const Result<std::unique_ptr<File>> file = fs().Open(Path(name), kForReading);
    if (!file) return std::string(ToWord(file.error().code));
    const Result<std::string> text = ReadText(**file, 0, 1 << 20);
    return text ? *text : text.error().what;
  }

  std::vector<std::string> NamesIn(const std::string& folder) {
    const auto entries = fs().List(folder);
    EXPECT_OK(entries);
    std::vector<std::string> names;
    if (entries) {
      for (const DirectoryEntry& entry : *entries) names.push_back(entry.name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  Subject subject_;
};

struct SubjectNames {
  template <typename Subject>
  static std::string GetName(int) {
    return std::is_same_v<Subject, PosixSubject> ? "Posix" : "Simulated";
  }
};
using Subjects = ::testing::Types<PosixSubject, SimulatedSubject>;
TYPED_TEST_SUITE(FileSystemContractTest, Subjects, SubjectNames);

using Names = std::vector<std::string>;

TYPED_TEST(FileSystemContractTest, OpenOfNothingIsNotFound) {
  EXPECT_ERROR(kNotFound, this->fs().Open(this->Path("none"), kForReading));
  EXPECT_ERROR(kNotFound, this->fs().Open(this->Path("none"), kForWriting));
  EXPECT_ERROR(kNotFound, this->fs().Open(this->Path("none/deeper"), kCreateNew));
}

TYPED_TEST(FileSystemContractTest, ExclusiveCreationIsRefusedWhereTheNameIsTaken) {
  const auto file = this->Make("a", "first");
  EXPECT_ERROR(kExists, this->fs().Open(this->Path("a"), kCreateNew));
  EXPECT_EQ(this->ContentOf("a"), "first");
}

TYPED_TEST(FileSystemContractTest, CreationIfMissingOpensWhatIsThere) {
  const OpenOptions options{Access::kReadWrite, Creation::kIfMissing, 0600};
  ASSERT_OK_AND_ASSIGN(auto made, this->fs().Open(this->Path("a"), options));
  ASSERT_OK(made->Write(0, AsBytes("kept")));
  ASSERT_OK_AND_ASSIGN(auto opened, this->fs().Open(this->Path("a"), options));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadText(*opened, 0, 10));
  EXPECT_EQ(text, "kept");
}

TYPED_TEST(FileSystemContractTest, AFolderCannotBeOpenedForWriting) {
  ASSERT_OK(this->fs().MakeDirectory(this->Path("d"), 0700));
  EXPECT_ERROR(kIsDirectory, this->fs().Open(this->Path("d"), kForWriting));
}

TYPED_TEST(FileSystemContractTest, AFileOnTheWayIsNotADirectory) {
  this->Make("a");
  EXPECT_ERROR(kNotDirectory, this->fs().Open(this->Path("a/b"), kForReading));
  EXPECT_ERROR(kNotDirectory, this->fs().Facts(this->Path("a/b")));
  EXPECT_ERROR(kNotDirectory, this->fs().MakeDirectory(this->Path("a/b"), 0700));
  EXPECT_ERROR(kNotDirectory, this->fs().List(this->Path("a")));
}

TYPED_TEST(FileSystemContractTest, NamesHaveAtMost255Bytes) {
  this->Make(std::string(255, 'n'));
  EXPECT_ERROR(kNameTooLong, this->fs().Open(this->Path(std::string(256, 'n')), kCreateNew));
  EXPECT_ERROR(kNameTooLong, this->fs().MakeDirectory(this->Path(std::string(256, 'n')), 0700));
}

TYPED_TEST(FileSystemContractTest, WhatIsWrittenIsReadAndWritesExtendTheFile) {
  const auto file = this->Make("a", "hello");
  ASSERT_OK(file->Write(10'000, AsBytes("world")));
  ASSERT_OK_AND_ASSIGN(const FileFacts facts, file->Facts());
  EXPECT_EQ(facts.size_bytes, 10'005u);
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadText(*file, 0, 20'000));
  EXPECT_EQ(text, "hello" + std::string(9'995, '\0') + "world");
}

TYPED_TEST(FileSystemContractTest, ReadsAreShortOnlyAtTheEnd) {
  const auto file = this->Make("a", "0123456789");
  ASSERT_OK_AND_ASSIGN(const std::string tail, ReadText(*file, 7, 100));
  EXPECT_EQ(tail, "789");
  ASSERT_OK_AND_ASSIGN(const std::string at_end, ReadText(*file, 10, 100));
  EXPECT_EQ(at_end, "");
  ASSERT_OK_AND_ASSIGN(const std::string beyond, ReadText(*file, 1'000, 100));
  EXPECT_EQ(beyond, "");
  ASSERT_OK_AND_ASSIGN(const std::string nothing, ReadText(*file, 3, 0));
  EXPECT_EQ(nothing, "");
}

TYPED_TEST(FileSystemContractTest, WritingNothingChangesNothing) {
  const auto file = this->Make("a", "x");
  ASSERT_OK(file->Write(5'000, AsBytes("")));
  EXPECT_EQ(this->ContentOf("a"), "x");
}

TYPED_TEST(FileSystemContractTest, AReadOnlyHandleChangesNothing) {
  this->Make("a", "kept");
  ASSERT_OK_AND_ASSIGN(const auto file, this->fs().Open(this->Path("a"), kForReading));
  EXPECT_FALSE(file->Write(0, AsBytes("lost")));
  EXPECT_FALSE(file->Truncate(0));
  EXPECT_FALSE(file->PunchHole(0, 4));
  EXPECT_FALSE(file->TryLock());
  EXPECT_EQ(this->ContentOf("a"), "kept");
}

TYPED_TEST(FileSystemContractTest, AFileIsSparse) {
  const auto file = this->Make("a");
  ASSERT_OK(file->Truncate(uint64_t{8} << 40));
  ASSERT_OK(file->Write((uint64_t{8} << 40) - 4096, AsBytes(PatternOf(1, 4096))));
  ASSERT_OK_AND_ASSIGN(const FileFacts facts, file->Facts());
  EXPECT_EQ(facts.size_bytes, uint64_t{8} << 40);
  EXPECT_GE(facts.allocated_bytes, 4096u);
  EXPECT_LE(facts.allocated_bytes, 1u << 20);
  ASSERT_OK_AND_ASSIGN(const std::string end, ReadText(*file, (uint64_t{8} << 40) - 4096, 8192));
  EXPECT_EQ(end, PatternOf(1, 4096));
  ASSERT_OK_AND_ASSIGN(const std::string middle, ReadText(*file, uint64_t{4} << 40, 100));
  EXPECT_EQ(middle, std::string(100, '\0'));
}

TYPED_TEST(FileSystemContractTest, WhatWasCutOffReadsZeroWhenTheFileGrowsAgain) {
  const auto file = this->Make("a", PatternOf(2, 20'000));
  ASSERT_OK(file->Truncate(5'001));
  ASSERT_OK(file->Truncate(20'000));
  EXPECT_EQ(this->ContentOf("a"), PatternOf(2, 20'000).substr(0, 5'001) + std::string(14'999, 0));
}

TYPED_TEST(FileSystemContractTest, AHoleReadsZeroAndGivesItsSpaceBack) {
  const auto file = this->Make("a", PatternOf(3, 40'960));
  ASSERT_OK(file->Sync(SyncKind::kFull));
  ASSERT_OK_AND_ASSIGN(const FileFacts before, file->Facts());
  const Status punched = file->PunchHole(4'000, 20'000);
  if (FailedWith(ErrorCode::kUnsupported, punched)) {
    GTEST_SKIP() << "the filesystem of the temporary folder cannot punch holes";
  }
  ASSERT_OK(punched);
  std::string expected = PatternOf(3, 40'960);
  expected.replace(4'000, 20'000, 20'000, '\0');
  EXPECT_EQ(this->ContentOf("a"), expected);
  ASSERT_OK_AND_ASSIGN(const FileFacts after, file->Facts());
  EXPECT_EQ(after.size_bytes, 40'960u);
  EXPECT_LE(after.allocated_bytes, before.allocated_bytes - 4 * 4096);
}

TYPED_TEST(FileSystemContractTest, AHoleBeyondTheEndDoesNotMoveIt) {
  const auto file = this->Make("a", "0123456789");
  const Status punched = file->PunchHole(5, 1 << 20);
  if (FailedWith(ErrorCode::kUnsupported, punched)) {
    GTEST_SKIP() << "the filesystem of the temporary folder cannot punch holes";
  }
  ASSERT_OK(punched);
  ASSERT_OK(file->PunchHole(1 << 20, 4096));
  EXPECT_EQ(this->ContentOf("a"), "01234" + std::string(5, '\0'));
  EXPECT_ERROR(kInvalid, file->PunchHole(0, 0));
}

TYPED_TEST(FileSystemContractTest, SyncSucceedsOnAnyHandle) {
  const auto file = this->Make("a", "x");
  EXPECT_OK(file->Sync(SyncKind::kData));
  EXPECT_OK(file->Sync(SyncKind::kFull));
  EXPECT_OK(this->fs().SyncDirectory(this->Path(".")));
  EXPECT_ERROR(kNotFound, this->fs().SyncDirectory(this->Path("none")));
  EXPECT_ERROR(kNotDirectory, this->fs().SyncDirectory(this->Path("a")));
}

TYPED_TEST(FileSystemContractTest, FactsOfFilesAndFolders) {
  const auto file = this->Make("a", "12345");
  ASSERT_OK(this->fs().MakeDirectory(this->Path("d"), 0750));
  ASSERT_OK_AND_ASSIGN(const FileFacts a, this->fs().Facts(this->Path("a")));
  EXPECT_EQ(a.kind, EntryKind::kFile);
  EXPECT_EQ(a.size_bytes, 5u);
  EXPECT_EQ(a.link_count, 1u);
  EXPECT_EQ(a.mode, 0600u);
  ASSERT_OK_AND_ASSIGN(const FileFacts by_handle, file->Facts());
  EXPECT_EQ(by_handle.identity, a.identity);
  EXPECT_EQ(by_handle.mtime_ns, a.mtime_ns);
  ASSERT_OK_AND_ASSIGN(const FileFacts d, this->fs().Facts(this->Path("d")));
  EXPECT_EQ(d.kind, EntryKind::kDirectory);
  EXPECT_FALSE(d.identity == a.identity);
  EXPECT_ERROR(kNotFound, this->fs().Facts(this->Path("none")));
}

TYPED_TEST(FileSystemContractTest, PathExistsTellsMissingFromFailing) {
  this->Make("a");
  ASSERT_OK_AND_ASSIGN(const bool there, PathExists(this->fs(), this->Path("a")));
  EXPECT_TRUE(there);
  ASSERT_OK_AND_ASSIGN(const bool missing, PathExists(this->fs(), this->Path("b")));
  EXPECT_FALSE(missing);
  EXPECT_ERROR(kNotDirectory, PathExists(this->fs(), this->Path("a/b")));
}

TYPED_TEST(FileSystemContractTest, WritingMovesTheModificationTimeForward) {
  const auto file = this->Make("a", "x");
  ASSERT_OK_AND_ASSIGN(const FileFacts before, file->Facts());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // clocks of filesystems tick slowly
  ASSERT_OK(file->Write(0, AsBytes("y")));
  ASSERT_OK_AND_ASSIGN(const FileFacts after, file->Facts());
  EXPECT_GT(after.mtime_ns, before.mtime_ns);
}

TYPED_TEST(FileSystemContractTest, ListNamesEveryEntryOnce) {
  EXPECT_EQ(this->NamesIn(this->Path(".")), Names{});
  this->Make("b");
  this->Make(".hidden");
  ASSERT_OK(this->fs().MakeDirectory(this->Path("c"), 0700));
  this->Make("c/inner");
  EXPECT_EQ(this->NamesIn(this->Path(".")), (Names{".hidden", "b", "c"}));
  ASSERT_OK_AND_ASSIGN(const auto entries, this->fs().List(this->Path(".")));
  for (const DirectoryEntry& entry : entries) {
    EXPECT_EQ(entry.kind, entry.name == "c" ? EntryKind::kDirectory : EntryKind::kFile);
  }
  EXPECT_ERROR(kNotFound, this->fs().List(this->Path("none")));
}

TYPED_TEST(FileSystemContractTest, SpaceIsConsistent) {
  ASSERT_OK_AND_ASSIGN(const SpaceFacts space, this->fs().Space(this->Path(".")));
  EXPECT_GT(space.total_bytes, 0u);
  EXPECT_LE(space.free_bytes, space.total_bytes);
  EXPECT_LE(space.available_bytes, space.free_bytes);
  EXPECT_ERROR(kNotFound, this->fs().Space(this->Path("none")));
}

TYPED_TEST(FileSystemContractTest, LinkedNamesAreOneFile) {
  const auto file = this->Make("a", "one");
  ASSERT_OK(this->fs().Link(this->Path("a"), this->Path("b")));
  ASSERT_OK(file->Write(0, AsBytes("two")));
  EXPECT_EQ(this->ContentOf("b"), "two");
  ASSERT_OK_AND_ASSIGN(const FileFacts a, this->fs().Facts(this->Path("a")));
  ASSERT_OK_AND_ASSIGN(const FileFacts b, this->fs().Facts(this->Path("b")));
  EXPECT_EQ(a.identity, b.identity);
  EXPECT_EQ(a.link_count, 2u);
  ASSERT_OK(this->fs().Remove(this->Path("a")));
  EXPECT_EQ(this->ContentOf("b"), "two");
  ASSERT_OK_AND_ASSIGN(const FileFacts left, this->fs().Facts(this->Path("b")));
  EXPECT_EQ(left.link_count, 1u);
}

TYPED_TEST(FileSystemContractTest, LinkNeverReplaces) {
  this->Make("a", "a");
  this->Make("b", "b");
  EXPECT_ERROR(kExists, this->fs().Link(this->Path("a"), this->Path("b")));
  EXPECT_ERROR(kExists, this->fs().Link(this->Path("a"), this->Path("a")));
  EXPECT_ERROR(kNotFound, this->fs().Link(this->Path("none"), this->Path("c")));
  EXPECT_EQ(this->ContentOf("b"), "b");
}

TYPED_TEST(FileSystemContractTest, OfManyLinkersToOneNameOneSucceeds) {
  constexpr int kThreads = 8;
  for (int i = 0; i < kThreads; ++i) this->Make("from" + std::to_string(i), std::to_string(i));
  std::atomic<int> winner = -1;
  std::atomic<int> wins = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const Status linked =
          this->fs().Link(this->Path("from" + std::to_string(i)), this->Path("to"));
      if (linked) {
        winner = i;
        ++wins;
      } else {
        EXPECT_ERROR(kExists, linked);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wins, 1);
  EXPECT_EQ(this->ContentOf("to"), std::to_string(winner));
}

TYPED_TEST(FileSystemContractTest, RenameMovesAndReplaces) {
  this->Make("a", "new");
  this->Make("b", "old");
  ASSERT_OK(this->fs().MakeDirectory(this->Path("d"), 0700));
  ASSERT_OK(this->fs().Rename(this->Path("a"), this->Path("b")));
  EXPECT_EQ(this->ContentOf("b"), "new");
  ASSERT_OK(this->fs().Rename(this->Path("b"), this->Path("d/c")));
  EXPECT_EQ(this->ContentOf("d/c"), "new");
  EXPECT_EQ(this->NamesIn(this->Path(".")), Names{"d"});
  EXPECT_ERROR(kNotFound, this->fs().Rename(this->Path("none"), this->Path("d/c")));
  EXPECT_EQ(this->ContentOf("d/c"), "new");
}

TYPED_TEST(FileSystemContractTest, RenameOntoAnotherNameOfTheFileDoesNothing) {
  this->Make("a", "x");
  ASSERT_OK(this->fs().Link(this->Path("a"), this->Path("b")));
  ASSERT_OK(this->fs().Rename(this->Path("a"), this->Path("b")));
  EXPECT_EQ(this->NamesIn(this->Path(".")), (Names{"a", "b"}));
}

TYPED_TEST(FileSystemContractTest, RenameOfFoldersFollowsPosix) {
  ASSERT_OK(this->fs().MakeDirectory(this->Path("d"), 0700));
  ASSERT_OK(this->fs().MakeDirectory(this->Path("empty"), 0700));
  ASSERT_OK(this->fs().MakeDirectory(this->Path("full"), 0700));
  this->Make("full/x", "x");
  this->Make("file");
  EXPECT_ERROR(kNotDirectory, this->fs().Rename(this->Path("d"), this->Path("file")));
  EXPECT_ERROR(kIsDirectory, this->fs().Rename(this->Path("file"), this->Path("d")));
  EXPECT_ERROR(kNotEmpty, this->fs().Rename(this->Path("d"), this->Path("full")));
  EXPECT_ERROR(kInvalid, this->fs().Rename(this->Path("d"), this->Path("d/inside")));
  ASSERT_OK(this->fs().Rename(this->Path("full"), this->Path("empty")));
  EXPECT_EQ(this->ContentOf("empty/x"), "x");
  EXPECT_EQ(this->NamesIn(this->Path(".")), (Names{"d", "empty", "file"}));
}

TYPED_TEST(FileSystemContractTest, AnOpenFileOutlivesItsName) {
  const auto file = this->Make("a", "still here");
  ASSERT_OK(this->fs().Remove(this->Path("a")));
  EXPECT_ERROR(kNotFound, this->fs().Facts(this->Path("a")));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadText(*file, 0, 100));
  EXPECT_EQ(text, "still here");
  ASSERT_OK_AND_ASSIGN(const FileFacts facts, file->Facts());
  EXPECT_EQ(facts.link_count, 0u);
}

TYPED_TEST(FileSystemContractTest, AnOpenFileFollowsItsRename) {
  const auto file = this->Make("a", "1");
  ASSERT_OK(this->fs().Rename(this->Path("a"), this->Path("b")));
  ASSERT_OK(file->Write(1, AsBytes("2")));
  EXPECT_EQ(this->ContentOf("b"), "12");
}

TYPED_TEST(FileSystemContractTest, RemovalTellsFilesFromFolders) {
  this->Make("a");
  ASSERT_OK(this->fs().MakeDirectory(this->Path("d"), 0700));
  this->Make("d/x");
  EXPECT_ERROR(kExists, this->fs().MakeDirectory(this->Path("d"), 0700));
  EXPECT_ERROR(kExists, this->fs().MakeDirectory(this->Path("a"), 0700));
  EXPECT_ERROR(kIsDirectory, this->fs().Remove(this->Path("d")));
  EXPECT_ERROR(kNotDirectory, this->fs().RemoveDirectory(this->Path("a")));
  EXPECT_ERROR(kNotEmpty, this->fs().RemoveDirectory(this->Path("d")));
  ASSERT_OK(this->fs().Remove(this->Path("d/x")));
  ASSERT_OK(this->fs().RemoveDirectory(this->Path("d")));
  EXPECT_ERROR(kNotFound, this->fs().RemoveDirectory(this->Path("d")));
  ASSERT_OK(this->fs().Remove(this->Path("a")));
  EXPECT_ERROR(kNotFound, this->fs().Remove(this->Path("a")));
}

TYPED_TEST(FileSystemContractTest, ALockExcludesEveryOtherHandle) {
  const auto first = this->Make("a");
  ASSERT_OK_AND_ASSIGN(auto second, this->fs().Open(this->Path("a"), kForWriting));
  ASSERT_OK_AND_ASSIGN(const bool free, second->IsLockedElsewhere());
  EXPECT_FALSE(free);
  ASSERT_OK_AND_ASSIGN(const bool taken, first->TryLock());
  EXPECT_TRUE(taken);
  ASSERT_OK_AND_ASSIGN(const bool taken_again, first->TryLock());
  EXPECT_TRUE(taken_again);
  ASSERT_OK_AND_ASSIGN(const bool refused, second->TryLock());
  EXPECT_FALSE(refused);
  ASSERT_OK_AND_ASSIGN(const bool seen, second->IsLockedElsewhere());
  EXPECT_TRUE(seen);
  ASSERT_OK_AND_ASSIGN(const bool own, first->IsLockedElsewhere());
  EXPECT_FALSE(own);
  ASSERT_OK_AND_ASSIGN(const auto reader, this->fs().Open(this->Path("a"), kForReading));
  ASSERT_OK_AND_ASSIGN(const bool seen_by_reader, reader->IsLockedElsewhere());
  EXPECT_TRUE(seen_by_reader);
}

TYPED_TEST(FileSystemContractTest, ALockEndsWithUnlockOrWithItsHandle) {
  auto first = this->Make("a");
  ASSERT_OK_AND_ASSIGN(const auto second, this->fs().Open(this->Path("a"), kForWriting));
  ASSERT_OK_AND_ASSIGN(const bool taken, first->TryLock());
  ASSERT_TRUE(taken);
  ASSERT_OK(second->Unlock());  // not its own: nothing happens
  ASSERT_OK_AND_ASSIGN(const bool still_refused, second->TryLock());
  EXPECT_FALSE(still_refused);
  ASSERT_OK(first->Unlock());
  ASSERT_OK_AND_ASSIGN(const bool passed_on, second->TryLock());
  EXPECT_TRUE(passed_on);
  ASSERT_OK(second->Unlock());
  ASSERT_OK_AND_ASSIGN(const bool back, first->TryLock());
  EXPECT_TRUE(back);
  // Closing another handle of the file does not let go of the lock, unlike with POSIX's own locks.
  ASSERT_OK(this->fs().Open(this->Path("a"), kForWriting));
  ASSERT_OK_AND_ASSIGN(const bool still_held, second->IsLockedElsewhere());
  EXPECT_TRUE(still_held);
  first.reset();
  ASSERT_OK_AND_ASSIGN(const bool after_close, second->TryLock());
  EXPECT_TRUE(after_close);
}

TYPED_TEST(FileSystemContractTest, ALockBelongsToTheFileWhateverItsName) {
  const auto first = this->Make("a");
  ASSERT_OK(this->fs().Link(this->Path("a"), this->Path("b")));
  ASSERT_OK_AND_ASSIGN(const bool taken, first->TryLock());
  ASSERT_TRUE(taken);
  ASSERT_OK(this->fs().Remove(this->Path("a")));
  ASSERT_OK_AND_ASSIGN(const auto other, this->fs().Open(this->Path("b"), kForWriting));
  ASSERT_OK_AND_ASSIGN(const bool refused, other->TryLock());
  EXPECT_FALSE(refused);
}

TYPED_TEST(FileSystemContractTest, ASharedLockIsHadByManyAndExcludesTheExclusiveOne) {
  const auto first = this->Make("a");
  ASSERT_OK_AND_ASSIGN(auto second, this->fs().Open(this->Path("a"), kForReading));
  ASSERT_OK_AND_ASSIGN(auto third, this->fs().Open(this->Path("a"), kForWriting));
  EXPECT_EQ(first->TryLockShared().value(), true);
  EXPECT_EQ(first->TryLockShared().value(), true);
  EXPECT_EQ(first->IsLockedElsewhere().value(), false);
  EXPECT_EQ(second->TryLockShared().value(), true);
  EXPECT_EQ(first->IsLockedElsewhere().value(), true);
  EXPECT_EQ(third->IsLockedElsewhere().value(), true);
  EXPECT_EQ(third->TryLock().value(), false);
  ASSERT_OK(third->Unlock());  // it has none: nothing happens
  ASSERT_OK(first->Unlock());
  EXPECT_EQ(third->TryLock().value(), false);
  second.reset();
  EXPECT_EQ(third->TryLock().value(), true);
}

TYPED_TEST(FileSystemContractTest, AnExclusiveLockExcludesSharedOnes) {
  auto first = this->Make("a");
  ASSERT_OK_AND_ASSIGN(const auto second, this->fs().Open(this->Path("a"), kForReading));
  EXPECT_EQ(first->TryLock().value(), true);
  EXPECT_EQ(second->TryLockShared().value(), false);
  EXPECT_EQ(second->IsLockedElsewhere().value(), true);
  ASSERT_OK(first->Unlock());
  EXPECT_EQ(second->TryLockShared().value(), true);
  ASSERT_OK(second->Unlock());
  EXPECT_EQ(first->TryLock().value(), true);
  first.reset();
  EXPECT_EQ(second->TryLockShared().value(), true);
}

TYPED_TEST(FileSystemContractTest, ASharedLockBecomesExclusiveOnlyForItsLastHolderAndBackAgain) {
  const auto first = this->Make("a");
  ASSERT_OK_AND_ASSIGN(const auto second, this->fs().Open(this->Path("a"), kForWriting));
  EXPECT_EQ(first->TryLockShared().value(), true);
  EXPECT_EQ(second->TryLockShared().value(), true);
  EXPECT_EQ(first->TryLock().value(), false);
  EXPECT_EQ(second->TryLock().value(), false);
  EXPECT_EQ(second->IsLockedElsewhere().value(), true);  // the refused one still shares it
  ASSERT_OK(second->Unlock());
  EXPECT_EQ(first->TryLock().value(), true);
  EXPECT_EQ(second->TryLockShared().value(), false);
  EXPECT_EQ(first->TryLockShared().value(), true);
  EXPECT_EQ(second->TryLockShared().value(), true);
}

TYPED_TEST(FileSystemContractTest, OneHandleServesManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 100;
  const auto file = this->Make("a");
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&file, i] {
      for (int round = 0; round < kRounds; ++round) {
        const uint64_t offset = static_cast<uint64_t>(round * kThreads + i) * 700;
        EXPECT_OK(file->Write(offset, AsBytes(PatternOf(offset, 700))));
        const Result<std::string> text = ReadText(*file, offset, 700);
        ASSERT_OK(text);
        EXPECT_EQ(*text, PatternOf(offset, 700));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK_AND_ASSIGN(const FileFacts facts, file->Facts());
  EXPECT_EQ(facts.size_bytes, uint64_t{700} * kThreads * kRounds);
}

}  // namespace
}  // namespace quoin

// snapshots/: taking, reading, renaming and removing, and everything that is refused there.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

class SnapshotsTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
    ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, "monday"), 0);
  }
  std::string Snapshot(const std::string& name) const { return tree_.snapshot("a", name); }
  int Remove(const std::string& name) const {
    return ErrnoOf([&] { return unlink(Snapshot(name).c_str()); });
  }
};

TEST_F(SnapshotsTest, TouchTakesASnapshot) {
  const Outcome touched = RunProgram({"touch", Snapshot("monday")});
  ASSERT_EQ(touched.exit_status, 0) << touched.output;
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, "tuesday"), 0);
  EXPECT_BYTES(ReadFrom(Snapshot("monday"), 0, 7), std::string("monday\0", 7));
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 7), "tuesday");
  EXPECT_EQ(StatOf(Snapshot("monday")).st_size, static_cast<off_t>(kMiB));
  EXPECT_EQ(ReadWhole(Snapshot("monday")).size(), kMiB);
}

TEST_F(SnapshotsTest, ASnapshotOfAnOpenVdiHoldsWhatWasWrittenBeforeIt) {
  const OpenFile guest(tree_.vdi("a"), O_RDWR | O_DIRECT);
  AlignedBuffer block(4096);
  for (int i = 0; i < 10; ++i) {
    std::fill(block.data(), block.data() + 4096, static_cast<char>('0' + i));
    ASSERT_EQ(pwrite(guest.get(), block.data(), 4096, 8192), 4096);
    ASSERT_EQ(Touch(Snapshot(fmt::format("s{}", i))), 0);
  }
  for (int i = 0; i < 10; ++i) {
    EXPECT_BYTES(ReadFrom(Snapshot(fmt::format("s{}", i)), 8192, 4096),
              std::string(4096, static_cast<char>('0' + i)));
  }
}

TEST_F(SnapshotsTest, LatestPointsToTheNewest) {
  EXPECT_EQ(NamesIn(tree_.snapshots("a")), std::vector<std::string>{});
  EXPECT_EQ(OpenFile(Snapshot("latest"), O_RDONLY).error(), ENOENT);
  ASSERT_EQ(Touch(Snapshot("zebra")), 0);
  ASSERT_EQ(Touch(Snapshot("aardvark")), 0);
  char target[256] = {};
  ASSERT_EQ(readlink(Snapshot("latest").c_str(), target, sizeof target), 8);
  EXPECT_STREQ(target, "aardvark");
  EXPECT_EQ(StatOf(Snapshot("latest")).st_size, 8);
  EXPECT_BYTES(ReadFrom(Snapshot("latest"), 0, 6), "monday");
  ASSERT_EQ(Remove("aardvark"), 0);
  ASSERT_EQ(readlink(Snapshot("latest").c_str(), target, sizeof target), 5);
  ASSERT_EQ(Remove("zebra"), 0);
  EXPECT_EQ(OpenFile(Snapshot("latest"), O_RDONLY).error(), ENOENT);
}

// More than are simply walked through, so that the index answers, by the owner and once it let go.
TEST_F(SnapshotsTest, ALongListingFollowsEveryChange) {
  constexpr int kSnapshots = 150;
  std::vector<std::string> expected = {"latest"};
  auto guest = std::make_unique<OpenFile>(tree_.vdi("a"), O_RDWR);
  for (int i = 0; i < kSnapshots; ++i) {
    expected.push_back(fmt::format("s{}", i));
    ASSERT_EQ(Touch(Snapshot(expected.back())), 0);
  }
  const auto expect_listed = [&](const std::string& newest) {
    std::vector<std::string> sorted = expected;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(NamesIn(tree_.snapshots("a")), sorted);
    for (const std::string& name : expected) {
      if (name == "latest") continue;
      EXPECT_EQ(StatOf(Snapshot(name)).st_size, static_cast<off_t>(kMiB)) << name;
    }
    char target[256] = {};
    EXPECT_GT(readlink(Snapshot("latest").c_str(), target, sizeof target - 1), 0);
    EXPECT_EQ(std::string(target), newest);
  };
  expect_listed("s149");
  const ino_t number = StatOf(Snapshot("s149")).st_ino;
  ASSERT_EQ(rename(Snapshot("s149").c_str(), Snapshot("moved").c_str()), 0);
  ASSERT_EQ(Remove("s7"), 0);
  ASSERT_EQ(rename(Snapshot("s8").c_str(), Snapshot("s7").c_str()), 0);
  std::erase(expected, "s149");
  std::erase(expected, "s8");
  expected.push_back("moved");
  expect_listed("moved");
  EXPECT_EQ(StatOf(Snapshot("moved")).st_ino, number);
  for (const char* const gone : {"s149", "s8"}) {
    EXPECT_EQ(OpenFile(Snapshot(gone), O_RDONLY).error(), ENOENT) << gone;
  }
  guest.reset();
  expect_listed("moved");
  ASSERT_EQ(tree_.Quoin({"snap", "rm", "a@moved"}).exit_status, 0);
  std::erase(expected, "moved");
  expect_listed("s148");
}

TEST_F(SnapshotsTest, AttributesNeverChangeAndAreTheSameAfterARemount) {
  ASSERT_EQ(chmod(tree_.vdi("a").c_str(), 0660), 0);
  ASSERT_EQ(chown(tree_.vdi("a").c_str(), 64055, 108), 0);
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  const struct stat before = StatOf(Snapshot("monday"));
  EXPECT_EQ(before.st_mode, static_cast<mode_t>(S_IFREG | 0440));
  EXPECT_EQ(before.st_uid, 64055U);
  EXPECT_EQ(before.st_gid, 108U);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 4096, std::string(8192, 'x')), 0);
  ASSERT_EQ(chmod(tree_.vdi("a").c_str(), 0600), 0);
  ASSERT_EQ(rename(Snapshot("monday").c_str(), Snapshot("renamed").c_str()), 0);
  ASSERT_TRUE(tree_.Remount());
  const struct stat after = StatOf(Snapshot("renamed"));
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(after.st_blocks, before.st_blocks);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(after.st_ctim.tv_sec, before.st_ctim.tv_sec);
  EXPECT_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
}

TEST_F(SnapshotsTest, EverythingThatWouldChangeASnapshotIsRefused) {
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  const std::string path = Snapshot("monday");
  EXPECT_EQ(OpenFile(path, O_RDWR).error(), EROFS);
  EXPECT_EQ(OpenFile(path, O_WRONLY).error(), EROFS);
  EXPECT_EQ(OpenFile(path, O_WRONLY | O_TRUNC).error(), EROFS);
  EXPECT_EQ(OpenFile(path, O_WRONLY | O_CREAT | O_EXCL).error(), EEXIST);
  EXPECT_EQ(Touch(path), EROFS);
  EXPECT_EQ(Truncate(path, 0), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return chmod(path.c_str(), 0666); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return chown(path.c_str(), 1, 1); }), EROFS);
  const timespec times[2] = {{1, 0}, {1, 0}};
  EXPECT_EQ(ErrnoOf([&] { return utimensat(AT_FDCWD, path.c_str(), times, 0); }), EROFS);
  EXPECT_EQ(InAnotherProcess([&] {
              return ErrnoOf([&] { return utimensat(AT_FDCWD, path.c_str(), nullptr, 0); });
            }),
            EROFS);
}

TEST_F(SnapshotsTest, TheFileThatTookTheSnapshotCannotBeWritten) {
  const OpenFile file(Snapshot("monday"), O_WRONLY | O_CREAT | O_EXCL);
  ASSERT_TRUE(file.is_open()) << file.error();
  EXPECT_EQ(WriteAt(file.get(), 0, "changed"), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return ftruncate(file.get(), 0); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return fallocate(file.get(), 0, 0, 4096); }), EROFS);
  EXPECT_BYTES(ReadFrom(Snapshot("monday"), 0, 6), "monday");
}

TEST_F(SnapshotsTest, TheFoldersAreReadOnlyButForTakingAndRemoving) {
  const std::string top = tree_.snapshots("");
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  EXPECT_EQ(OpenFile(top + "new", O_WRONLY | O_CREAT).error(), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return mkdir((top + "new").c_str(), 0755); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return mkdir(Snapshot("new").c_str(), 0755); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return rmdir((top + "a").c_str()); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return rename((top + "a").c_str(), (top + "b").c_str()); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return symlink("monday", Snapshot("link").c_str()); }), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return link(Snapshot("monday").c_str(), Snapshot("l").c_str()); }), EPERM);
  EXPECT_EQ(Remove("latest"), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return chmod((top + "a").c_str(), 0777); }), EROFS);
}

TEST_F(SnapshotsTest, NamesThatAreTakenOrNotAllowed) {
  EXPECT_EQ(Touch(Snapshot("latest")), EINVAL);
  EXPECT_EQ(Touch(Snapshot("with@sign")), EINVAL);
  EXPECT_EQ(Touch(Snapshot(std::string(256, 'x'))), ENAMETOOLONG);
  EXPECT_EQ(Touch(tree_.snapshot("missing", "monday")), ENOENT);
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  ASSERT_EQ(Touch(Snapshot("tuesday")), 0);
  EXPECT_EQ(ErrnoOf([&] { return rename(Snapshot("monday").c_str(), Snapshot("tuesday").c_str()); }),
            EEXIST);
  EXPECT_EQ(ErrnoOf([&] { return rename(Snapshot("monday").c_str(), Snapshot("x@y").c_str()); }),
            EINVAL);
}

TEST_F(SnapshotsTest, SnapshotsAreRenamedWithinTheirFolderOnly) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("b"), kMiB), 0);
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  ASSERT_EQ(rename(Snapshot("monday").c_str(), Snapshot("first").c_str()), 0);
  EXPECT_EQ(NamesIn(tree_.snapshots("a")), (std::vector<std::string>{"first", "latest"}));
  const auto move = [](const std::string& from, const std::string& to) {
    return ErrnoOf([&] { return rename(from.c_str(), to.c_str()); });
  };
  EXPECT_EQ(move(Snapshot("first"), tree_.snapshot("b", "first")), EPERM);
  EXPECT_EQ(move(Snapshot("first"), tree_.vdi("c")), EPERM);
  EXPECT_EQ(move(tree_.vdi("b"), Snapshot("b")), EPERM);
  EXPECT_EQ(move(tree_.vdi("b"), tree_.snapshots("c")), EROFS);
  EXPECT_EQ(NamesIn(tree_.snapshots("b")), std::vector<std::string>{});
}

TEST_F(SnapshotsTest, AreRemovedInAnyOrderWhateverWasClonedFromThem) {
  for (const char* const name : {"s1", "s2", "s3"}) {
    ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, name), 0);
    ASSERT_EQ(Touch(Snapshot(name)), 0);
  }
  const Outcome cloned = RunProgram({"cp", Snapshot("s2"), tree_.vdi("clone")});
  ASSERT_EQ(cloned.exit_status, 0) << cloned.output;
  ASSERT_EQ(Remove("s2"), 0);
  EXPECT_BYTES(ReadFrom(Snapshot("s1"), 0, 2), "s1");
  EXPECT_BYTES(ReadFrom(Snapshot("s3"), 0, 2), "s3");
  ASSERT_EQ(Remove("s1"), 0);
  EXPECT_BYTES(ReadFrom(Snapshot("s3"), 0, 2), "s3");
  ASSERT_EQ(Remove("s3"), 0);
  EXPECT_EQ(Remove("s3"), ENOENT);
  ASSERT_TRUE(tree_.Remount());
  EXPECT_BYTES(ReadFrom(tree_.vdi("clone"), 0, 2), "s2");
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 2), "s3");
}

TEST_F(SnapshotsTest, AnOpenSnapshotStaysReadableAfterItsRemoval) {
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  const OpenFile reader(Snapshot("monday"), O_RDONLY | O_DIRECT);
  ASSERT_EQ(Remove("monday"), 0);
  AlignedBuffer block(4096);
  ASSERT_EQ(pread(reader.get(), block.data(), 4096, 0), 4096);
  EXPECT_BYTES(block.text().substr(0, 6), "monday");
}

TEST_F(SnapshotsTest, AProtectedSnapshotIsNotRemoved) {
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  ASSERT_EQ(tree_.Quoin({"snap", "protect", "a@monday"}).exit_status, 0);
  EXPECT_EQ(Remove("monday"), EPERM);
  ASSERT_EQ(tree_.Quoin({"snap", "unprotect", "a@monday"}).exit_status, 0);
  EXPECT_EQ(Remove("monday"), 0);
}

TEST_F(SnapshotsTest, ReadingASnapshotTwiceAsksTheDaemonOnce) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(kMiB, 'x')), 0);
  ASSERT_EQ(Touch(Snapshot("monday")), 0);
  const auto read_bytes = [&] {
    const std::string text = ReadWhole(tree_.control("metrics"));
    const std::string name = "\nquoin_read_bytes_total ";
    return std::stoull(text.substr(text.find(name) + name.size()));
  };
  ASSERT_EQ(ReadWhole(Snapshot("monday")).size(), kMiB);
  const uint64_t after_first = read_bytes();
  EXPECT_GE(after_first, kMiB);
  ASSERT_EQ(ReadWhole(Snapshot("monday")).size(), kMiB);
  // All but a page or two that the kernel may have reclaimed in between.
  EXPECT_LE(read_bytes(), after_first + kMiB / 16);
}

}  // namespace
}  // namespace quoin

// Names of VDIs and folders: making, renaming, removing, listing, and what is refused.
#include <dirent.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>
#include <set>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

constexpr uint64_t kSlack = 128 * kKiB;  // databases grow and shrink on their own

class NamesTest : public MountTest {
 protected:
  int Mkdir(const std::string& name) const {
    return ErrnoOf([&] { return mkdir(tree_.vdi(name).c_str(), 0755); });
  }
  int Create(const std::string& name) const { return CreateWithSize(tree_.vdi(name), kMiB); }
  int Move(const std::string& from, const std::string& to) const {
    return ErrnoOf([&] { return rename(tree_.vdi(from).c_str(), tree_.vdi(to).c_str()); });
  }
  int Remove(const std::string& name) const {
    return ErrnoOf([&] { return unlink(tree_.vdi(name).c_str()); });
  }
};

TEST_F(NamesTest, TheTopOfTheTree) {
  EXPECT_EQ(NamesIn(tree_.mount()), (std::vector<std::string>{".quoin", "snapshots", "vdis"}));
  EXPECT_EQ(NamesIn(tree_.vdi("")), std::vector<std::string>{});
}

TEST_F(NamesTest, VdisInFolders) {
  ASSERT_EQ(Mkdir("lab"), 0);
  ASSERT_EQ(Mkdir("lab/deep"), 0);
  ASSERT_EQ(Create("lab/deep/db02"), 0);
  ASSERT_EQ(Create("web01"), 0);
  EXPECT_EQ(NamesIn(tree_.vdi("")), (std::vector<std::string>{"lab", "web01"}));
  EXPECT_EQ(NamesIn(tree_.vdi("lab/deep")), std::vector<std::string>{"db02"});
  EXPECT_EQ(NamesIn(tree_.snapshots("lab/deep")), std::vector<std::string>{"db02"});
  EXPECT_TRUE(S_ISDIR(StatOf(tree_.snapshots("lab/deep/db02")).st_mode));
}

TEST_F(NamesTest, RenamingAVdiTakesItsSnapshotsAlong) {
  ASSERT_EQ(Create("a"), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, "one"), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "monday")), 0);
  const ino_t inode = StatOf(tree_.vdi("a")).st_ino;
  const ino_t snapshot_inode = StatOf(tree_.snapshot("a", "monday")).st_ino;
  ASSERT_EQ(Mkdir("lab"), 0);
  ASSERT_EQ(Move("a", "lab/b"), 0);
  EXPECT_EQ(OpenFile(tree_.vdi("a"), O_RDONLY).error(), ENOENT);
  EXPECT_EQ(OpenFile(tree_.snapshot("a", "monday"), O_RDONLY).error(), ENOENT);
  EXPECT_EQ(StatOf(tree_.vdi("lab/b")).st_ino, inode);
  EXPECT_EQ(StatOf(tree_.snapshot("lab/b", "monday")).st_ino, snapshot_inode);
  EXPECT_BYTES(ReadFrom(tree_.snapshot("lab/b", "monday"), 0, 3), "one");
  ASSERT_EQ(Touch(tree_.snapshot("lab/b", "tuesday")), 0);
}

TEST_F(NamesTest, AnOpenVdiCanBeRenamedAndStaysOpen) {
  ASSERT_EQ(Create("a"), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(Move("a", "b"), 0);
  EXPECT_EQ(WriteAt(guest.get(), 0, "still open"), 0);
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 0, 10), "still open");
}

TEST_F(NamesTest, RenamingAFolderTakesAllInItAlong) {
  ASSERT_EQ(Mkdir("lab"), 0);
  ASSERT_EQ(Mkdir("lab/deep"), 0);
  ASSERT_EQ(Create("lab/deep/a"), 0);
  ASSERT_EQ(Touch(tree_.snapshot("lab/deep/a", "s")), 0);
  const ino_t inode = StatOf(tree_.vdi("lab/deep")).st_ino;
  const OpenFile inside(tree_.vdi("lab/deep"), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(Move("lab", "factory"), 0);
  EXPECT_EQ(NamesIn(tree_.vdi("factory/deep")), std::vector<std::string>{"a"});
  EXPECT_EQ(StatOf(tree_.vdi("factory/deep")).st_ino, inode);
  EXPECT_EQ(NamesIn(tree_.snapshots("factory/deep/a")), (std::vector<std::string>{"latest", "s"}));
  // A program that stands in the folder goes on there.
  EXPECT_EQ(ErrnoOf([&] { return mkdirat(inside.get(), "new", 0755); }), 0);
  EXPECT_EQ(NamesIn(tree_.vdi("factory/deep")), (std::vector<std::string>{"a", "new"}));
}

TEST_F(NamesTest, NothingIsEverReplacedByARename) {
  ASSERT_EQ(Create("a"), 0);
  ASSERT_EQ(Create("b"), 0);
  ASSERT_EQ(Mkdir("lab"), 0);
  ASSERT_EQ(Mkdir("empty"), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("b"), 0, "precious"), 0);
  EXPECT_EQ(Move("a", "b"), EEXIST);
  EXPECT_EQ(Move("lab", "empty"), EEXIST);
  EXPECT_EQ(Move("a", "lab"), EISDIR);
  EXPECT_EQ(Move("lab", "a"), ENOTDIR);
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 0, 8), "precious");
}

TEST_F(NamesTest, FlagsOfRename) {
  ASSERT_EQ(Create("a"), 0);
  ASSERT_EQ(Create("b"), 0);
  const auto rename_with = [&](const std::string& from, const std::string& to, unsigned flags) {
    return ErrnoOf([&] {
      return syscall(SYS_renameat2, AT_FDCWD, tree_.vdi(from).c_str(), AT_FDCWD,
                     tree_.vdi(to).c_str(), flags);
    });
  };
  EXPECT_EQ(rename_with("a", "b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(rename_with("a", "c", RENAME_NOREPLACE), 0);
  EXPECT_EQ(rename_with("b", "c", RENAME_EXCHANGE), EINVAL);
}

TEST_F(NamesTest, AVdiWithSnapshotsOrInUseIsNotRemoved) {
  ASSERT_EQ(Create("a"), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  EXPECT_EQ(Remove("a"), ENOTEMPTY);
  ASSERT_EQ(unlink(tree_.snapshot("a", "s").c_str()), 0);
  {
    const OpenFile guest(tree_.vdi("a"), O_RDWR);
    EXPECT_EQ(Remove("a"), EBUSY);
  }
  {
    const OpenFile reader(tree_.vdi("a"), O_RDONLY);
    EXPECT_EQ(Remove("a"), EBUSY);
  }
  EXPECT_EQ(Remove("a"), 0);
  EXPECT_EQ(Remove("a"), ENOENT);
  EXPECT_EQ(NamesIn(tree_.snapshots("")), std::vector<std::string>{});
}

TEST_F(NamesTest, RemovedVdisGiveTheirSpaceBack) {
  ASSERT_EQ(Create("a"), 0);
  const uint64_t before = tree_.StoreBytes();
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(kMiB, 'x')), 0);
  ASSERT_GE(tree_.StoreBytes(), before + kMiB - kSlack);
  ASSERT_EQ(Remove("a"), 0);
  EXPECT_LE(tree_.StoreBytes(), before + kSlack);
}

TEST_F(NamesTest, FoldersAreRemovedOnlyWhenEmpty) {
  ASSERT_EQ(Mkdir("lab"), 0);
  ASSERT_EQ(Create("lab/a"), 0);
  const auto remove_folder = [&](const std::string& path) {
    return ErrnoOf([&] { return rmdir(path.c_str()); });
  };
  EXPECT_EQ(remove_folder(tree_.vdi("lab")), ENOTEMPTY);
  EXPECT_EQ(remove_folder(tree_.vdi("lab/a")), ENOTDIR);
  EXPECT_EQ(Remove("lab"), EISDIR);
  ASSERT_EQ(Remove("lab/a"), 0);
  EXPECT_EQ(remove_folder(tree_.vdi("lab")), 0);
  EXPECT_EQ(remove_folder(tree_.vdi("lab")), ENOENT);
}

TEST_F(NamesTest, NamesThatAreTakenOrNotAllowed) {
  ASSERT_EQ(Create("a"), 0);
  ASSERT_EQ(Mkdir("lab"), 0);
  EXPECT_EQ(OpenFile(tree_.vdi("a"), O_RDWR | O_CREAT | O_EXCL).error(), EEXIST);
  EXPECT_EQ(Mkdir("a"), EEXIST);
  EXPECT_EQ(Mkdir("lab"), EEXIST);
  EXPECT_EQ(OpenFile(tree_.vdi("with@sign"), O_RDONLY).error(), ENOENT);
  EXPECT_EQ(Create("with@sign"), EINVAL);
  EXPECT_EQ(Mkdir("with@sign"), EINVAL);
  EXPECT_EQ(Move("a", "with@sign"), EINVAL);
  EXPECT_EQ(Create("a/b"), ENOTDIR);
  EXPECT_EQ(Create("missing/b"), ENOENT);
  EXPECT_EQ(Create(std::string(255, 'x')), 0);
  EXPECT_EQ(Create(std::string(256, 'x')), ENAMETOOLONG);
  EXPECT_EQ(Mkdir(std::string(256, 'x')), ENAMETOOLONG);
  EXPECT_EQ(Move("a", std::string(256, 'x')), ENAMETOOLONG);
  EXPECT_EQ(OpenFile(tree_.vdi(std::string(300, 'x')), O_RDONLY).error(), ENAMETOOLONG);
}

TEST_F(NamesTest, LinksAndDevicesAreNotPermitted) {
  ASSERT_EQ(Create("a"), 0);
  EXPECT_EQ(ErrnoOf([&] { return link(tree_.vdi("a").c_str(), tree_.vdi("b").c_str()); }), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return symlink("a", tree_.vdi("b").c_str()); }), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return mkfifo(tree_.vdi("b").c_str(), 0600); }), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return mknod(tree_.vdi("b").c_str(), S_IFREG | 0600, 0); }), 0);
  EXPECT_EQ(StatOf(tree_.vdi("b")).st_size, 0);
}

TEST_F(NamesTest, TheTopFolderIsFixed) {
  const std::string top = tree_.mount();
  EXPECT_EQ(OpenFile(top + "/x", O_RDWR | O_CREAT).error(), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return mkdir((top + "/x").c_str(), 0755); }), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return rmdir((top + "/vdis").c_str()); }), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return rename((top + "/vdis").c_str(), (top + "/x").c_str()); }), EPERM);
}

TEST_F(NamesTest, ListingsAreWholeAndAgreeWithStat) {
  constexpr int kCount = 500;
  std::set<std::string> expected;
  for (int i = 0; i < kCount; ++i) {
    const std::string name = fmt::format("vdi-{:04}", i);
    ASSERT_TRUE(OpenFile(tree_.vdi(name), O_WRONLY | O_CREAT).is_open());
    expected.insert(name);
  }
  for (int round = 0; round < 2; ++round) {
    std::map<std::string, ino_t> seen;
    DIR* const folder = opendir(tree_.vdi("").c_str());
    ASSERT_NE(folder, nullptr);
    while (const dirent* const entry = readdir(folder)) seen.emplace(entry->d_name, entry->d_ino);
    closedir(folder);
    ASSERT_EQ(seen.size(), expected.size() + 2);
    for (const std::string& name : expected) {
      ASSERT_TRUE(seen.count(name) == 1) << name;
      ASSERT_EQ(seen[name], StatOf(tree_.vdi(name)).st_ino) << name;
    }
  }
}

TEST_F(NamesTest, InodeNumbersAreTheSameAfterARemount) {
  ASSERT_EQ(Mkdir("lab"), 0);
  ASSERT_EQ(Create("lab/a"), 0);
  ASSERT_EQ(Touch(tree_.snapshot("lab/a", "s")), 0);
  const std::vector<std::string> paths = {
      tree_.mount(),           tree_.vdi(""),           tree_.vdi("lab"),
      tree_.vdi("lab/a"),      tree_.snapshots(""),     tree_.snapshots("lab"),
      tree_.snapshots("lab/a"), tree_.snapshot("lab/a", "s"), tree_.snapshot("lab/a", "latest"),
      tree_.control("")};
  std::set<ino_t> distinct;
  std::vector<ino_t> before;
  for (const std::string& path : paths) {
    before.push_back(StatOf(path).st_ino);
    distinct.insert(before.back());
  }
  EXPECT_EQ(distinct.size(), paths.size());
  EXPECT_EQ(distinct.count(0), 0U);
  ASSERT_TRUE(tree_.Remount());
  for (size_t i = 0; i < paths.size(); ++i) EXPECT_EQ(StatOf(paths[i]).st_ino, before[i]) << paths[i];
}

}  // namespace
}  // namespace quoin

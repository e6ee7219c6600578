// Where a tree can be mounted, and how it goes away.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

using MountPointTest = MountTest;

TEST_F(MountPointTest, UnfitMountPointsAreRefusedWithAReason) {
  const auto mount_on = [&](const std::string& path) {
    return RunProgram({QuoinBinary(), "mount", tree_.store(), path});
  };
  const Outcome missing = mount_on(tree_.folder() + "/missing");
  EXPECT_EQ(missing.exit_status, 1);
  EXPECT_NE(missing.output.find("no such folder"), std::string::npos) << missing.output;
  const std::string file = tree_.folder() + "/file";
  ASSERT_TRUE(OpenFile(file, O_WRONLY | O_CREAT).is_open());
  const Outcome not_a_folder = mount_on(file);
  EXPECT_EQ(not_a_folder.exit_status, 1);
  EXPECT_NE(not_a_folder.output.find("not a folder"), std::string::npos) << not_a_folder.output;
  const std::string full = tree_.folder() + "/full";
  std::filesystem::create_directories(full + "/something");
  const Outcome not_empty = mount_on(full);
  EXPECT_EQ(not_empty.exit_status, 1);
  EXPECT_NE(not_empty.output.find("not empty"), std::string::npos) << not_empty.output;
  const Outcome twice = mount_on(tree_.mount());
  EXPECT_EQ(twice.exit_status, 1);
  EXPECT_NE(twice.output.find("mounted"), std::string::npos) << twice.output;
  EXPECT_EQ(NamesIn(tree_.mount()).size(), 3U);
}

TEST_F(MountPointTest, ADeadMountIsNamedAsSuch) {
  kill(tree_.daemon(), SIGKILL);
  Outcome again;
  for (int i = 0; i < 50; ++i) {  // until the system has taken the daemon's descriptors
    again = RunProgram({QuoinBinary(), "mount", tree_.store(), tree_.mount()});
    if (again.output.find("died") != std::string::npos) break;
    usleep(100'000);
  }
  EXPECT_EQ(again.exit_status, 1);
  EXPECT_NE(again.output.find("umount -l"), std::string::npos) << again.output;
  ASSERT_EQ(umount2(tree_.mount().c_str(), MNT_DETACH), 0);
  ASSERT_TRUE(tree_.Mount());
}

TEST_F(MountPointTest, ABusyMountIsNotTakenAway) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  const Outcome refused = RunProgram({QuoinBinary(), "unmount", tree_.mount()});
  EXPECT_EQ(refused.exit_status, 1) << refused.output;
  EXPECT_EQ(WriteAt(guest.get(), 0, "goes on"), 0);
}

TEST_F(MountPointTest, TheDaemonEndsInOrderOnSigtermAndKeepsWhatWasWritten) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, "written"), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(WriteAt(guest.get(), 4096, "while open"), 0);
  ASSERT_EQ(kill(tree_.daemon(), SIGTERM), 0);
  for (int i = 0; i < 100 && kill(tree_.daemon(), 0) == 0; ++i) usleep(100'000);
  EXPECT_NE(WriteAt(guest.get(), 0, "too late"), 0);
  EXPECT_EQ(NamesIn(tree_.mount()), std::vector<std::string>{});
  ASSERT_TRUE(tree_.Mount());
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 7), "written");
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 4096, 10), "while open");
}

TEST_F(MountPointTest, TheSystemsTableNamesTheStore) {
  const Outcome table = RunProgram({"findmnt", "-n", "-o", "SOURCE,FSTYPE", tree_.mount()});
  EXPECT_EQ(table.exit_status, 0);
  EXPECT_NE(table.output.find(tree_.store()), std::string::npos) << table.output;
  EXPECT_NE(table.output.find("fuse.quoin"), std::string::npos) << table.output;
}

}  // namespace
}  // namespace quoin

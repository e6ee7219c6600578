// Locks between programs of one host: QEMU's image locks are of these kinds.
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

class LocksTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  }

  OpenFile Open() const { return OpenFile(tree_.vdi("a"), O_RDWR); }
};

int LockRange(int file, int command, short type, off_t start, off_t length) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = start;
  range.l_len = length;
  return ErrnoOf([&] { return fcntl(file, command, &range); });
}

TEST_F(LocksTest, FlockExcludesOtherOpensUntilItIsLetGo) {
  const OpenFile first = Open();
  const OpenFile second = Open();
  ASSERT_EQ(flock(first.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(ErrnoOf([&] { return flock(second.get(), LOCK_SH | LOCK_NB); }), EWOULDBLOCK);
  ASSERT_EQ(flock(first.get(), LOCK_UN), 0);
  EXPECT_EQ(flock(second.get(), LOCK_EX | LOCK_NB), 0);
}

TEST_F(LocksTest, PosixLocksExcludeOtherProcessesByRange) {
  const OpenFile first = Open();
  ASSERT_EQ(LockRange(first.get(), F_SETLK, F_WRLCK, 100, 10), 0);
  const auto elsewhere = [&](off_t start) {
    return InAnotherProcess([&] {
      const OpenFile second = Open();
      return LockRange(second.get(), F_SETLK, F_WRLCK, start, 5);
    });
  };
  EXPECT_EQ(elsewhere(105), EAGAIN);
  EXPECT_EQ(elsewhere(110), 0);
  ASSERT_EQ(LockRange(first.get(), F_SETLK, F_UNLCK, 100, 10), 0);
  EXPECT_EQ(elsewhere(105), 0);
}

TEST_F(LocksTest, OpenFileDescriptionLocksExcludeOtherOpensByRange) {
  const OpenFile first = Open();
  const OpenFile second = Open();
  ASSERT_EQ(LockRange(first.get(), F_OFD_SETLK, F_RDLCK, 100, 1), 0);
  EXPECT_EQ(LockRange(second.get(), F_OFD_SETLK, F_RDLCK, 100, 1), 0);
  EXPECT_EQ(LockRange(second.get(), F_OFD_SETLK, F_WRLCK, 100, 1), EAGAIN);
  EXPECT_EQ(LockRange(second.get(), F_OFD_SETLK, F_WRLCK, 101, 1), 0);
}

TEST_F(LocksTest, QemuRefusesAnImageThatAnotherQemuUses) {
  const Outcome both = RunProgram(
      {"sh", "-c",
       "qemu-system-x86_64 -S -display none -nodefaults -drive if=virtio,file=\"$1\",format=raw & "
       "first=$!; sleep 3; qemu-img info \"$1\" 2>&1 | grep -c 'Failed to get shared'; "
       "kill $first; wait",
       "sh", tree_.vdi("a")});
  EXPECT_EQ(both.output.substr(0, 1), "1") << both.output;
}

}  // namespace
}  // namespace quoin

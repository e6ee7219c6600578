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
  // The first takes its locks some time after it starts; until then the second may write.
  const Outcome both = RunProgram(
      {"sh", "-c",
       "qemu-system-x86_64 -S -display none -nodefaults -drive if=virtio,file=\"$1\",format=raw & "
       "first=$!; refused=0; "
       "for try in $(seq 60); do "
       "  qemu-io -f raw -c 'write 0 512' \"$1\" 2>&1 | grep -q 'Failed to get' && "
       "    refused=1 && break; sleep 0.5; done; "
       "echo $refused; kill $first; wait",
       "sh", tree_.vdi("a")});
  EXPECT_EQ(both.output.substr(0, 1), "1") << both.output;
}

}  // namespace
}  // namespace quoin

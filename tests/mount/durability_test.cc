// What fsync and synchronous writes promise, against a daemon that is killed.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

class DurabilityTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  }

  // Kills the daemon, mounts again and reads.
  std::string AfterCrash(uint64_t offset, size_t bytes) {
    const ::testing::AssertionResult crashed = tree_.Crash();
    if (!crashed) return crashed.message();
    const ::testing::AssertionResult mounted = tree_.Mount();
    if (!mounted) return mounted.message();
    return ReadFrom(tree_.vdi("a"), offset, bytes);
  }
};

TEST_F(DurabilityTest, AfterFsync) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(WriteAt(file.get(), 5000, "kept"), 0);
  ASSERT_EQ(fsync(file.get()), 0);
  EXPECT_BYTES(AfterCrash(5000, 4), "kept");
}

TEST_F(DurabilityTest, AfterFdatasyncOfADirectWriteOnAnotherDescriptor) {
  const OpenFile writer(tree_.vdi("a"), O_RDWR | O_DIRECT);
  AlignedBuffer block(4096, 'k');
  ASSERT_EQ(pwrite(writer.get(), block.data(), 4096, 8192), 4096);
  const OpenFile other(tree_.vdi("a"), O_RDONLY);
  ASSERT_EQ(fdatasync(other.get()), 0);
  EXPECT_BYTES(AfterCrash(8192, 4096), std::string(4096, 'k'));
}

TEST_F(DurabilityTest, AfterMsync) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  void* const mapped = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  std::memcpy(mapped, "kept", 4);
  ASSERT_EQ(msync(mapped, kMiB, MS_SYNC), 0);
  munmap(mapped, kMiB);
  EXPECT_BYTES(AfterCrash(0, 4), "kept");
}

// The flags with which a single write is durable when it returns.
class SynchronousWriteTest : public DurabilityTest, public ::testing::WithParamInterface<int> {};

TEST_P(SynchronousWriteTest, IsDurableWhenItReturns) {
  const OpenFile file(tree_.vdi("a"), O_WRONLY | GetParam());
  AlignedBuffer block(4096, 's');
  ASSERT_EQ(pwrite(file.get(), block.data(), 4096, 4096), 4096);
  EXPECT_BYTES(AfterCrash(4096, 4096), std::string(4096, 's'));
}

INSTANTIATE_TEST_SUITE_P(Flags, SynchronousWriteTest,
                         ::testing::Values(O_SYNC, O_DSYNC, O_SYNC | O_DIRECT, O_DSYNC | O_DIRECT));

TEST_F(DurabilityTest, AWriteAskedToBeSynchronousByItselfIsDurableWhenItReturns) {
  const OpenFile file(tree_.vdi("a"), O_WRONLY | O_DIRECT);
  AlignedBuffer block(4096, 's');
  const iovec part{block.data(), 4096};
  ASSERT_EQ(pwritev2(file.get(), &part, 1, 4096, RWF_DSYNC), 4096);
  EXPECT_BYTES(AfterCrash(4096, 4096), std::string(4096, 's'));
}

TEST_F(DurabilityTest, TheSizeAfterTruncateAndTheHoleAfterFsync) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(WriteAt(file.get(), 0, std::string(64 * kKiB, 'x')), 0);
  ASSERT_EQ(fsync(file.get()), 0);
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), 0);
  ASSERT_EQ(ftruncate(file.get(), 2 * kMiB), 0);
  ASSERT_EQ(fsync(file.get()), 0);
  EXPECT_BYTES(AfterCrash(4096, 8192), std::string(8192, '\0'));
  EXPECT_EQ(StatOf(tree_.vdi("a")).st_size, static_cast<off_t>(2 * kMiB));
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 12288, 4), "xxxx");
}

TEST_F(DurabilityTest, NamesAndSnapshotsWithoutAnySync) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, "first"), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "monday")), 0);
  ASSERT_EQ(mkdir(tree_.vdi("lab").c_str(), 0755), 0);
  ASSERT_EQ(rename(tree_.vdi("a").c_str(), tree_.vdi("lab/b").c_str()), 0);
  ASSERT_TRUE(tree_.Crash());
  ASSERT_TRUE(tree_.Mount());
  EXPECT_EQ(NamesIn(tree_.vdi("")), std::vector<std::string>{"lab"});
  EXPECT_BYTES(ReadFrom(tree_.snapshot("lab/b", "monday"), 0, 5), "first");
  EXPECT_EQ(tree_.Quoin({"check"}).exit_status, 0);
}

}  // namespace
}  // namespace quoin

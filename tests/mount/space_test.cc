// Holes, sizes and the space that a VDI takes.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr off_t kBlock = 4096;

class SpaceTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  }

  int64_t DataBlocks() const { return StatOf(tree_.vdi("a")).st_blocks / 8; }
  off_t Size() const { return StatOf(tree_.vdi("a")).st_size; }
};

off_t Data(const OpenFile& file, off_t from) { return lseek(file.get(), from, SEEK_DATA); }
off_t Hole(const OpenFile& file, off_t from) { return lseek(file.get(), from, SEEK_HOLE); }

TEST_F(SpaceTest, SeekAndBlocksAreExactToTheBlock) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  EXPECT_EQ(ErrnoOf([&] { return Data(file, 0); }), ENXIO);
  EXPECT_EQ(Hole(file, 0), 0);
  ASSERT_EQ(WriteAt(file.get(), 3 * kBlock, std::string(2 * kBlock, 'x')), 0);
  ASSERT_EQ(WriteAt(file.get(), 100 * kBlock + 17, "x"), 0);
  EXPECT_EQ(DataBlocks(), 3);
  EXPECT_EQ(Data(file, 0), 3 * kBlock);
  EXPECT_EQ(Data(file, 3 * kBlock + 5), 3 * kBlock + 5);
  EXPECT_EQ(Hole(file, 3 * kBlock), 5 * kBlock);
  EXPECT_EQ(Hole(file, 7), 7);
  EXPECT_EQ(Data(file, 5 * kBlock), 100 * kBlock);
  EXPECT_EQ(Hole(file, 100 * kBlock), 101 * kBlock);
  EXPECT_EQ(ErrnoOf([&] { return Data(file, 101 * kBlock); }), ENXIO);
  EXPECT_EQ(Hole(file, 101 * kBlock), 101 * kBlock);
  EXPECT_EQ(ErrnoOf([&] { return Data(file, kMiB); }), ENXIO);
  EXPECT_EQ(ErrnoOf([&] { return Hole(file, kMiB); }), ENXIO);
  EXPECT_EQ(ErrnoOf([&] { return Data(file, -1); }), ENXIO);
}

TEST_F(SpaceTest, SnapshotsAndRemountsShowTheSameHoles) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 3 * kBlock, std::string(2 * kBlock, 'x')), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  for (int round = 0; round < 2; ++round) {
    for (const std::string& path : {tree_.vdi("a"), tree_.snapshot("a", "s")}) {
      const OpenFile file(path, O_RDONLY);
      EXPECT_EQ(Data(file, 0), 3 * kBlock) << path;
      EXPECT_EQ(Hole(file, 3 * kBlock), 5 * kBlock) << path;
      EXPECT_EQ(ErrnoOf([&] { return Data(file, 5 * kBlock); }), ENXIO) << path;
      EXPECT_EQ(StatOf(path).st_blocks, 16) << path;
    }
    ASSERT_TRUE(tree_.Remount());
  }
}

TEST_F(SpaceTest, APunchedHoleReadsZeroAndGivesItsBlocksBack) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  std::string expected = Pattern(1, 64 * kKiB);
  ASSERT_EQ(WriteAt(file.get(), 0, expected), 0);
  ASSERT_EQ(DataBlocks(), 16);
  ASSERT_EQ(fallocate(file.get(), kPunch, kBlock, 4 * kBlock), 0);
  expected.replace(kBlock, 4 * kBlock, 4 * kBlock, '\0');
  EXPECT_BYTES(ReadAt(file.get(), 0, expected.size()), expected);
  EXPECT_EQ(DataBlocks(), 12);
  EXPECT_EQ(Hole(file, 0), kBlock);
  EXPECT_EQ(Data(file, kBlock), 5 * kBlock);
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB));
}

TEST_F(SpaceTest, AnUnalignedHoleKeepsTheBytesAroundIt) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  std::string expected = Pattern(2, 64 * kKiB);
  ASSERT_EQ(WriteAt(file.get(), 0, expected), 0);
  ASSERT_EQ(fallocate(file.get(), kPunch, 1000, 3 * kBlock), 0);
  expected.replace(1000, 3 * kBlock, 3 * kBlock, '\0');
  EXPECT_BYTES(ReadAt(file.get(), 0, expected.size()), expected);
  EXPECT_EQ(DataBlocks(), 14);
}

TEST_F(SpaceTest, HolesPastTheEndAreClippedOrDoNothing) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(WriteAt(file.get(), kMiB - kBlock, std::string(kBlock, 'x')), 0);
  ASSERT_EQ(fallocate(file.get(), kPunch, kMiB - kBlock, 100 * kBlock), 0);
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB));
  EXPECT_EQ(DataBlocks(), 0);
  EXPECT_EQ(fallocate(file.get(), kPunch, 5 * kMiB, kBlock), 0);
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB));
}

TEST_F(SpaceTest, ZeroRangeReadsZeroAndGrowsUnlessToldToKeepTheSize) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  std::string expected = Pattern(3, kMiB);
  ASSERT_EQ(WriteAt(file.get(), 0, expected), 0);
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_ZERO_RANGE, 100, 10000), 0);
  expected.replace(100, 10000, 10000, '\0');
  EXPECT_BYTES(ReadAt(file.get(), 0, kMiB), expected);
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, kMiB - kBlock,
                      10 * kBlock),
            0);
  expected.replace(kMiB - kBlock, kBlock, kBlock, '\0');
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB));
  EXPECT_BYTES(ReadAt(file.get(), 0, 2 * kMiB), expected);
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_ZERO_RANGE, kMiB - kBlock, 10 * kBlock), 0);
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB) + 9 * kBlock);
  EXPECT_BYTES(ReadAt(file.get(), 0, 2 * kMiB), expected + std::string(9 * kBlock, '\0'));
}

TEST_F(SpaceTest, PlainFallocateKeepsWhatIsThereAndGrowsUnlessToldToKeepTheSize) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(WriteAt(file.get(), 0, "data"), 0);
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, 4 * kMiB), 0);
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB));
  ASSERT_EQ(fallocate(file.get(), 0, 0, 4 * kMiB), 0);
  EXPECT_EQ(Size(), static_cast<off_t>(4 * kMiB));
  EXPECT_BYTES(ReadAt(file.get(), 0, 4), "data");
  EXPECT_EQ(DataBlocks(), 1);
}

TEST_F(SpaceTest, OtherModesOfFallocateAreNotSupported) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  EXPECT_EQ(ErrnoOf([&] { return fallocate(file.get(), FALLOC_FL_COLLAPSE_RANGE, 0, kBlock); }),
            EOPNOTSUPP);
  EXPECT_EQ(ErrnoOf([&] { return fallocate(file.get(), FALLOC_FL_INSERT_RANGE, 0, kBlock); }),
            EOPNOTSUPP);
}

TEST_F(SpaceTest, AVdiGrowsWhileItIsOpenElsewhere) {
  const OpenFile guest(tree_.vdi("a"), O_RDWR | O_DIRECT);
  ASSERT_EQ(Truncate(tree_.vdi("a"), 2 * kMiB), 0);
  AlignedBuffer block(4096, 'x');
  EXPECT_EQ(pwrite(guest.get(), block.data(), 4096, kMiB), 4096);
  EXPECT_EQ(Size(), static_cast<off_t>(2 * kMiB));
}

TEST_F(SpaceTest, AVdiShrinksWhenUnusedAndWhatWasBeyondReadsZeroIfItGrowsAgain) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(kMiB, 'x')), 0);
  ASSERT_EQ(Truncate(tree_.vdi("a"), 10240), 0);
  EXPECT_EQ(Size(), 10240);
  EXPECT_EQ(DataBlocks(), 3);
  ASSERT_EQ(Truncate(tree_.vdi("a"), kMiB), 0);
  EXPECT_BYTES(ReadWhole(tree_.vdi("a")),
            std::string(10240, 'x') + std::string(kMiB - 10240, '\0'));
}

TEST_F(SpaceTest, AVdiShrinksThroughTheOnlyHandle) {
  const OpenFile file(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(WriteAt(file.get(), 0, std::string(kMiB, 'x')), 0);
  ASSERT_EQ(ftruncate(file.get(), 512), 0);
  EXPECT_EQ(Size(), 512);
  ASSERT_EQ(ftruncate(file.get(), 8192), 0);
  EXPECT_BYTES(ReadAt(file.get(), 0, 8192), std::string(512, 'x') + std::string(8192 - 512, '\0'));
}

TEST_F(SpaceTest, AVdiInUseDoesNotShrink) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(kMiB, 'x')), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  EXPECT_EQ(Truncate(tree_.vdi("a"), 512), EBUSY);
  const OpenFile other(tree_.vdi("a"), O_RDWR);
  EXPECT_EQ(ErrnoOf([&] { return ftruncate(other.get(), 512); }), EBUSY);
  EXPECT_EQ(OpenFile(tree_.vdi("a"), O_RDWR | O_TRUNC).error(), EBUSY);
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB));
  EXPECT_BYTES(ReadAt(guest.get(), 0, kMiB), std::string(kMiB, 'x'));
}

TEST_F(SpaceTest, OpeningWithTruncEmptiesAnUnusedVdi) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(kMiB, 'x')), 0);
  const OpenFile file(tree_.vdi("a"), O_RDWR | O_TRUNC);
  ASSERT_TRUE(file.is_open()) << file.error();
  EXPECT_EQ(Size(), 0);
  EXPECT_EQ(DataBlocks(), 0);
}

// close(2) returns before the daemon hears of it; what needs the VDI to itself must wait for that.
TEST_F(SpaceTest, AVdiIsUnusedAsSoonAsItsLastUserHasClosedIt) {
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(8192, 'x')), 0);
    ASSERT_EQ(Truncate(tree_.vdi("a"), 4096), 0) << round;
    ASSERT_TRUE(OpenFile(tree_.vdi("a"), O_WRONLY | O_TRUNC).is_open()) << round;
    ASSERT_BYTES(ReadWhole(tree_.vdi("a")), "");
    ASSERT_EQ(unlink(tree_.vdi("a").c_str()), 0) << round << ": errno " << errno;
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 4096), 0);
  }
}

TEST_F(SpaceTest, SizesThatAreNoMultipleOfASectorOrTooLargeAreRefused) {
  EXPECT_EQ(Truncate(tree_.vdi("a"), 1000), EINVAL);
  EXPECT_EQ(Truncate(tree_.vdi("a"), 256 * 1024 * kGiB + 512), EFBIG);
  EXPECT_EQ(Size(), static_cast<off_t>(kMiB));
}

TEST_F(SpaceTest, TheTreeShowsTheSpaceOfTheStore) {
  const Outcome tree = RunProgram({"stat", "-f", "-c", "%b %S", tree_.mount()});
  const Outcome store = RunProgram({"stat", "-f", "-c", "%b %S", tree_.store()});
  EXPECT_EQ(tree.exit_status, 0) << tree.output;
  EXPECT_EQ(tree.output, store.output);
}

}  // namespace
}  // namespace quoin

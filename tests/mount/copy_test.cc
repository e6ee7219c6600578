// Copies: imports that keep holes, and clones that move no data.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

constexpr uint64_t kSlack = 512 * kKiB;  // databases and such that a new VDI brings

class CopyTest : public MountTest {
 protected:
  // A raw image outside of the tree: 64 MiB with data at both ends and in the middle.
  std::string MakeImage() const {
    const std::string path = tree_.folder() + "/disk.raw";
    EXPECT_EQ(CreateWithSize(path, 64 * kMiB), 0);
    EXPECT_EQ(WriteTo(path, 0, Pattern(1, kMiB)), 0);
    EXPECT_EQ(WriteTo(path, 30 * kMiB + 8192, Pattern(2, 64 * kKiB)), 0);
    EXPECT_EQ(WriteTo(path, 64 * kMiB - 4096, Pattern(3, 4096)), 0);
    return path;
  }
  static constexpr int64_t kImageStatBlocks = (kMiB + 64 * kKiB + 4096) / 512;

  void ExpectCopyOf(const std::string& image, const std::string& vdi) const {
    const Outcome same = RunProgram({"cmp", image, tree_.vdi(vdi)});
    EXPECT_EQ(same.exit_status, 0) << same.output;
    EXPECT_EQ(StatOf(tree_.vdi(vdi)).st_blocks, kImageStatBlocks);
  }

  // In as many calls as the kernel needs; each moves at most 4 GiB.
  static void CopyWithCopyFileRange(const std::string& from, const std::string& to) {
    const OpenFile source(from, O_RDONLY);
    const OpenFile target(to, O_RDWR | O_CREAT);
    const off_t size = StatOf(from).st_size;
    off_t at = 0;
    off_t put = 0;
    while (at < size) {
      ASSERT_GT(copy_file_range(source.get(), &at, target.get(), &put, 100 * kGiB, 0), 0) << errno;
    }
    EXPECT_EQ(copy_file_range(source.get(), &at, target.get(), &put, kGiB, 0), 0);
  }

  void Run(const std::vector<std::string>& words) const {
    const Outcome outcome = RunProgram(words);
    ASSERT_EQ(outcome.exit_status, 0) << words[0] << ": " << outcome.output;
  }
};

TEST_F(CopyTest, CpImportsAndKeepsHoles) {
  const std::string image = MakeImage();
  Run({"cp", image, tree_.vdi("a")});
  ExpectCopyOf(image, "a");
  Run({"cp", "--sparse=always", image, tree_.vdi("b")});
  ExpectCopyOf(image, "b");
}

TEST_F(CopyTest, CpOverAnExistingVdiReplacesItsContent) {
  const std::string image = MakeImage();
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 100 * kMiB), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 50 * kMiB, std::string(kMiB, 'x')), 0);
  Run({"cp", image, tree_.vdi("a")});
  ExpectCopyOf(image, "a");
}

TEST_F(CopyTest, QemuImgConvertImportsAndKeepsHoles) {
  const std::string image = MakeImage();
  Run({"qemu-img", "create", "-f", "raw", tree_.vdi("a"), "64M"});
  Run({"qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-t", "none", image, tree_.vdi("a")});
  ExpectCopyOf(image, "a");
  Run({"qemu-img", "convert", "-f", "raw", "-O", "raw", image, tree_.vdi("b")});
  ExpectCopyOf(image, "b");
}

TEST_F(CopyTest, DdImportsAndKeepsHoles) {
  const std::string image = MakeImage();
  Run({"dd", "if=" + image, "of=" + tree_.vdi("a"), "bs=64K", "conv=sparse", "status=none"});
  EXPECT_EQ(RunProgram({"cmp", image, tree_.vdi("a")}).exit_status, 0);
  Run({"dd", "if=" + image, "of=" + tree_.vdi("b"), "bs=1M", "oflag=direct", "status=none"});
  EXPECT_EQ(RunProgram({"cmp", image, tree_.vdi("b")}).exit_status, 0);
}

TEST_F(CopyTest, AFileOfAnOddSizeIsImportedUpToAWholeSector) {
  const std::string odd = tree_.folder() + "/odd";
  ASSERT_TRUE(OpenFile(odd, O_WRONLY | O_CREAT).is_open());
  ASSERT_EQ(WriteTo(odd, 0, Pattern(1, 10001)), 0);
  Run({"cp", odd, tree_.vdi("a")});
  EXPECT_BYTES(ReadWhole(tree_.vdi("a")), Pattern(1, 10001) + std::string(10240 - 10001, '\0'));
}

TEST_F(CopyTest, CpOfASnapshotIsACloneThatMovesNoData) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kGiB), 0);
  const std::string bytes = Pattern(1, 16 * kMiB);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 100 * kMiB, bytes), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 900 * kMiB, bytes), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "monday")), 0);
  const uint64_t before = tree_.StoreBytes();
  Run({"cp", tree_.snapshot("a", "monday"), tree_.vdi("b")});
  EXPECT_LT(tree_.StoreBytes(), before + kSlack);
  EXPECT_EQ(StatOf(tree_.vdi("b")).st_size, static_cast<off_t>(kGiB));
  EXPECT_EQ(StatOf(tree_.vdi("b")).st_blocks, static_cast<blkcnt_t>(32 * kMiB / 512));
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 100 * kMiB, bytes.size()), bytes);
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 900 * kMiB, bytes.size()), bytes);
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 0, 4096), std::string(4096, '\0'));
  // Each goes its own way from here.
  ASSERT_EQ(WriteTo(tree_.vdi("b"), 100 * kMiB, "clone"), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 900 * kMiB, "origin"), 0);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 100 * kMiB, 8), bytes.substr(0, 8));
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 900 * kMiB, 8), bytes.substr(0, 8));
  ASSERT_TRUE(tree_.Remount());
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 100 * kMiB, 5), "clone");
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 100 * kMiB + 5, 1000), bytes.substr(5, 1000));
  EXPECT_EQ(tree_.Quoin({"check"}).exit_status, 0);
}

// cp leaves out blocks of zeros even where the snapshot has them as data.
TEST_F(CopyTest, CpOfASnapshotWithZerosInItsDataIsACloneToo) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 64 * kMiB), 0);
  std::string bytes = Pattern(1, 16 * kMiB);
  for (size_t at = 0; at < bytes.size(); at += kMiB) bytes.replace(at, 12288, 12288, '\0');
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 8 * kMiB, Pattern(2, 16 * kMiB)), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 8 * kMiB, bytes), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  const uint64_t before = tree_.StoreBytes();
  Run({"cp", tree_.snapshot("a", "s"), tree_.vdi("b")});
  EXPECT_LT(tree_.StoreBytes(), before + kSlack);
  EXPECT_EQ(RunProgram({"cmp", tree_.snapshot("a", "s"), tree_.vdi("b")}).exit_status, 0);
}

TEST_F(CopyTest, ACopyThatIsChangedOnTheWayHoldsTheChanges) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 8 * kMiB), 0);
  std::string expected = Pattern(1, 8 * kMiB);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, expected), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  const OpenFile source(tree_.snapshot("a", "s"), O_RDONLY);
  const OpenFile target(tree_.vdi("b"), O_RDWR | O_CREAT);
  expected.replace(5 * kMiB + 700, 5, "other");
  for (size_t at = 0; at < expected.size(); at += 256 * kKiB) {
    ASSERT_EQ(WriteAt(target.get(), at, expected.substr(at, 256 * kKiB)), 0);
  }
  ASSERT_EQ(WriteAt(target.get(), 3 * kMiB + 1, "late"), 0);
  expected.replace(3 * kMiB + 1, 4, "late");
  EXPECT_BYTES(ReadAt(target.get(), 0, 9 * kMiB), expected);
  EXPECT_BYTES(ReadAt(source.get(), 0, 9 * kMiB), Pattern(1, 8 * kMiB));
  ASSERT_EQ(fsync(target.get()), 0);
  ASSERT_TRUE(tree_.Crash());
  ASSERT_TRUE(tree_.Mount());
  EXPECT_BYTES(ReadWhole(tree_.vdi("b")), expected);
  EXPECT_EQ(tree_.Quoin({"check"}).exit_status, 0);
}

// The kernel sends at most 4 GiB at once, and newer versions of cp one request per extent of data.
TEST_F(CopyTest, CpOfAnImageBeyondFourGibibytesIsACloneToo) {
  constexpr uint64_t kSize = 9 * kGiB;
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kSize), 0);
  const std::string bytes = Pattern(7, 2 * kMiB);
  for (const uint64_t offset : {uint64_t{0}, 4 * kGiB - kMiB, 8 * kGiB + 4096, kSize - 2 * kMiB}) {
    ASSERT_EQ(WriteTo(tree_.vdi("a"), offset, bytes), 0);
  }
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  const uint64_t before = tree_.StoreBytes();
  Run({"cp", tree_.snapshot("a", "s"), tree_.vdi("b")});
  CopyWithCopyFileRange(tree_.snapshot("a", "s"), tree_.vdi("c"));
  EXPECT_LT(tree_.StoreBytes(), before + 2 * kSlack);
  for (const char* const name : {"b", "c"}) {
    EXPECT_EQ(StatOf(tree_.vdi(name)).st_size, static_cast<off_t>(kSize));
    for (const uint64_t offset :
         {uint64_t{0}, 4 * kGiB - kMiB, 8 * kGiB + 4096, kSize - 2 * kMiB}) {
      EXPECT_BYTES(ReadFrom(tree_.vdi(name), offset, bytes.size()), bytes) << name << " " << offset;
    }
    EXPECT_BYTES(ReadFrom(tree_.vdi(name), 6 * kGiB, 4096), std::string(4096, '\0'));
  }
}

TEST_F(CopyTest, CopyFileRangeOfAWholeVdiToAnother) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 64 * kMiB), 0);
  const std::string bytes = Pattern(3, 8 * kMiB);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 16 * kMiB, bytes), 0);
  const uint64_t before = tree_.StoreBytes();
  CopyWithCopyFileRange(tree_.vdi("a"), tree_.vdi("b"));
  EXPECT_EQ(StatOf(tree_.vdi("b")).st_size, static_cast<off_t>(64 * kMiB));
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 16 * kMiB, bytes.size()), bytes);
  EXPECT_LT(tree_.StoreBytes(), before + kSlack);
}

TEST_F(CopyTest, CopyFileRangeToAnotherPlaceCopiesTheBytes) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  ASSERT_EQ(CreateWithSize(tree_.vdi("b"), kMiB), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, Pattern(1, 64 * kKiB)), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("b"), 0, Pattern(2, kMiB)), 0);
  const OpenFile source(tree_.vdi("a"), O_RDONLY);
  const OpenFile target(tree_.vdi("b"), O_RDWR);
  off_t from = 100;
  off_t to = 70001;
  size_t left = 30000;
  while (left > 0) {
    const ssize_t copied = copy_file_range(source.get(), &from, target.get(), &to, left, 0);
    ASSERT_GT(copied, 0) << errno;
    left -= static_cast<size_t>(copied);
  }
  std::string expected = Pattern(2, kMiB);
  expected.replace(70001, 30000, Pattern(1, 64 * kKiB).substr(100, 30000));
  EXPECT_BYTES(ReadAt(target.get(), 0, kMiB), expected);
}

TEST_F(CopyTest, ACloneOfAVdiThatIsBeingWrittenHoldsWhatWasThere) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 8 * kMiB), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  ASSERT_EQ(WriteAt(guest.get(), kMiB, Pattern(4, kMiB)), 0);
  Run({"cp", tree_.vdi("a"), tree_.vdi("b")});
  ASSERT_EQ(WriteAt(guest.get(), kMiB, "later"), 0);
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), kMiB, kMiB), Pattern(4, kMiB));
}

}  // namespace
}  // namespace quoin

// A store on a disk that runs full: the guest gets ENOSPC, nothing is harmed, and all goes on when
// there is room again.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

// A small ext4 on a loop device, mounted.
class SmallDisk {
 public:
  ~SmallDisk() {
    if (!mounted_) return;
    if (umount2(mount_.c_str(), 0) != 0) umount2(mount_.c_str(), MNT_DETACH);
  }

  ::testing::AssertionResult Start(const std::string& folder, uint64_t size_bytes) {
    const std::string image = folder + "/small.img";
    mount_ = folder + "/small";
    if (CreateWithSize(image, size_bytes) != 0) {
      return ::testing::AssertionFailure() << "cannot make " << image;
    }
    std::filesystem::create_directory(mount_);
    for (const auto& words : {std::vector<std::string>{"mkfs.ext4", "-q", "-m", "0", image},
                              std::vector<std::string>{"mount", "-o", "loop", image, mount_}}) {
      const Outcome outcome = RunProgram(words);
      if (outcome.exit_status != 0) {
        return ::testing::AssertionFailure() << words[0] << ": " << outcome.output;
      }
    }
    mounted_ = true;
    return ::testing::AssertionSuccess();
  }

  const std::string& path() const { return mount_; }

 private:
  std::string mount_;
  bool mounted_ = false;
};

class FullStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(disk_.Start(folder_.path(), 64 * kMiB));
    ASSERT_TRUE(tree_.Start(disk_.path() + "/store"));
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kGiB), 0);
    const OpenFile file(tree_.vdi("a"), O_WRONLY);
    ASSERT_EQ(WriteAt(file.get(), 0, Pattern(1, kMiB)), 0);
    ASSERT_EQ(fsync(file.get()), 0);
  }

  // Leaves no room; something beside the store that can be removed again.
  void Fill() const {
    const OpenFile ballast(Ballast(), O_WRONLY | O_CREAT);
    const std::string piece(kMiB, 'b');
    for (uint64_t at = 0; WriteAt(ballast.get(), at, piece) == 0;) at += kMiB;
    for (uint64_t at = kGiB; WriteAt(ballast.get(), at, std::string(4096, 'b')) == 0;) at += 4096;
    ASSERT_EQ(fsync(ballast.get()), 0);
  }
  void MakeRoom() const { ASSERT_EQ(unlink(Ballast().c_str()), 0); }
  std::string Ballast() const { return disk_.path() + "/ballast"; }

  // In this order: the tree goes first.
  TemporaryDirectory folder_;
  SmallDisk disk_;
  MountedStore tree_;
};

TEST_F(FullStoreTest, TheGuestGetsEnospcAndGoesOnWhenThereIsRoom) {
  const OpenFile guest(tree_.vdi("a"), O_RDWR | O_DIRECT);
  ASSERT_TRUE(guest.is_open());
  Fill();
  AlignedBuffer block(kMiB, 'n');
  int error = 0;
  for (uint64_t at = 100 * kMiB; error == 0 && at < 200 * kMiB; at += kMiB) {
    error = ErrnoOf([&] { return pwrite(guest.get(), block.data(), kMiB, static_cast<off_t>(at)); });
  }
  EXPECT_EQ(error, ENOSPC);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, kMiB), Pattern(1, kMiB));
  MakeRoom();
  EXPECT_EQ(pwrite(guest.get(), block.data(), kMiB, 300 * kMiB), static_cast<ssize_t>(kMiB));
  EXPECT_EQ(ErrnoOf([&] { return fsync(guest.get()); }), 0);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 300 * kMiB, kMiB), std::string(kMiB, 'n'));
}

TEST_F(FullStoreTest, WhatNeedsRoomIsRefusedAndNothingIsHarmed) {
  Fill();
  EXPECT_EQ(OpenFile(tree_.vdi("new"), O_WRONLY | O_CREAT).error(), ENOSPC);
  EXPECT_EQ(Touch(tree_.snapshot("a", "s")), ENOSPC);
  EXPECT_EQ(NamesIn(tree_.vdi("")), std::vector<std::string>{"a"});
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, kMiB), Pattern(1, kMiB));
  MakeRoom();
  EXPECT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  EXPECT_EQ(WriteTo(tree_.vdi("a"), 0, "changed"), 0);
  ASSERT_TRUE(tree_.Remount());
  EXPECT_BYTES(ReadFrom(tree_.snapshot("a", "s"), 0, kMiB), Pattern(1, kMiB));
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 7), "changed");
  EXPECT_EQ(tree_.Quoin({"check"}).exit_status, 0);
}

// Neither write nor close has reported an error, so nothing may be missing.
TEST_F(FullStoreTest, WhatWasWrittenAndClosedIsThereThoughTheStoreFilledUpBeforeTheClose) {
  {
    const OpenFile guest(tree_.vdi("a"), O_RDWR);
    ASSERT_EQ(WriteAt(guest.get(), 0, Pattern(2, kMiB)), 0);
    Fill();
  }
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, kMiB), Pattern(2, kMiB));
  MakeRoom();
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, kMiB), Pattern(2, kMiB));
  ASSERT_TRUE(tree_.Remount());
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, kMiB), Pattern(2, kMiB));
}

TEST_F(FullStoreTest, SealingAndImportingWaitForRoomAndLoseNothing) {
  const std::string image = folder_.path() + "/image.raw";
  ASSERT_EQ(CreateWithSize(image, 4 * kMiB), 0);
  ASSERT_EQ(WriteTo(image, 0, Pattern(5, 4 * kMiB)), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), kMiB, Pattern(3, 8 * kMiB)), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  Fill();
  for (const auto& words : {std::vector<std::string>{"seal", "a"},
                            std::vector<std::string>{"import", image, "b"}}) {
    const Outcome refused = tree_.Quoin(words);
    EXPECT_EQ(refused.exit_status, 1) << words[0];
    EXPECT_NE(refused.output.find("No space"), std::string::npos) << refused.output;
  }
  EXPECT_EQ(NamesIn(tree_.vdi("")), std::vector<std::string>{"a"});
  EXPECT_BYTES(ReadFrom(tree_.snapshot("a", "s"), kMiB, 8 * kMiB), Pattern(3, 8 * kMiB));
  MakeRoom();
  EXPECT_EQ(tree_.Quoin({"seal", "a"}).exit_status, 0);
  EXPECT_EQ(tree_.Quoin({"import", image, "b"}).exit_status, 0);
  EXPECT_BYTES(ReadFrom(tree_.snapshot("a", "s"), kMiB, 8 * kMiB), Pattern(3, 8 * kMiB));
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 0, 4 * kMiB), Pattern(5, 4 * kMiB));
  EXPECT_EQ(tree_.Quoin({"check"}).exit_status, 0);
}

// The one way out that a full store has: what is removed can be collected without any room.
TEST_F(FullStoreTest, ACollectionMakesRoomOnAFullStore) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), kMiB, Pattern(3, 8 * kMiB)), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  ASSERT_EQ(tree_.Quoin({"seal", "a"}).exit_status, 0);
  ASSERT_EQ(unlink(tree_.snapshot("a", "s").c_str()), 0);
  ASSERT_EQ(unlink(tree_.vdi("a").c_str()), 0);
  Fill();
  EXPECT_EQ(OpenFile(tree_.vdi("new"), O_WRONLY | O_CREAT).error(), ENOSPC);
  const Outcome collected = tree_.Quoin({"gc", "--grace", "0"});
  EXPECT_EQ(collected.exit_status, 0) << collected.output;
  EXPECT_EQ(CreateWithSize(tree_.vdi("new"), kMiB), 0);
  EXPECT_EQ(WriteTo(tree_.vdi("new"), 0, Pattern(6, kMiB)), 0);
  EXPECT_EQ(tree_.Quoin({"check"}).exit_status, 0);
}

}  // namespace
}  // namespace quoin

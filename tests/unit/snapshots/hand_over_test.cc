// A VDI that is open for writing at both ends of a migration.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

using std::chrono::seconds;

// `source_` and `target_` are daemons of two hosts; the source has `a` open for writing.
class HandOverTest : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    id_ = CreateWith("a", PatternOf(1, 4 * kBlockBytes));
    source_ = OpenDaemon(2);
    target_ = OpenDaemon(3);
    handle_ = OpenIn(*source_);
  }
  void TearDown() override {
    handle_ = VdiHandle();
    target_.reset();
    source_.reset();
  }

  std::unique_ptr<Store> OpenDaemon(uint8_t host) {
    StoreOptions options = TestOptions();
    options.announces_itself = true;
    options.ownership_wait = std::chrono::milliseconds(1500);
    Result<std::unique_ptr<Store>> opened = Store::Open(fs_, "/store", TestHost(host), options);
    EXPECT_OK(opened);
    return opened ? std::move(*opened) : nullptr;
  }
  VdiHandle OpenIn(Store& store) {
    Result<VdiHandle> handle = store.OpenVdi(id_, Access::kReadWrite);
    EXPECT_OK(handle);
    return handle ? std::move(*handle) : VdiHandle();
  }

  Status WriteAt(VdiHandle& handle, uint64_t block, int seed) {
    return handle->Write(block * kBlockBytes, AsBytes(PatternOf(seed, kBlockBytes)));
  }
  std::string Block(VdiHandle& handle, uint64_t block) {
    return Read(*handle, block * kBlockBytes, kBlockBytes);
  }

  Id id_;
  std::unique_ptr<Store> source_;
  std::unique_ptr<Store> target_;
  VdiHandle handle_;
};

TEST_F(HandOverTest, WithoutAGrantTheOwnerKeepsIt) {
  EXPECT_ERROR(kBusy, target_->OpenVdi(id_, Access::kReadWrite));
  EXPECT_OK(WriteAt(handle_, 0, 2));
}

TEST_F(HandOverTest, TheTargetHasEverythingThatWasWritten) {
  ASSERT_OK(WriteAt(handle_, 0, 2));  // not flushed
  ASSERT_OK(source_->GrantHandOver(id_, seconds(60)));
  ASSERT_OK(WriteAt(handle_, 1, 3));
  VdiHandle there = OpenIn(*target_);
  ASSERT_TRUE(there);
  EXPECT_EQ(Block(there, 0), PatternOf(2, kBlockBytes));
  EXPECT_EQ(Block(there, 1), PatternOf(3, kBlockBytes));
  ASSERT_OK(WriteAt(there, 2, 4));
  // The source reads on, and may write no more. Its flush has nothing left to do.
  EXPECT_EQ(Block(handle_, 0), PatternOf(2, kBlockBytes));
  EXPECT_ERROR(kLostOwnership, WriteAt(handle_, 2, 5));
  EXPECT_ERROR(kLostOwnership, handle_->Zero(0, kBlockBytes));
  EXPECT_OK(handle_->Flush());
  EXPECT_OK(handle_.Close());
  EXPECT_OK(there->Flush());
  EXPECT_EQ(Block(there, 2), PatternOf(4, kBlockBytes));
}

TEST_F(HandOverTest, ItIsGrantedFromAnyHost) {
  ASSERT_OK(target_->GrantHandOver(id_, seconds(60)));
  EXPECT_TRUE(OpenIn(*target_));
}

TEST_F(HandOverTest, AGrantIsForOneHandOver) {
  ASSERT_OK(source_->GrantHandOver(id_, seconds(60)));
  VdiHandle there = OpenIn(*target_);
  ASSERT_OK(handle_.Close());
  EXPECT_ERROR(kBusy, source_->OpenVdi(id_, Access::kReadWrite));
  ASSERT_OK(there.Close());
  EXPECT_TRUE(OpenIn(*source_));
}

TEST_F(HandOverTest, AGrantEnds) {
  ASSERT_OK(source_->GrantHandOver(id_, std::chrono::milliseconds(0)));
  EXPECT_ERROR(kBusy, target_->OpenVdi(id_, Access::kReadWrite));
}

TEST_F(HandOverTest, NobodyNeedsAGrantForWhatIsNotOpen) {
  ASSERT_OK(handle_.Close());
  EXPECT_ERROR(kInvalid, source_->GrantHandOver(id_, seconds(60)));
}

// The migration came to nothing: the target's program ended before it wrote.
TEST_F(HandOverTest, WhatNobodyChangedIsTakenBack) {
  ASSERT_OK(WriteAt(handle_, 0, 2));
  ASSERT_OK(source_->GrantHandOver(id_, seconds(60)));
  VdiHandle there = OpenIn(*target_);
  ASSERT_OK(there.Close());
  ASSERT_OK(WriteAt(handle_, 1, 3));
  ASSERT_OK(handle_->Flush());
  EXPECT_ERROR(kBusy, target_->OpenVdi(id_, Access::kReadWrite));
  ASSERT_OK(handle_.Close());
  EXPECT_EQ(Content(id_).substr(0, 2 * kBlockBytes),
            PatternOf(2, kBlockBytes) + PatternOf(3, kBlockBytes));
}

TEST_F(HandOverTest, WhatWasChangedIsNotTakenBack) {
  ASSERT_OK(source_->GrantHandOver(id_, seconds(60)));
  VdiHandle there = OpenIn(*target_);
  ASSERT_OK(WriteAt(there, 0, 7));
  ASSERT_OK(there.Close());
  EXPECT_ERROR(kLostOwnership, WriteAt(handle_, 1, 3));
  EXPECT_ERROR(kBusy, source_->OpenVdi(id_, Access::kReadWrite));
  ASSERT_OK(handle_.Close());
  VdiHandle again = OpenIn(*source_);
  EXPECT_EQ(Block(again, 0), PatternOf(7, kBlockBytes));
  EXPECT_EQ(Block(again, 1), PatternOf(1, 4 * kBlockBytes).substr(kBlockBytes, kBlockBytes));
}

// Every write that was answered as done is there, whatever was under way when writes were stopped. Each is of
// a block that the head did not have, so the next owner knows of it only if it was recorded.
TEST_F(HandOverTest, NoWriteThatWasAnsweredIsLost) {
  ASSERT_OK(source_->ResizeVdi(id_, uint64_t{1} << 40, false, false));
  ASSERT_OK(source_->GrantHandOver(id_, seconds(60)));
  int last = 0;
  Status refused;
  std::thread guest([&] {
    for (int number = 1; refused; ++number) {
      refused = WriteAt(handle_, 16 + static_cast<uint64_t>(number), number);
      if (refused) last = number;
    }
  });
  VdiHandle there = OpenIn(*target_);
  guest.join();
  EXPECT_ERROR(kLostOwnership, refused);
  ASSERT_TRUE(there);
  ASSERT_GE(last, 4);
  for (int number = 1; number <= last; ++number) {
    ASSERT_EQ(Block(there, 16 + static_cast<uint64_t>(number)), PatternOf(number, kBlockBytes))
        << number << " of " << last;
  }
}

TEST_F(HandOverTest, IfItCannotBeMadeDurableTheOwnerKeepsIt) {
  ASSERT_OK(WriteAt(handle_, 0, 2));
  ASSERT_OK(source_->GrantHandOver(id_, seconds(60)));
  // Full from when the owner records what was written, not before: the request takes room as well.
  std::atomic<bool> is_full{false};
  fs_.SetObserver([&](Call call, const std::string& path) {
    if (call != Call::kWrite || path.find(id_.ToString() + "/vdi.db") == std::string::npos) return;
    if (!is_full.exchange(true)) fs_.SetCapacity(fs_.used_bytes());
  });
  // Who writes meanwhile notices nothing. (What the head has already takes no room.)
  std::atomic<bool> is_over{false};
  Status written;
  std::thread guest([&] {
    while (written && !is_over) written = WriteAt(handle_, 0, 2);
  });
  EXPECT_ERROR(kBusy, target_->OpenVdi(id_, Access::kReadWrite));
  is_over = true;
  guest.join();
  EXPECT_OK(written);
  EXPECT_TRUE(is_full);
  fs_.SetObserver(nullptr);
  fs_.SetCapacity(uint64_t{1} << 40);
  EXPECT_OK(WriteAt(handle_, 0, 3));
  EXPECT_OK(handle_->Flush());
}

}  // namespace
}  // namespace quoin

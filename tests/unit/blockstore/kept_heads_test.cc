#include "blockstore/layers/kept_heads.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "blockstore/layers/ownership_set.h"

namespace quoin {
namespace {

constexpr uint64_t kFarBlock = 5 * KeptNode::kRegions * kRegionBlocks + 17;

class KeptHeadsTest : public ::testing::Test {
 protected:
  KeptHeadsTest() { Attach(); }
  ~KeptHeadsTest() override {
    heads_.reset();
    close(file_);
  }
  // As the next process does it.
  void Attach() {
    heads_.reset();
    auto attached = KeptHeads::Attach(file_);
    ASSERT_TRUE(attached) << attached.error().what;
    heads_ = std::move(*attached);
  }
  std::unique_ptr<OwnershipSet> MakeSet(uint32_t seq, bool is_live = true) {
    std::unique_ptr<KeptHead> kept = heads_->Make(vdi_, seq, std::to_string(seq) + "-1", 1 << 20);
    KeptHead* const raw = kept.get();
    auto set = std::make_unique<OwnershipSet>(std::move(kept));
    if (is_live) raw->MakeLive(7);
    return set;
  }
  std::unique_ptr<OwnershipSet> TakeOnly() {
    std::vector<std::unique_ptr<KeptHead>> left = heads_->TakeLeft(vdi_);
    EXPECT_EQ(left.size(), 1u);
    return left.empty() ? nullptr : std::make_unique<OwnershipSet>(std::move(left[0]));
  }

  const int file_ = memfd_create("heads", MFD_CLOEXEC);
  const Id vdi_ = Id::Random();
  std::unique_ptr<KeptHeads> heads_;
};

TEST_F(KeptHeadsTest, TheNextProcessFindsWhatALiveHeadOwned) {
  std::unique_ptr<OwnershipSet> set = MakeSet(3);
  set->Set(0, 10, BlockState::kData);
  set->Set(5, 1, BlockState::kZero);
  set->Set(kFarBlock, 2, BlockState::kData);
  set->Set(kRegionBlocks * 100, kRegionBlocks, BlockState::kZero);
  const std::string before = set->Encode();
  set->kept()->NoteSize(12345 * 512);
  set.reset();
  Attach();
  set = TakeOnly();
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->Encode(), before);
  EXPECT_EQ(set->data_blocks(), 11u);
  EXPECT_EQ(set->kept()->seq(), 3u);
  EXPECT_EQ(set->kept()->name(), "3-1");
  EXPECT_EQ(set->kept()->epoch(), 7u);
  EXPECT_EQ(set->kept()->size_bytes(), 12345u * 512);
  set->Set(kFarBlock + 1, 1, BlockState::kZero);
  EXPECT_EQ(set->StateOf(kFarBlock), BlockState::kData);
  EXPECT_EQ(set->StateOf(kFarBlock + 1), BlockState::kZero);
}

TEST_F(KeptHeadsTest, OnlyWhatWasNotRecordedIsDirtyAfterwards) {
  std::unique_ptr<OwnershipSet> set = MakeSet(1);
  set->Set(0, 1, BlockState::kData);
  set->Set(kRegionBlocks, 1, BlockState::kData);
  set->NoteRecorded(set->TakeDirty());
  set->Set(kRegionBlocks + 1, 1, BlockState::kData);
  set->Set(3 * kRegionBlocks, 1, BlockState::kData);
  const std::vector<RegionRecord> taken_but_not_recorded = set->TakeDirty();
  EXPECT_EQ(taken_but_not_recorded.size(), 2u);
  set.reset();
  Attach();
  set = TakeOnly();
  ASSERT_NE(set, nullptr);
  const std::vector<RegionRecord> dirty = set->TakeDirty();
  ASSERT_EQ(dirty.size(), 2u);
  EXPECT_EQ(dirty[0].region, 1u);
  EXPECT_EQ(dirty[1].region, 3u);
  EXPECT_EQ(dirty[0].runs, taken_but_not_recorded[0].runs);
}

TEST_F(KeptHeadsTest, AChangeAfterTheTakingIsStillToBeRecorded) {
  std::unique_ptr<OwnershipSet> set = MakeSet(1);
  set->Set(0, 1, BlockState::kData);
  const std::vector<RegionRecord> taken = set->TakeDirty();
  set->Set(1, 1, BlockState::kData);
  set->NoteRecorded(taken);
  set.reset();
  Attach();
  set = TakeOnly();
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->TakeDirty().size(), 1u);
}

TEST_F(KeptHeadsTest, AChangeThatWasCutShortCountsAsOne) {
  std::unique_ptr<OwnershipSet> set = MakeSet(1);
  set->Set(0, 1, BlockState::kData);
  set->NoteRecorded(set->TakeDirty());
  set->kept()->NodeAt(0)->regions[0].begun.fetch_add(1);  // and then the process died
  set.reset();
  Attach();
  set = TakeOnly();
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->TakeDirty().size(), 1u);
  set->Set(2, 1, BlockState::kData);
  const std::vector<RegionRecord> taken = set->TakeDirty();
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_TRUE(taken[0].changes.has_value()) << "what was cut short is not under way for ever";
}

TEST_F(KeptHeadsTest, WhatIsNotLiveIsGoneAndItsSlotIsEmptyForTheNext) {
  std::unique_ptr<OwnershipSet> spare = MakeSet(1, false);
  spare->Set(0, 4096, BlockState::kData);
  std::unique_ptr<OwnershipSet> dropped = MakeSet(2);
  dropped->Set(0, 4096, BlockState::kData);
  dropped->kept()->Drop();
  dropped.reset();
  spare.reset();
  EXPECT_TRUE(heads_->TakeLeft(vdi_).empty());
  Attach();
  EXPECT_TRUE(heads_->TakeLeft(vdi_).empty());
  for (uint32_t seq = 3; seq < 6; ++seq) {
    const std::unique_ptr<OwnershipSet> fresh = MakeSet(seq, false);
    EXPECT_TRUE(fresh->empty());
    EXPECT_FALSE(fresh->has_dirty());
  }
}

TEST_F(KeptHeadsTest, HeadsOfOneVdiComeOldestFirstAndEachOnce) {
  const std::unique_ptr<OwnershipSet> second = MakeSet(9);
  const std::unique_ptr<OwnershipSet> first = MakeSet(4);
  EXPECT_TRUE(heads_->TakeLeft(vdi_).empty()) << "this process has them";
  EXPECT_TRUE(heads_->TakeLeft(Id::Random()).empty());
}

TEST(KeptHeadsLayoutTest, AnotherLayoutIsRefused) {
  const int file = memfd_create("heads", MFD_CLOEXEC);
  EXPECT_TRUE(KeptHeads::CheckLayout(file)) << "a new one";
  ASSERT_EQ(pwrite(file, "quoin-heads-v99\n", 16, 0), 16);
  EXPECT_FALSE(KeptHeads::CheckLayout(file));
  const auto attached = KeptHeads::Attach(file);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, ErrorCode::kNewerFormat);
  close(file);
}

}  // namespace
}  // namespace quoin

// Finding copies of damaged blocks: through the index where the packs' digests are not gone through.
#include <gtest/gtest.h>

#include "snapshots/copy_finder.h"
#include "tests/support/result_matchers.h"
#include "tests/support/sample_packs.h"
#include "tests/support/temporary_directory.h"

namespace quoin {
namespace {

constexpr uint64_t kBlocks = 64;

class CopyFinderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    damaged_ = MakePack();
    copy_ = MakePack();
    ASSERT_OK_AND_ASSIGN(index_, DigestIndex::Open(folder_.path(), Id::Random(), 1 << 20));
    std::vector<uint32_t> slots;
    for (uint32_t slot = 0; slot < kBlocks; ++slot) slots.push_back(slot);
    index_->AddPack(copy_, digests_, slots);
    // Going through all packs would find every copy; it needs a list of them.
    Fault fault;
    fault.mode = FaultMode::kErrors;
    fault.only_call = Call::kList;
    sample_.file_system.Plan(fault);
  }

  Id MakePack() {
    PackAppender appender(sample_.store, SampleOptions("/tmp/" + std::to_string(packs_)));
    EXPECT_OK(sample_.file_system.MakeDirectory("/tmp/" + std::to_string(packs_++)));
    const Result<SlotLocation> first = AddSampleBlocks(appender, 0, kBlocks);
    EXPECT_OK(first);
    EXPECT_OK(appender.Finish());
    return first ? first->pack : Id();
  }

  uint64_t Found(DigestIndex* index) {
    CopyFinder finder(sample_.store, [index] { return index; });
    uint64_t found = 0;
    for (uint32_t slot = 0; slot < kBlocks; ++slot) {
      const std::vector<SlotLocation> copies = finder.Find(digests_[slot], {damaged_, slot});
      if (copies.empty()) continue;
      EXPECT_EQ(copies, (std::vector<SlotLocation>{{copy_, slot}}));
      ++found;
    }
    return found;
  }

  SamplePackStore sample_;
  TemporaryDirectory folder_;
  int packs_ = 0;
  const std::vector<Digest> digests_ = DigestsOfBlocks(SampleBlocks(0, kBlocks));
  Id damaged_;
  Id copy_;
  std::unique_ptr<DigestIndex> index_;
};

TEST_F(CopyFinderTest, TheIndexLeadsToCopiesOfSampledBlocksAndOfTheirNeighbours) {
  EXPECT_EQ(Found(index_.get()), kBlocks);
}

TEST_F(CopyFinderTest, WithoutIndexAndListNothingIsFound) { EXPECT_EQ(Found(nullptr), 0u); }

TEST_F(CopyFinderTest, WithAListAllPacksAreSearched) {
  sample_.file_system.ClearFaults();
  EXPECT_EQ(Found(nullptr), kBlocks);
}

}  // namespace
}  // namespace quoin

// Copies in pieces that share layers instead of moving bytes: what the target shows is what was
// copied to it and nothing else of the origin.
#include <gtest/gtest.h>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class CopyRangeTest : public StoreWorld {
 protected:
  uint64_t Copy(const Store::CopySource& source, VdiHandle& target, uint64_t first_block,
                uint64_t blocks) {
    const Result<uint64_t> copied = store_->CopyRange(source, first_block * kBlockBytes, target,
                                                      first_block * kBlockBytes,
                                                      blocks * kBlockBytes);
    EXPECT_OK(copied);
    return copied.value_or(0) / kBlockBytes;
  }

  const std::string origin_ = PatternOf(1, 8 * kBlockBytes);
};

TEST_F(CopyRangeTest, ACopyBehindHolesOfTheTargetLeavesThemHoles) {
  const Id a = CreateWith("a", origin_);
  const Store::CopySource source{a, Snapshot("a", "s")};
  const Id b = Create("b", 2);
  VdiHandle target = OpenVdi(b);
  EXPECT_EQ(Copy(source, target, 2, 6), 6u);
  const std::string expected =
      std::string(2 * kBlockBytes, '\0') + origin_.substr(2 * kBlockBytes);
  EXPECT_EQ(Read(*target, 0, origin_.size()), expected);
  EXPECT_EQ(target->data_blocks(), 6u);
  ASSERT_OK(target.Close());
  EXPECT_EQ(Content(b), expected);
}

// The origin's layers lie below the target as soon as the row is committed; if they cannot be opened
// then, nothing of them may show.
TEST_F(CopyRangeTest, ACopyThatCannotOpenItsLayersLeavesTheTargetAsItWas) {
  const Id a = CreateWith("a", origin_);
  const Store::CopySource source{a, Snapshot("a", "s")};
  const Id b = Create("b", 0);
  VdiHandle target = OpenVdi(b);
  const std::string folder = "/store/vdis/" + b.ToString() + "/layers/";
  for (const Call call : {Call::kFacts, Call::kOpen, Call::kRead}) {
    fs_.Plan({.mode = FaultMode::kErrors, .only_call = call, .only_path_part = folder});
    const Result<uint64_t> copied = store_->CopyRange(source, 0, target, 0, 4 * kBlockBytes);
    fs_.ClearFaults();
    if (copied) continue;
    ASSERT_OK(target->Write(7 * kBlockBytes, AsBytes(PatternOf(3, kBlockBytes))));
    ASSERT_OK(target->Flush());
    ASSERT_OK(target.Close());
    EXPECT_EQ(Content(b), std::string(7 * kBlockBytes, '\0') + PatternOf(3, kBlockBytes));
    return;
  }
  FAIL() << "no call that could fail was made in the target's folder";
}

TEST_F(CopyRangeTest, PiecesWithHolesBetweenThemShareAllAndAWriteEndsThat) {
  const Id a = Create("a", 16);
  {
    VdiHandle handle = OpenVdi(a);
    ASSERT_OK(handle->Write(0, AsBytes(PatternOf(1, 2 * kBlockBytes))));
    ASSERT_OK(handle->Write(6 * kBlockBytes, AsBytes(PatternOf(2, 2 * kBlockBytes))));
    ASSERT_OK(handle->Write(12 * kBlockBytes, AsBytes(PatternOf(3, 2 * kBlockBytes))));
  }
  const Store::CopySource source{a, Snapshot("a", "s")};
  const Id b = Create("b", 0);
  VdiHandle target = OpenVdi(b);
  EXPECT_EQ(Copy(source, target, 0, 2), 2u);
  EXPECT_EQ(Copy(source, target, 6, 2), 2u);
  EXPECT_EQ(target->data_blocks(), 4u);
  ASSERT_OK_AND_ASSIGN(VdiInfo info, store_->Describe(b));
  EXPECT_EQ(info.unique_blocks, 0u);
  // What was not copied is not the target's, not even after it has grown over it.
  ASSERT_OK(target->Write(14 * kBlockBytes, AsBytes(PatternOf(4, kBlockBytes))));
  EXPECT_EQ(Read(*target, 12 * kBlockBytes, 2 * kBlockBytes), std::string(2 * kBlockBytes, '\0'));
  EXPECT_EQ(Read(*target, 6 * kBlockBytes, 2 * kBlockBytes), PatternOf(2, 2 * kBlockBytes));
  EXPECT_EQ(target->data_blocks(), 5u);
  EXPECT_EQ(Copy(source, target, 15, 1), 1u);
  ASSERT_OK(target.Close());
  ASSERT_OK_AND_ASSIGN(info, store_->Describe(b));
  EXPECT_EQ(info.data_blocks, 5u);
}

}  // namespace
}  // namespace quoin

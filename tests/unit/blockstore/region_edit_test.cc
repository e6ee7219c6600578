#include "blockstore/maps/region_edit.h"

#include <gtest/gtest.h>

#include <random>
#include <span>
#include <vector>

#include "blockstore/maps/content_digest.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

using Extents = std::vector<MapExtent>;
using BlockDigests = std::span<const Digest, kRegionBlocks>;

TEST(RegionEditTest, ANewOneIsAllHole) {
  const RegionEdit edit;
  EXPECT_TRUE(edit.Extents().empty());
  EXPECT_TRUE(edit.SlotOf(0).IsNull());
  const std::vector<Digest> digests(kRegionBlocks);
  EXPECT_TRUE(edit.Build(BlockDigests(digests)).digest.IsNull());
}

TEST(RegionEditTest, RunsLieOverTheBase) {
  RegionEdit edit(Extents{{10, 100, {TestPack(1), 500}}});
  edit.SetData(50, 10, {TestPack(2), 7});
  edit.SetHole(100, 5);
  EXPECT_EQ(edit.Extents(), (Extents{{10, 40, {TestPack(1), 500}},
                                     {50, 10, {TestPack(2), 7}},
                                     {60, 40, {TestPack(1), 550}},
                                     {105, 5, {TestPack(1), 595}}}));
  EXPECT_EQ(edit.SlotOf(55), (SlotLocation{TestPack(2), 12}));
  EXPECT_TRUE(edit.SlotOf(104).IsNull());
}

TEST(RegionEditTest, NeighboursThatContinueEachOtherAreOneExtent) {
  RegionEdit edit;
  edit.SetData(20, 10, {TestPack(1), 120});
  edit.SetData(0, 10, {TestPack(1), 100});
  edit.SetData(10, 10, {TestPack(1), 110});
  edit.SetData(30, 10, {TestPack(1), 131});  // a slot left out
  edit.SetData(40, 10, {TestPack(2), 141});  // another pack
  EXPECT_EQ(edit.Extents(), (Extents{{0, 30, {TestPack(1), 100}},
                                     {30, 10, {TestPack(1), 131}},
                                     {40, 10, {TestPack(2), 141}}}));
}

TEST(RegionEditTest, ExtentsDoNotWrapAroundAtTheLastSlot) {
  RegionEdit edit;
  edit.SetData(0, 1, {TestPack(1), 0xffff'ffff});
  edit.SetData(1, 1, {TestPack(1), 0});
  EXPECT_EQ(edit.Extents().size(), 2u);
}

TEST(RegionEditTest, AWholeRegionIsOneExtent) {
  RegionEdit edit;
  edit.SetData(0, kRegionBlocks, {TestPack(1), 3});
  EXPECT_EQ(edit.Extents(), (Extents{{0, kRegionBlocks, {TestPack(1), 3}}}));
  edit.SetHole(0, kRegionBlocks);
  EXPECT_TRUE(edit.Extents().empty());
}

TEST(RegionEditTest, MorePacksThanThereAreNumbersArePossibleInTurn) {
  RegionEdit edit;
  constexpr uint32_t kPacks = 150'000;
  for (uint32_t i = 0; i < kPacks; ++i) edit.SetData(i % kRegionBlocks, 1, {TestPack(i), i});
  for (uint32_t i = kPacks - kRegionBlocks; i < kPacks; ++i) {
    ASSERT_EQ(edit.SlotOf(i % kRegionBlocks), (SlotLocation{TestPack(i), i}));
  }
}

TEST(RegionEditTest, BuildTakesDigestsEitherWay) {
  RegionEdit edit;
  edit.SetData(5, 3, {TestPack(1), 0});
  edit.SetData(4'095, 1, {TestPack(1), 9});
  std::vector<Digest> digests;
  for (uint64_t i = 0; i < kRegionBlocks; ++i) digests.push_back(TestBlockDigest(i));
  std::vector<uint32_t> asked;
  ASSERT_OK_AND_ASSIGN(const RegionNode node, edit.Build([&](uint32_t block) -> Result<Digest> {
    asked.push_back(block);
    return TestBlockDigest(block);
  }));
  EXPECT_EQ(asked, (std::vector<uint32_t>{5, 6, 7, 4'095}));
  EXPECT_EQ(node, edit.Build(BlockDigests(digests)));
  EXPECT_EQ(node.extents, edit.Extents());
  EXPECT_FALSE(node.digest.IsNull());
  EXPECT_ERROR(kIo, edit.Build([](uint32_t) -> Result<Digest> {
    return Fail(ErrorCode::kIo, "cannot read a block");
  }));
}

TEST(RegionEditDeathTest, WhatDoesNotFitAborts) {
  RegionEdit edit;
  EXPECT_DEATH(edit.SetData(4'096, 1, {TestPack(1), 0}), "");
  EXPECT_DEATH(edit.SetData(1, 4'096, {TestPack(1), 0}), "");
  EXPECT_DEATH(edit.SetData(0, 2, {TestPack(1), 0xffff'ffff}), "");
  EXPECT_DEATH(edit.SetData(0, 1, {}), "");
  EXPECT_DEATH(edit.SetHole(4'000, 97), "");
}

TEST(RegionEditTest, RandomEditsAgreeWithAPlainArray) {
  std::mt19937_64 random(DrawSeed());
  for (int round = 0; round < 20; ++round) {
    RegionEdit edit;
    ReferenceMap reference;
    for (int i = 0; i < 100; ++i) {
      const auto first = static_cast<uint32_t>(random() % kRegionBlocks);
      const auto count = static_cast<uint32_t>(1 + random() % (kRegionBlocks - first));
      if (random() % 4 == 0) {
        edit.SetHole(first, count);
        reference.SetHole(first, count);
        continue;
      }
      const SlotLocation slot{TestPack(static_cast<uint32_t>(random() % 3)),
                              first + static_cast<uint32_t>(random() % 2)};
      edit.SetData(first, count, slot);
      for (uint32_t n = 0; n < count; ++n) {
        reference.SetData(first + n, 1, {slot.pack, slot.slot + n});
      }
    }
    ASSERT_EQ(edit.Extents(), reference.NodeOf(0).extents);
    ASSERT_EQ(RegionEdit(edit.Extents()).Extents(), edit.Extents());
  }
}

}  // namespace
}  // namespace quoin

#include "blockstore/maps/map_builder.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>
#include <vector>

#include "blockstore/maps/map_walk.h"
#include "blockstore/maps/region_edit.h"
#include "tests/support/memory_records.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

class MapBuilderTest : public ::testing::Test {
 protected:
  using Steps = std::function<void(MapBuilder&)>;

  // The base with these steps taken; what was written is in written_.
  MapRoot Build(const MapRoot& base, const Steps& steps, uint64_t keep_blocks = kMaxVdiBlocks) {
    const auto root = TryBuild(base, steps, keep_blocks);
    EXPECT_OK(root);
    return root.value_or(MapRoot());
  }
  Result<MapRoot> TryBuild(const MapRoot& base, const Steps& steps, uint64_t keep_blocks) {
    QUOIN_ASSIGN(const auto map, Map::Open(records_, cache_, base));
    records_.TakeWritten();
    MapBuilder builder(*map, records_, keep_blocks);
    steps(builder);
    Result<MapRoot> root = builder.Finish();
    written_ = records_.TakeWritten();
    EXPECT_EQ(builder.nodes_written(), written_.size());
    return root;
  }

  // `blocks` blocks from the region's start, which hold `content` and the numbers after it.
  static RegionNode Region(uint64_t content, uint32_t slot, uint32_t blocks = 10) {
    RegionEdit edit;
    if (blocks > 0) edit.SetData(0, blocks, {TestPack(1), slot});
    return *edit.Build(
        [&](uint32_t block) -> Result<Digest> { return TestBlockDigest(content + block); });
  }
  static Steps Set(std::vector<std::pair<uint64_t, RegionNode>> regions) {
    return [regions = std::move(regions)](MapBuilder& builder) {
      for (const auto& [region, node] : regions) ASSERT_OK(builder.SetRegion(region, node));
    };
  }
  static void Nothing(MapBuilder&) {}

  MapRun RunAt(const MapRoot& root, uint64_t block) {
    const auto map = Map::Open(records_, cache_, root);
    return (*map)->FindRun(block, 1).value_or(MapRun());
  }

  MemoryRecords records_;
  NodeCache cache_{size_t{16} << 20};
  std::vector<SlotLocation> written_;
};

TEST_F(MapBuilderTest, NothingOnNothingIsTheEmptyMap) {
  EXPECT_EQ(Build({}, Nothing), MapRoot());
  EXPECT_EQ(Build({}, Set({{5, {}}, {kMaxVdiRegions - 1, {}}})), MapRoot());
  EXPECT_TRUE(written_.empty());
}

TEST_F(MapBuilderTest, TheFirstRegionAloneIsTheRoot) {
  const RegionNode region = Region(1, 0);
  const MapRoot root = Build({}, Set({{0, region}}));
  EXPECT_EQ(written_.size(), 1u);
  EXPECT_EQ(root, (MapRoot{written_[0], 0, region.digest, 10}));
}

TEST_F(MapBuilderTest, TheRootIsAsHighAsTheLastRegionNeeds) {
  for (const auto& [region, height] :
       std::vector<std::pair<uint64_t, unsigned>>{{1, 1},
                                                  {15, 1},
                                                  {16, 2},
                                                  {255, 2},
                                                  {256, 3},
                                                  {kMaxVdiRegions / 16, 6},
                                                  {kMaxVdiRegions - 1, 6}}) {
    const MapRoot root = Build({}, Set({{region, Region(1, 0)}}));
    EXPECT_EQ(root.height, height) << region;
    EXPECT_EQ(written_.size(), height + 1) << region;
    EXPECT_EQ(written_.back(), root.location);
    EXPECT_TRUE(RunAt(root, region * kRegionBlocks).data);
  }
}

TEST_F(MapBuilderTest, WhatIsTouchedIsWrittenAndTheRestIsShared) {
  std::vector<std::pair<uint64_t, RegionNode>> all;
  for (uint64_t i = 0; i < 600; ++i) all.push_back({i, Region(100 * i + 1, 0)});
  const MapRoot base = Build({}, Set(all));
  EXPECT_EQ(base.height, 3);
  EXPECT_EQ(written_.size(), 600u + 38 + 3 + 1);
  const MapRoot changed = Build(base, Set({{300, Region(7, 7)}, {301, Region(8, 8)}}));
  EXPECT_EQ(written_.size(), 2u + 3);  // two leaves, and one path above both
  EXPECT_NE(changed.digest, base.digest);
  EXPECT_EQ(changed.data_blocks, base.data_blocks);
  const MapRoot back = Build(changed, Set({{300, all[300].second}, {301, all[301].second}}));
  EXPECT_EQ(back.digest, base.digest);
}

TEST_F(MapBuilderTest, TheSameContentInTheSameSlotsIsTheSameNode) {
  const MapRoot base = Build({}, Set({{0, Region(1, 0)}, {500, Region(2, 50)}}));
  EXPECT_EQ(Build(base, Nothing), base);
  EXPECT_EQ(Build(base, Set({{0, Region(1, 0)}, {3, {}}, {500, Region(2, 50)}})), base);
  EXPECT_TRUE(written_.empty());
}

TEST_F(MapBuilderTest, TheSameContentInOtherSlotsHasTheSameDigest) {
  const MapRoot base = Build({}, Set({{0, Region(1, 0)}, {500, Region(2, 50)}}));
  const MapRoot moved = Build(base, Set({{500, Region(2, 90)}}));
  EXPECT_FALSE(written_.empty());
  EXPECT_NE(moved.location, base.location);
  EXPECT_EQ(moved.digest, base.digest);
  EXPECT_EQ(RunAt(moved, 500 * kRegionBlocks).first.slot, 90u);
}

TEST_F(MapBuilderTest, GrowthPutsLevelsOnTopAndKeepsWhatIsBelow) {
  const MapRoot low = Build({}, Set({{0, Region(1, 0)}, {3, Region(2, 0)}}));
  const MapRoot high = Build(low, Set({{5'000, Region(3, 0)}}));
  EXPECT_EQ(low.height, 1);
  EXPECT_EQ(high.height, 4);
  // A path of four for the new region, two nodes between the old root and the new one, the new
  // root.
  EXPECT_EQ(written_.size(), 4u + 2 + 1);
  EXPECT_EQ(RunAt(high, 3 * kRegionBlocks), RunAt(low, 3 * kRegionBlocks));
}

TEST_F(MapBuilderTest, ShrinkingTakesTheLevelsOffAgain) {
  const MapRoot low = Build({}, Set({{0, Region(1, 0)}, {3, Region(2, 0)}}));
  const MapRoot high = Build(low, Set({{5'000, Region(3, 0)}}));
  EXPECT_EQ(Build(high, Nothing, 4 * kRegionBlocks), low);
  EXPECT_TRUE(written_.empty());
  EXPECT_EQ(Build(high, Set({{5'000, {}}})), low);
  EXPECT_TRUE(written_.empty());
  const MapRoot first = Build(high, Nothing, kRegionBlocks);
  EXPECT_EQ(first.height, 0);
  EXPECT_EQ(first.digest, Region(1, 0).digest);
  EXPECT_EQ(Build(high, Nothing, 0), MapRoot());
  EXPECT_EQ(Build(high, Set({{0, {}}, {3, {}}, {5'000, {}}})), MapRoot());
}

TEST_F(MapBuilderTest, ACutThroughARegionNeedsItsNewContent) {
  const MapRoot base = Build({}, Set({{0, Region(1, 0)}, {1, Region(2, 20)}, {2, Region(3, 40)}}));
  EXPECT_EQ(Build(base, Nothing, kRegionBlocks + 10).data_blocks, 20u);  // nothing beyond
  EXPECT_ERROR(kInvalid, TryBuild(base, Nothing, kRegionBlocks + 9));
  const MapRoot cut = Build(base, Set({{1, Region(2, 20, 9)}}), kRegionBlocks + 9);
  EXPECT_EQ(cut.data_blocks, 19u);
  EXPECT_EQ(cut, Build(cut, Nothing, kRegionBlocks + 9));
  EXPECT_EQ(Build(base, Set({{1, {}}}), kRegionBlocks + 1).data_blocks, 10u);
}

TEST_F(MapBuilderTest, ACutOfTheLargestDiskReadsOnePath) {
  std::vector<std::pair<uint64_t, RegionNode>> all;
  for (uint64_t i = 0; i < 300; ++i) {
    all.push_back({i * (kMaxVdiRegions / 300), Region(100 * i + 1, 0)});
  }
  const MapRoot base = Build({}, Set(all));
  NodeCache none(0);
  ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, none, base));
  const uint64_t reads = records_.reads();
  MapBuilder builder(*map, records_, all[7].first * kRegionBlocks);
  ASSERT_OK_AND_ASSIGN(const MapRoot cut, builder.Finish());
  EXPECT_EQ(cut.data_blocks, 70u);
  EXPECT_LE(records_.reads() - reads, 2u * kMaxMapHeight);
  EXPECT_LE(builder.nodes_written(), kMaxMapHeight);
}

TEST_F(MapBuilderTest, AFullStorageIsPassedOn) {
  ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, cache_, MapRoot()));
  records_.FillUpAfter(1);
  MapBuilder builder(*map, records_);
  EXPECT_OK(builder.SetRegion(0, Region(1, 0)));
  EXPECT_ERROR(kNoSpace, builder.SetRegion(1, Region(1, 0)));
  MapBuilder other(*map, records_);
  records_.FillUpAfter(2);
  EXPECT_OK(other.SetRegion(0, Region(1, 0)));
  EXPECT_OK(other.SetRegion(1, Region(1, 0)));
  EXPECT_ERROR(kNoSpace, other.Finish());
}

using MapBuilderDeathTest = MapBuilderTest;

TEST_F(MapBuilderDeathTest, RegionsOutOfOrderOrBeyondTheEndAbort) {
  ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, cache_, MapRoot()));
  const auto set = [&](uint64_t region, uint32_t blocks) {
    MapBuilder builder(*map, records_, 5 * kRegionBlocks + 9);
    (void)builder.SetRegion(2, Region(1, 0));
    (void)builder.SetRegion(region, Region(1, 0, blocks));
  };
  set(5, 9);
  EXPECT_DEATH(set(2, 1), "");
  EXPECT_DEATH(set(1, 1), "");
  EXPECT_DEATH(set(5, 10), "");
  EXPECT_DEATH(set(6, 0), "");
}

// Every node that a build writes is part of the new map: none is made in vain.
TEST_F(MapBuilderTest, RandomBuildsWriteOnlyWhatTheirMapReaches) {
  class Nodes : public MapVisitor {
   public:
    Result<bool> VisitNode(const SlotLocation& at) override { return seen.insert(at).second; }
    Status VisitBase(const SlotLocation&) override { return {}; }
    Status VisitExtent(const SlotLocation&, uint64_t) override { return {}; }
    std::set<SlotLocation> seen;
  };
  std::mt19937_64 random(DrawSeed());
  MapRoot root;
  for (int round = 0; round < 300; ++round) {
    std::vector<std::pair<uint64_t, RegionNode>> regions;
    const uint64_t stride = uint64_t{1} << random() % 20;
    uint64_t region = random() % 4;
    for (uint64_t n = random() % 10; n > 0 && region < kMaxVdiRegions; --n) {
      const bool empty = random() % 3 == 0;
      regions.push_back({region, empty ? RegionNode() : Region(random() % 4 + 1, 0)});
      region += 1 + random() % stride;
    }
    const uint64_t keep = random() % 4 == 0 ? region + 1 : kMaxVdiRegions;
    root = Build(root, Set(regions), keep * kRegionBlocks);
    Nodes nodes;
    ASSERT_OK(VisitReachable(records_, root, nodes));
    for (const SlotLocation& at : written_) ASSERT_TRUE(nodes.seen.contains(at)) << round;
  }
}

TEST_F(MapBuilderTest, ALargeMapIsBuiltInTheMemoryOfOnePath) {
  // The builder's own size is all that it keeps, so a stream of any length needs no more.
  EXPECT_LT(sizeof(MapBuilder), 64u << 10);
  NodeCache none(0);
  ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, none, MapRoot()));
  MapBuilder builder(*map, records_);
  const RegionNode region = Region(1, 0);
  for (uint64_t i = 0; i < 20'000; ++i) ASSERT_OK(builder.SetRegion(i, region));
  // All but the path that is open has been written by now.
  EXPECT_GE(builder.nodes_written(), 20'000u + 1'249 + 77 + 4);
  EXPECT_EQ(records_.reads(), 0u);
  ASSERT_OK_AND_ASSIGN(const MapRoot root, builder.Finish());
  EXPECT_EQ(root.data_blocks, 200'000u);
}

}  // namespace
}  // namespace quoin

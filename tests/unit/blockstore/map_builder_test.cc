#include "blockstore/maps/map_builder.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>
#include <vector>

#include "blockstore/maps/map_walk.h"
#include "blockstore/maps/region_change.h"
#include "blockstore/maps/region_edit.h"
#include "tests/support/memory_records.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"
#include "tests/support/scattered_region.h"
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

// --- nodes as changes to earlier ones -----------------------------------------------------------

class ChangedRegionTest : public MapBuilderTest {
 protected:
  MapRoot SetVersion(const MapRoot& base, const RegionEdit& edit, uint64_t content) {
    return Build(base, Set({{0, VersionOf(edit, content)}}));
  }
  bool IsChange(const MapRoot& root) { return IsRegionChange(BytesAt(root.location)); }
  std::string BytesAt(const SlotLocation& at) {
    const auto record = records_.ReadRecord(RecordKind::kMapNode, at);
    return record ? **record : "";
  }
  // As whoever opens the map later reads it.
  std::shared_ptr<const MapNode> ReadAnew(const MapRoot& root) {
    const auto node = ReadMapNode(records_, ChildOfRoot(root), root.height);
    EXPECT_OK(node);
    return node.value_or(nullptr);
  }
};

TEST_F(ChangedRegionTest, AFewChangesAmongManyExtentsAreWrittenAsChanges) {
  RegionEdit edit = ScatteredRegion();
  const MapRoot base = SetVersion({}, edit, 1);
  EXPECT_FALSE(IsChange(base));
  edit.SetData(100, 1, {TestPack(2), 5});
  edit.SetHole(200, 2);
  const MapRoot changed = SetVersion(base, edit, 2);
  EXPECT_TRUE(IsChange(changed));
  EXPECT_LT(BytesAt(changed.location).size(), 120u);
  const auto node = ReadAnew(changed);
  EXPECT_EQ(*node->region(), VersionOf(edit, 2));
  EXPECT_EQ(node->chain(), (RegionChain{1, {base.location}}));
  EXPECT_EQ(changed.data_blocks, kRegionBlocks - 2);
}

TEST_F(ChangedRegionTest, ASmallRegionStaysWhole) {
  for (uint32_t blocks = 1; blocks < 25; ++blocks) {
    RegionEdit edit = ScatteredRegion(1, blocks);
    const MapRoot base = SetVersion({}, edit, 1);
    edit.SetHole(0, 1);
    edit.SetData(blocks, 1, {TestPack(1), 7'000});
    EXPECT_FALSE(IsChange(SetVersion(base, edit, 2))) << blocks;
  }
}

TEST_F(ChangedRegionTest, ChangesThatTakeMoreThanHalfAreWrittenWhole) {
  bool was_change = true;
  size_t wholes = 0;
  for (uint32_t blocks = 1'000; blocks < 3'000; blocks += 11) {
    RegionEdit edit = ScatteredRegion();
    const MapRoot base = SetVersion({}, edit, 1);
    for (uint32_t n = 0; n < blocks; ++n) edit.SetData(n, 1, {TestPack(1), 2 * n + 1});
    const RegionNode result = VersionOf(edit, 2);
    const MapRoot root = Build(base, Set({{0, result}}));
    const RegionChange change{.digest = result.digest,
                              .result_checksum = RegionChecksum(result),
                              .position = 1,
                              .base = base.location,
                              .runs = DifferenceOf(ScatteredRegion().Extents(), result.extents)};
    const bool is_small = 2 * EncodeRegionChange(change).size() <= EncodeRegionNode(result).size();
    ASSERT_EQ(IsChange(root), is_small) << blocks;
    ASSERT_TRUE(was_change || !is_small) << blocks;
    was_change = is_small;
    if (!is_small && ++wholes == 3) break;
  }
  EXPECT_EQ(wholes, 3u);
}

TEST_F(ChangedRegionTest, ABackAndForthIsAChangeWithoutRuns) {
  RegionEdit edit = ScatteredRegion();
  const RegionEdit first = edit;
  MapRoot root = SetVersion({}, edit, 1);
  const MapRoot base = root;
  edit.SetHole(7, 1);
  root = SetVersion(root, edit, 2);
  root = SetVersion(root, first, 1);
  EXPECT_EQ(root.digest, base.digest);
  EXPECT_EQ(BytesAt(root.location).size(), kMinRegionChangeBytes);
  EXPECT_EQ(*ReadAnew(root)->region(), VersionOf(first, 1));
}

TEST_F(ChangedRegionTest, PositionsRiseToTheirBoundAndBeginAnew) {
  RegionEdit edit = ScatteredRegion(1, 300);
  MapRoot root = SetVersion({}, edit, 1);
  std::vector<SlotLocation> places = {root.location};
  uint64_t bytes = 0;
  for (uint32_t version = 1; version <= kMaxChainPosition + 2; ++version) {
    edit.SetData(5, 1, {TestPack(2), version});
    root = SetVersion(root, edit, version + 1);
    bytes += BytesAt(root.location).size();
    const auto node = ReadAnew(root);
    ASSERT_EQ(node->region()->extents, edit.Extents()) << version;
    const uint32_t position = version % (kMaxChainPosition + 1);
    ASSERT_EQ(node->chain().position, position) << version;
    if (position == 0) places.clear();
    std::vector<SlotLocation> bases;
    for (uint32_t at = position; at != 0;) {
      at = BasePosition(at);
      bases.push_back(places[at]);
    }
    ASSERT_EQ(node->chain().bases, bases) << version;
    places.push_back(root.location);
  }
  EXPECT_LT(bytes / kMaxChainPosition, 150u);
}

TEST_F(ChangedRegionTest, TwoMapsMayBuildOnOneNode) {
  RegionEdit edit = ScatteredRegion();
  MapRoot base = SetVersion({}, edit, 1);
  for (uint32_t version = 1; version <= 5; ++version) {
    edit.SetData(version, 1, {TestPack(2), 3 * version});
    base = SetVersion(base, edit, 1 + version);
  }
  RegionEdit left = edit;
  left.SetHole(50, 1);
  RegionEdit right = edit;
  right.SetHole(60, 1);
  const MapRoot left_root = SetVersion(base, left, 100);
  const MapRoot right_root = SetVersion(base, right, 200);
  EXPECT_EQ(*ReadAnew(left_root)->region(), VersionOf(left, 100));
  EXPECT_EQ(*ReadAnew(right_root)->region(), VersionOf(right, 200));
  EXPECT_EQ(ReadAnew(left_root)->chain(), ReadAnew(right_root)->chain());
}

TEST_F(ChangedRegionTest, OnWhatIsDamagedARegionIsWrittenWhole) {
  RegionEdit edit = ScatteredRegion();
  const MapRoot base = SetVersion({}, edit, 1);
  records_.Replace(base.location, "rubbish");
  NodeCache none(0);
  ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, none, base));
  MapBuilder builder(*map, records_);
  edit.SetHole(1, 1);
  EXPECT_OK(builder.SetRegion(0, VersionOf(edit, 2)));
  ASSERT_OK_AND_ASSIGN(const MapRoot root, builder.Finish());
  EXPECT_FALSE(IsChange(root));
  EXPECT_EQ(*ReadAnew(root)->region(), VersionOf(edit, 2));
}

// What it costs a long history: a region of thousands of extents of which few change each time.
TEST_F(ChangedRegionTest, AHistoryOfSmallChangesTakesATenthOrLessOfItsWholeNodes) {
  std::mt19937_64 random(DrawSeed());
  RegionEdit edit = ScatteredRegion();
  MapRoot root = SetVersion({}, edit, 1);
  uint64_t bytes = 0;
  uint64_t whole_bytes = 0;
  size_t longest = 0;
  for (uint32_t version = 1; version <= 1'000; ++version) {
    const uint32_t pack = 2 + version / 32;
    for (uint32_t n = 0; n < 2; ++n) {
      edit.SetData(static_cast<uint32_t>(random() % kRegionBlocks), 1,
                   {TestPack(pack), 40 * version + n});
    }
    root = SetVersion(root, edit, version + 1);
    bytes += BytesAt(root.location).size();
    whole_bytes += EncodeRegionNode(VersionOf(edit, version + 1)).size();
    if (version % 10 != 0) continue;
    const auto node = ReadAnew(root);
    ASSERT_EQ(node->region()->extents, edit.Extents()) << version;
    longest = std::max(longest, node->chain().bases.size());
  }
  EXPECT_LT(bytes, whole_bytes / 10);
  EXPECT_LE(longest, 12u);
  RecordProperty("bytes", std::to_string(bytes / 1'000));
  RecordProperty("whole_bytes", std::to_string(whole_bytes / 1'000));
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

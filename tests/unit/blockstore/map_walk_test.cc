#include "blockstore/maps/map_walk.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "blockstore/maps/map_builder.h"
#include "tests/support/memory_records.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"
#include "tests/support/scattered_region.h"

namespace quoin {
namespace {

class CountingVisitor : public MapVisitor {
 public:
  Result<bool> VisitNode(const SlotLocation& at) override {
    if (fail_at_node-- == 0) return Fail(ErrorCode::kNoSpace, "no memory left for marks");
    return nodes.insert(at).second;
  }
  Status VisitBase(const SlotLocation& at) override {
    bases.insert(at);
    return {};
  }
  Status VisitExtent(const SlotLocation& first, uint64_t count) override {
    extents.push_back({first, count});
    blocks += count;
    return {};
  }

  std::set<SlotLocation> nodes;
  std::set<SlotLocation> bases;
  std::vector<std::pair<SlotLocation, uint64_t>> extents;
  uint64_t blocks = 0;
  int fail_at_node = -1;
};

struct Difference {
  uint64_t first;
  uint64_t count;
  bool operator==(const Difference&) const = default;
};

void PrintTo(const Difference& difference, std::ostream* out) {
  *out << difference.first << "+" << difference.count;
}

class MapWalkTest : public ::testing::Test {
 protected:
  void Set(uint64_t first, uint64_t count, uint64_t content, uint32_t slot) {
    for (uint64_t i = 0; i < count; ++i) {
      reference_.SetData(first + i, content + i, {TestPack(1), slot + static_cast<uint32_t>(i)});
    }
  }
  MapRoot Build() {
    const auto root = BuildAll(reference_, records_, records_, cache_);
    EXPECT_OK(root);
    return root.value_or(MapRoot());
  }
  // The base with the regions as the reference has them now.
  MapRoot Change(const MapRoot& base, std::vector<uint64_t> regions) {
    const auto map = Map::Open(records_, cache_, base);
    MapBuilder builder(**map, records_);
    for (const uint64_t region : regions) {
      EXPECT_OK(builder.SetRegion(region, reference_.NodeOf(region)));
    }
    return builder.Finish().value_or(MapRoot());
  }
  std::vector<Difference> Compare(const MapRoot& a, const MapRoot& b, uint64_t first = 0,
                                  uint64_t end = kMaxVdiBlocks) {
    const auto a_map = Map::Open(records_, cache_, a);
    const auto b_map = Map::Open(records_, cache_, b);
    std::vector<Difference> differences;
    EXPECT_OK(CompareMaps(**a_map, **b_map, first, end, [&](uint64_t at, uint64_t count) -> Status {
      differences.push_back({at, count});
      return {};
    }));
    return differences;
  }

  MemoryRecords records_;
  NodeCache cache_{size_t{16} << 20};
  ReferenceMap reference_;
};

TEST_F(MapWalkTest, AnEmptyMapReachesNothing) {
  CountingVisitor visitor;
  EXPECT_OK(VisitReachable(records_, MapRoot(), visitor));
  EXPECT_TRUE(visitor.nodes.empty());
}

TEST_F(MapWalkTest, EveryNodeAndExtentIsVisited) {
  Set(5, 10, 1, 100);
  Set(kRegionBlocks - 1, 2, 50, 200);
  Set(kMaxVdiBlocks - 1, 1, 60, 300);
  const MapRoot root = Build();
  const auto written = records_.TakeWritten();
  CountingVisitor visitor;
  EXPECT_OK(VisitReachable(records_, root, visitor));
  EXPECT_EQ(visitor.nodes, std::set<SlotLocation>(written.begin(), written.end()));
  using Extents = std::vector<std::pair<SlotLocation, uint64_t>>;
  EXPECT_EQ(visitor.extents, (Extents{{{TestPack(1), 100}, 10},
                                      {{TestPack(1), 200}, 1},
                                      {{TestPack(1), 201}, 1},
                                      {{TestPack(1), 300}, 1}}));
}

TEST_F(MapWalkTest, WhatMapsShareIsReadOnce) {
  for (uint64_t region = 0; region < 100; ++region) Set(region * kRegionBlocks, 3, region + 1, 0);
  const MapRoot base = Build();
  Set(50 * kRegionBlocks, 1, 9'999, 77);
  const MapRoot changed = Change(base, {50});
  CountingVisitor visitor;
  EXPECT_OK(VisitReachable(records_, base, visitor));
  const uint64_t reads = records_.reads();
  EXPECT_OK(VisitReachable(records_, changed, visitor));
  EXPECT_EQ(records_.reads() - reads, 3u);
  EXPECT_OK(VisitReachable(records_, changed, visitor));
  EXPECT_EQ(records_.reads() - reads, 3u);
  EXPECT_EQ(visitor.blocks, 303u);
}

TEST_F(MapWalkTest, ErrorsEndAWalk) {
  Set(0, 3, 1, 0);
  Set(kRegionBlocks, 3, 5, 10);
  const MapRoot root = Build();
  const auto written = records_.TakeWritten();
  CountingVisitor visitor;
  visitor.fail_at_node = 1;
  EXPECT_ERROR(kNoSpace, VisitReachable(records_, root, visitor));
  EXPECT_TRUE(visitor.extents.empty());
  MapRoot wrong = root;
  wrong.height = 2;
  CountingVisitor other;
  EXPECT_ERROR(kCorrupt, VisitReachable(records_, wrong, other));
  wrong.height = 200;
  EXPECT_ERROR(kCorrupt, VisitReachable(records_, wrong, other));
  records_.Replace(written[1], "rubbish");
  CountingVisitor third;
  EXPECT_ERROR(kCorrupt, VisitReachable(records_, root, third));
}

TEST_F(MapWalkTest, ALoopOfNodesEndsAWalk) {
  ASSERT_OK_AND_ASSIGN(const SlotLocation at, records_.AddRecord(RecordKind::kMapNode, "not yet"));
  InnerNode loop;
  loop.level = 6;
  loop.children[0] = {TestBlockDigest(1), at, 1};
  records_.Replace(at, EncodeInnerNode(loop));
  class Forgetful : public CountingVisitor {
   public:
    Result<bool> VisitNode(const SlotLocation&) override { return true; }
  };
  Forgetful visitor;
  EXPECT_ERROR(kCorrupt, VisitReachable(records_, {at, 6, InnerDigest(loop), 1}, visitor));
}

// --- nodes that are built on others --------------------------------------------------------------

class PlacesVisitor : public PlaceVisitor {
 public:
  bool EnterNode(const SlotLocation& at) override {
    entered.push_back(at);
    return true;
  }
  void VisitBase(const SlotLocation& at) override { bases.insert(at); }
  void LeaveNode(const SlotLocation& at) override { left.push_back(at); }
  void VisitExtent(uint64_t, const SlotLocation&, uint64_t count) override { blocks += count; }
  void VisitDamage(uint64_t first, uint64_t count, const SlotLocation& at, const Error&) override {
    damage.push_back({first, count});
    damaged.push_back(at);
  }

  std::vector<SlotLocation> entered;
  std::set<SlotLocation> bases;
  std::vector<SlotLocation> left;
  std::vector<Difference> damage;
  std::vector<SlotLocation> damaged;
  uint64_t blocks = 0;
};

class ChainWalkTest : public MapWalkTest {
 protected:
  // Versions of region 1, each over the one before; of each the place of its node.
  void MakeVersions(uint32_t count) {
    RegionEdit edit = ScatteredRegion();
    for (uint32_t version = 0; version < count; ++version) {
      const auto map = Map::Open(records_, cache_, version == 0 ? MapRoot() : roots_[version - 1]);
      MapBuilder builder(**map, records_);
      EXPECT_OK(builder.SetRegion(1, VersionOf(edit, version + 1)));
      records_.TakeWritten();
      roots_.push_back(builder.Finish().value_or(MapRoot()));
      const auto root = (*map)->ReadNode(ChildOfRoot(roots_.back()), 1);
      EXPECT_OK(root);
      places_.push_back((*root)->inner()->children[1].at);
      edit.SetData(version, 1, {TestPack(2), 3 * version});
    }
  }

  std::vector<MapRoot> roots_;
  std::vector<SlotLocation> places_;
};

TEST_F(ChainWalkTest, WhatANodeIsBuiltOnIsToldAndNotVisited) {
  MakeVersions(8);
  CountingVisitor visitor;
  ASSERT_OK(VisitReachable(records_, roots_[7], visitor));
  EXPECT_EQ(visitor.nodes, (std::set<SlotLocation>{roots_[7].location, places_[7]}));
  EXPECT_EQ(visitor.bases, (std::set<SlotLocation>{places_[6], places_[4], places_[0]}));
  EXPECT_EQ(visitor.blocks, kRegionBlocks);
  ASSERT_OK(VisitReachable(records_, roots_[4], visitor));
  EXPECT_EQ(visitor.nodes.count(places_[4]), 1u);
  EXPECT_EQ(visitor.blocks, 2 * kRegionBlocks);
}

TEST_F(ChainWalkTest, AnErrorOverABaseEndsAWalk) {
  MakeVersions(2);
  class Refusing : public CountingVisitor {
   public:
    Status VisitBase(const SlotLocation&) override { return Fail(ErrorCode::kNoSpace, "enough"); }
  };
  Refusing visitor;
  EXPECT_OK(VisitReachable(records_, roots_[0], visitor));
  EXPECT_ERROR(kNoSpace, VisitReachable(records_, roots_[1], visitor));
}

TEST_F(ChainWalkTest, DamageBelowANodeIsDamageOfWhatIsBuiltOnItAndOfNothingElse) {
  MakeVersions(8);
  records_.Replace(places_[4], "rubbish");
  for (const size_t version : {4u, 5u, 6u, 7u}) {
    PlacesVisitor visitor;
    VisitPlaces(records_, roots_[version], visitor);
    EXPECT_EQ(visitor.damage, (std::vector<Difference>{{kRegionBlocks, kRegionBlocks}}));
    EXPECT_EQ(visitor.damaged, std::vector<SlotLocation>{places_[version]});
    EXPECT_EQ(visitor.entered.size(), visitor.left.size());
    // What is damaged is told too, so that it can be looked at.
    EXPECT_EQ(visitor.bases.count(places_[4]), version == 4 ? 0u : 1u);
    CountingVisitor strict;
    EXPECT_ERROR(kCorrupt, VisitReachable(records_, roots_[version], strict));
  }
  for (const size_t version : {0u, 1u, 2u, 3u}) {
    PlacesVisitor visitor;
    VisitPlaces(records_, roots_[version], visitor);
    EXPECT_TRUE(visitor.damage.empty());
    EXPECT_EQ(visitor.blocks, kRegionBlocks);
  }
}

TEST_F(ChainWalkTest, VersionsAreComparedByWhatTheyHold) {
  MakeVersions(8);
  EXPECT_EQ(Compare(roots_[2], roots_[7]), (std::vector<Difference>{{kRegionBlocks + 2, 5}}));
  EXPECT_EQ(Compare(roots_[7], roots_[2]), (std::vector<Difference>{{kRegionBlocks + 2, 5}}));
}

TEST_F(MapWalkTest, AMapDoesNotDifferFromItself) {
  Set(0, 3, 1, 0);
  Set(70'000, 3, 1, 0);
  const MapRoot root = Build();
  const uint64_t reads = records_.reads();
  EXPECT_TRUE(Compare(root, root).empty());
  EXPECT_TRUE(Compare({}, {}).empty());
  EXPECT_EQ(records_.reads(), reads);
}

TEST_F(MapWalkTest, DifferencesAreDataAgainstHolesAndOtherSlots) {
  Set(10, 10, 1, 100);
  Set(5 * kRegionBlocks, 10, 100, 200);
  const MapRoot base = Build();
  reference_.SetHole(12, 2);
  Set(18, 4, 500, 300);
  Set(6 * kRegionBlocks, 1, 600, 400);
  const MapRoot changed = Change(base, {0, 6});
  const std::vector<Difference> expected = {{12, 2}, {18, 4}, {6 * kRegionBlocks, 1}};
  EXPECT_EQ(Compare(base, changed), expected);
  EXPECT_EQ(Compare(changed, base), expected);
  EXPECT_EQ(Compare(base, changed, 13, 20), (std::vector<Difference>{{13, 1}, {18, 2}}));
  EXPECT_EQ(Compare(base, changed, 22, 6 * kRegionBlocks), std::vector<Difference>{});
}

TEST_F(MapWalkTest, AgainstAnEmptyMapAllDataDiffers) {
  Set(kRegionBlocks - 5, 10, 1, 100);
  Set(kMaxVdiBlocks - 2, 2, 100, 200);
  const MapRoot root = Build();
  const std::vector<Difference> expected = {{kRegionBlocks - 5, 10}, {kMaxVdiBlocks - 2, 2}};
  EXPECT_EQ(Compare(root, {}), expected);
  EXPECT_EQ(Compare({}, root), expected);
}

TEST_F(MapWalkTest, MapsOfDifferentHeightsAreCompared) {
  Set(10, 10, 1, 100);
  Set(3 * kRegionBlocks, 10, 50, 200);
  const MapRoot low = Build();
  Set(kMaxVdiBlocks / 2, 5, 70, 300);
  const MapRoot high = Change(low, {kMaxVdiBlocks / 2 / kRegionBlocks});
  EXPECT_EQ(low.height, 1);
  EXPECT_EQ(high.height, 6);
  const uint64_t reads = records_.reads();
  EXPECT_EQ(Compare(low, high), (std::vector<Difference>{{kMaxVdiBlocks / 2, 5}}));
  EXPECT_EQ(Compare(high, low), (std::vector<Difference>{{kMaxVdiBlocks / 2, 5}}));
  EXPECT_LE(records_.reads() - reads, 13u);  // two paths, each node once
}

TEST_F(MapWalkTest, EqualContentInOtherSlotsIsNoDifferenceBetweenRegions) {
  Set(0, 100, 1, 0);
  const MapRoot one = Build();
  Set(0, 100, 1, 5'000);
  const MapRoot two = Build();
  EXPECT_NE(one.location, two.location);
  EXPECT_TRUE(Compare(one, two).empty());
}

TEST_F(MapWalkTest, AVisitorsErrorEndsAComparison) {
  Set(0, 1, 1, 0);
  Set(5, 1, 1, 0);
  const auto map = Map::Open(records_, cache_, Build());
  const auto empty = Map::Open(records_, cache_, MapRoot());
  int calls = 0;
  EXPECT_ERROR(kNoSpace, CompareMaps(**map, **empty, 0, kMaxVdiBlocks,
                                     [&calls](uint64_t, uint64_t) -> Status {
                                       ++calls;
                                       return Fail(ErrorCode::kNoSpace, "enough");
                                     }));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace quoin

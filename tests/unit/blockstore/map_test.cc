#include "blockstore/maps/map.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "blockstore/maps/map_builder.h"
#include "blockstore/maps/region_edit.h"
#include "tests/support/memory_records.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

constexpr size_t kCacheBytes = size_t{64} << 20;

class MapTest : public ::testing::Test {
 protected:
  std::unique_ptr<Map> Open(const MapRoot& root) {
    auto map = Map::Open(records_, cache_, root);
    EXPECT_OK(map);
    return map ? std::move(*map) : nullptr;
  }

  // A map with data in these runs, in slots of pack 1 that rise by one from block to block.
  struct Run {
    uint64_t first;
    uint64_t count;
    uint32_t slot;
  };
  std::unique_ptr<Map> Build(const std::vector<Run>& runs) {
    for (const Run& run : runs) {
      for (uint64_t i = 0; i < run.count; ++i) {
        reference_.SetData(run.first + i, run.first + i + 1,
                           {TestPack(1), run.slot + static_cast<uint32_t>(i)});
      }
    }
    const auto root = BuildAll(reference_, records_, records_, cache_);
    EXPECT_OK(root);
    return Open(root.value_or(MapRoot()));
  }

  static MapRun Data(uint64_t count, uint32_t slot) { return {true, count, {TestPack(1), slot}}; }
  static MapRun Hole(uint64_t count) { return {false, count, {}}; }

  MemoryRecords records_;
  NodeCache cache_{kCacheBytes};
  ReferenceMap reference_;
};

TEST_F(MapTest, AnEmptyMapIsOneHole) {
  const auto map = Open(MapRoot());
  EXPECT_EQ(map->FindRun(0, kMaxVdiBlocks), Hole(kMaxVdiBlocks));
  EXPECT_EQ(map->FindRun(~uint64_t{0} - 5, 5), Hole(5));
  EXPECT_EQ(map->CountData(0, kMaxVdiBlocks), 0u);
  EXPECT_EQ(map->FindData(0, kMaxVdiBlocks), std::nullopt);
  EXPECT_EQ(map->FindHole(7, kMaxVdiBlocks), 7u);
  EXPECT_EQ(map->FindHole(7, 7), std::nullopt);
  EXPECT_EQ(map->ReadRegion(0), nullptr);
  EXPECT_OK(
      map->ForEachExtent(0, kMaxVdiBlocks, [](uint64_t, uint64_t, const SlotLocation&) -> Status {
        return Fail(ErrorCode::kInvalid, "there is no extent");
      }));
  EXPECT_EQ(records_.reads(), 0u);
}

TEST_F(MapTest, RunsEndWhereExtentsAndHolesDo) {
  const auto map = Build({{10, 5, 100}, {15, 5, 200}, {30, 1, 300}});
  EXPECT_EQ(map->FindRun(0, 1'000), Hole(10));
  EXPECT_EQ(map->FindRun(0, 3), Hole(3));
  EXPECT_EQ(map->FindRun(10, 1'000), Data(5, 100));
  EXPECT_EQ(map->FindRun(12, 2), Data(2, 102));
  EXPECT_EQ(map->FindRun(14, 2), Data(1, 104));
  EXPECT_EQ(map->FindRun(15, 1'000), Data(5, 200));
  EXPECT_EQ(map->FindRun(20, 1'000), Hole(10));
  EXPECT_EQ(map->FindRun(30, 1'000), Data(1, 300));
  EXPECT_EQ(map->FindRun(31, 10'000'000), Hole(10'000'000));
}

TEST_F(MapTest, RunsReachAcrossRegions) {
  const auto map = Build({{4'000, 5'000, 0}, {20 * kRegionBlocks, 1, 9'000}});
  EXPECT_EQ(map->root().height, 2);
  EXPECT_EQ(map->FindRun(4'000, 10'000), Data(5'000, 0));
  EXPECT_EQ(map->FindRun(4'090, 10), Data(10, 90));
  EXPECT_EQ(map->FindRun(9'000, kMaxVdiBlocks), Hole(20 * kRegionBlocks - 9'000));
}

TEST_F(MapTest, NeighbouringRegionsInOtherSlotsAreOtherRuns) {
  const auto map = Build({{4'000, 96, 0}, {4'096, 10, 97}});
  EXPECT_EQ(map->FindRun(4'000, 1'000), Data(96, 0));
}

TEST_F(MapTest, BothEndsOfTheLargestDisk) {
  const auto map = Build({{0, 1, 0}, {kMaxVdiBlocks - 1, 1, 5}});
  EXPECT_EQ(map->root().height, kMaxMapHeight);
  EXPECT_EQ(records_.TakeWritten().size(), 13u);  // two paths of seven with the root in common
  EXPECT_EQ(map->FindRun(1, kMaxVdiBlocks), Hole(kMaxVdiBlocks - 2));
  EXPECT_EQ(map->FindRun(kMaxVdiBlocks - 1, 10), Data(1, 5));
  EXPECT_EQ(map->FindRun(kMaxVdiBlocks, 10), Hole(10));
  EXPECT_EQ(map->FindData(1, kMaxVdiBlocks), kMaxVdiBlocks - 1);
  EXPECT_EQ(map->FindHole(kMaxVdiBlocks - 1, kMaxVdiBlocks), std::nullopt);
  EXPECT_EQ(map->CountData(0, kMaxVdiBlocks), 2u);
  EXPECT_EQ(map->CountData(1, ~uint64_t{0}), 1u);
  EXPECT_LT(records_.reads(), 20u);
}

TEST_F(MapTest, CountsComeFromTheNodesAtTheEndsAlone) {
  const auto map = Build({{0, 40 * kRegionBlocks, 0}});
  EXPECT_EQ(map->CountData(0, 256 * kRegionBlocks), 40 * kRegionBlocks);
  EXPECT_EQ(records_.reads(), 0u);
  EXPECT_EQ(map->CountData(100, 38 * kRegionBlocks), 38 * kRegionBlocks);
  EXPECT_LE(records_.reads(), 5u);
}

TEST_F(MapTest, CountsWithinARegionAreExactAndReadItsNodeOnce) {
  const auto map = Build({{10, 5, 100}, {15, 5, 200}, {30, 1, 300}, {3 * kRegionBlocks, 7, 400}});
  for (uint64_t first = 0; first < 40; ++first) {
    uint64_t expected = 0;
    for (uint64_t end = first; end < 40; ++end) {
      EXPECT_EQ(map->CountData(first, end - first), expected) << first << " to " << end;
      expected += (end >= 10 && end < 20) || end == 30;
    }
  }
  EXPECT_EQ(map->CountData(2 * kRegionBlocks + 5, 100), 0u);
  EXPECT_EQ(map->CountData(3 * kRegionBlocks - 1, 3), 2u);
  EXPECT_LE(records_.reads(), 3u);
}

TEST_F(MapTest, FullSubtreesAreSkippedInSearchOfAHole) {
  const auto map = Build({{0, 40 * kRegionBlocks - 3, 0}});
  EXPECT_EQ(map->FindHole(5, kMaxVdiBlocks), 40 * kRegionBlocks - 3);
  EXPECT_LE(records_.reads(), 3u);
  EXPECT_EQ(map->FindHole(5, 40 * kRegionBlocks - 3), std::nullopt);
  EXPECT_EQ(map->FindHole(50 * kRegionBlocks, 51 * kRegionBlocks), 50 * kRegionBlocks);
}

TEST_F(MapTest, ExtentsAreCutAtTheEndsAndStopAtAnError) {
  const auto map = Build({{10, 5, 100}, {20, 5, 200}, {3 * kRegionBlocks, 7, 300}});
  std::vector<Run> seen;
  const auto note = [&seen](uint64_t first, uint64_t count, const SlotLocation& at) -> Status {
    seen.push_back({first, count, at.slot});
    if (seen.size() == 3) return Fail(ErrorCode::kNoSpace, "enough");
    return {};
  };
  EXPECT_OK(map->ForEachExtent(12, 22, note));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].first, 12u);
  EXPECT_EQ(seen[0].count, 3u);
  EXPECT_EQ(seen[0].slot, 102u);
  EXPECT_EQ(seen[1].first, 20u);
  EXPECT_EQ(seen[1].count, 2u);
  seen.clear();
  EXPECT_ERROR(kNoSpace, map->ForEachExtent(0, kMaxVdiBlocks, note));
  EXPECT_EQ(seen.size(), 3u);
}

TEST_F(MapTest, ARegionIsReadWhole) {
  const auto map = Build({{kRegionBlocks + 3, 5, 100}});
  ASSERT_OK_AND_ASSIGN(const auto region, map->ReadRegion(1));
  ASSERT_NE(region, nullptr);
  EXPECT_EQ(*region, reference_.NodeOf(1));
  EXPECT_EQ(map->ReadRegion(0), nullptr);
  EXPECT_EQ(map->ReadRegion(100), nullptr);
  EXPECT_EQ(map->ReadRegion(~uint64_t{0}), nullptr);
}

TEST_F(MapTest, AWarmMapReadsNothing) {
  const auto map = Build({{0, 10, 0}, {100 * kRegionBlocks, 10, 0}});
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(map->FindRun(0, 10), Data(10, 0));
    EXPECT_EQ(map->FindRun(100 * kRegionBlocks, 10), Data(10, 0));
    EXPECT_EQ(map->FindRun(5 * kRegionBlocks, 10), Hole(10));
  }
  EXPECT_EQ(records_.reads(), 1u + 2u + 2u);
}

TEST_F(MapTest, WorksWithACacheThatKeepsNothing) {
  const auto built = Build({{0, 10, 0}, {100 * kRegionBlocks, 10, 50}});
  NodeCache none(0);
  ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, none, built->root()));
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(map->FindRun(0, 10), Data(10, 0));
    EXPECT_EQ(map->FindRun(100 * kRegionBlocks, 10), Data(10, 50));
  }
  EXPECT_EQ(none.counters().nodes, 0u);
}

TEST_F(MapTest, RegionsThatShareAnEntryDoNotMixUp) {
  // 16,384 regions apart: the same place in the map's own table of leaves.
  const uint64_t far = 16'384 * kRegionBlocks;
  const auto map = Build({{0, 10, 0}, {far, 10, 500}});
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(map->FindRun(0, 10), Data(10, 0));
    EXPECT_EQ(map->FindRun(far, 10), Data(10, 500));
    EXPECT_EQ(map->FindRun(2 * far, 10), Hole(10));
  }
}

TEST_F(MapTest, ImpossibleRootsAreRefused) {
  EXPECT_ERROR(kCorrupt, Map::Open(records_, cache_, {{TestPack(1), 0}, 7, TestBlockDigest(1), 1}));
}

// Nodes that lie about themselves or lead back to where they came from.
class MapDamageTest : public MapTest {
 protected:
  SlotLocation Add(const std::string& bytes) {
    const auto at = records_.AddRecord(RecordKind::kMapNode, bytes);
    EXPECT_OK(at);
    return at.value_or(SlotLocation());
  }
  void ExpectCorrupt(const MapRoot& root, uint64_t block) {
    const auto map = Open(root);
    EXPECT_ERROR(kCorrupt, map->FindRun(block, 1));
    EXPECT_ERROR(kCorrupt, map->FindData(block, kMaxVdiBlocks));
    EXPECT_ERROR(kCorrupt, map->FindHole(block, block + 1));
    EXPECT_ERROR(kCorrupt, map->CountData(block, 1));
    EXPECT_ERROR(kCorrupt, map->ReadRegion(block / kRegionBlocks));
    EXPECT_ERROR(kCorrupt, map->ForEachExtent(
                               block, kMaxVdiBlocks,
                               [](uint64_t, uint64_t, const SlotLocation&) { return Status(); }));
  }
};

TEST_F(MapDamageTest, ANodeThatIsItsOwnChildIsRefused) {
  InnerNode loop;
  loop.level = 3;
  const SlotLocation at = Add("not yet");
  loop.children[0] = {TestBlockDigest(1), at, 1};
  records_.Replace(at, EncodeInnerNode(loop));
  ExpectCorrupt({at, 3, InnerDigest(loop), 1}, 0);
}

TEST_F(MapDamageTest, ALevelLeftOutIsRefused) {
  RegionNode region{TestBlockDigest(1), {{0, 1, {TestPack(1), 0}}}};
  InnerNode inner;
  inner.level = 2;
  inner.children[0] = {region.digest, Add(EncodeRegionNode(region)), 1};
  ExpectCorrupt({Add(EncodeInnerNode(inner)), 2, InnerDigest(inner), 1}, 0);
}

TEST_F(MapDamageTest, AnotherNodeInItsPlaceIsRefused) {
  const auto map = Build({{0, 3, 0}, {kRegionBlocks, 3, 3}});
  const auto written = records_.TakeWritten();
  ASSERT_EQ(written.size(), 3u);  // leaves first, the root last
  ASSERT_OK_AND_ASSIGN(const auto second, records_.ReadRecord(RecordKind::kMapNode, written[1]));
  records_.Replace(written[0], *second);
  ExpectCorrupt(map->root(), 0);
  EXPECT_EQ(map->FindRun(kRegionBlocks, 3), Data(3, 3));
}

TEST_F(MapDamageTest, ARootOfAnotherHeightIsRefused) {
  const auto map = Build({{0, 3, 0}, {kRegionBlocks, 3, 3}});
  MapRoot root = map->root();
  root.height = 2;
  ExpectCorrupt(root, 0);
  root.height = 0;
  ExpectCorrupt(root, 0);
}

TEST_F(MapDamageTest, AMissingNodeIsAnErrorEachTime) {
  MapRoot root{{TestPack(9), 9}, 1, TestBlockDigest(1), 1};
  const auto map = Open(root);
  EXPECT_ERROR(kCorrupt, map->FindRun(0, 1));
  EXPECT_ERROR(kCorrupt, map->FindRun(0, 1));
}

TEST_F(MapTest, ManyThreadsReadOneMapWhileItsNodesComeAndGo) {
  std::vector<Run> runs;
  for (uint32_t i = 0; i < 200; ++i) runs.push_back({i * kRegionBlocks + i, 1 + i, 1'000 * i});
  const auto built = Build(runs);
  NodeCache small(NodeCache::kShards * 4'000);
  ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, small, built->root()));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 5'000; ++i) {
        const Run& run = runs[(i * (t + 1)) % runs.size()];
        const auto found = map->FindRun(run.first, 1'000);
        if (!found || *found != Data(run.count, run.slot)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(small.counters().evictions, 0u);
}

}  // namespace
}  // namespace quoin

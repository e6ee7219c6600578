// What walks mark and whom slots belong to where nodes are built on the nodes of other maps.
#include "snapshots/pack_marks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "blockstore/maps/map_builder.h"
#include "blockstore/maps/map_walk.h"
#include "blockstore/maps/region_change.h"
#include "blockstore/packs/pack_format.h"
#include "snapshots/slot_owners.h"
#include "tests/support/memory_records.h"
#include "tests/support/result_matchers.h"
#include "tests/support/scattered_region.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

constexpr uint32_t kVersions = 20;

// Versions of a region, each over the one before, in maps of their own. Block n is, in version n +
// 1 and later, in slot n of pack 9; in the versions up to n it is in slot 2n of pack 1.
class ChainMarksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RegionEdit edit = ScatteredRegion();
    Add(edit);
    for (uint32_t version = 0; version < kVersions; ++version) {
      edit.SetData(version, 1, {TestPack(9), 3 * version});
      Add(edit);
    }
  }
  void Add(const RegionEdit& edit) {
    const MapRoot base = roots_.empty() ? MapRoot() : roots_.back();
    const auto map = Map::Open(records_, cache_, base);
    MapBuilder builder(**map, records_);
    EXPECT_OK(builder.SetRegion(0, VersionOf(edit, roots_.size() + 1)));
    roots_.push_back(builder.Finish().value_or(MapRoot()));
    edits_.push_back(edit);
  }
  std::vector<SlotLocation> ChainOf(size_t version) {
    const auto node = ReadMapNode(records_, ChildOfRoot(roots_[version]), 0);
    EXPECT_OK(node);
    std::vector<SlotLocation> chain = (*node)->chain().bases;
    chain.push_back(roots_[version].location);
    return chain;
  }
  static bool IsMarked(const PackMarks& marks, const SlotLocation& at) {
    return marks.AnyOf(at.pack, at.slot, at.slot + 1);
  }
  // All that the versions need is marked: the records they are made of and their blocks.
  void ExpectMarked(const PackMarks& marks, const std::vector<size_t>& versions) {
    for (const size_t version : versions) {
      for (const SlotLocation& at : ChainOf(version)) ASSERT_TRUE(IsMarked(marks, at)) << version;
      for (uint32_t block = 0; block < kRegionBlocks; ++block) {
        ASSERT_TRUE(IsMarked(marks, edits_[version].SlotOf(block))) << version << " " << block;
      }
    }
  }

  MemoryRecords records_;
  NodeCache cache_{size_t{16} << 20};
  std::vector<MapRoot> roots_;
  std::vector<RegionEdit> edits_;
};

TEST_F(ChainMarksTest, WhatANodeIsBuiltOnIsMarkedWithItAndItsBlocksAreNot) {
  PackMarks marks;
  ASSERT_OK(VisitReachable(records_, roots_[7], marks));
  ASSERT_EQ(ChainOf(7).size(), 4u);
  ASSERT_NO_FATAL_FAILURE(ExpectMarked(marks, {7}));
  EXPECT_EQ(marks.nodes(), 1u);
  // Nothing needs what was in blocks 0 to 6 before, nor the nodes between.
  EXPECT_FALSE(marks.AnyOf(TestPack(1), 0, 14));
  EXPECT_FALSE(IsMarked(marks, roots_[5].location));
}

// The trap: a record that is marked because a node is built on it is a node of another map, too.
TEST_F(ChainMarksTest, ABaseThatIsMarkedIsNotTakenForVisited) {
  PackMarks marks;
  ASSERT_OK(VisitReachable(records_, roots_[7], marks));
  ASSERT_TRUE(IsMarked(marks, roots_[0].location));
  ASSERT_OK(VisitReachable(records_, roots_[0], marks));
  ASSERT_OK(VisitReachable(records_, roots_[4], marks));
  ASSERT_NO_FATAL_FAILURE(ExpectMarked(marks, {0, 4, 7}));
  EXPECT_EQ(marks.nodes(), 3u);
}

TEST_F(ChainMarksTest, ANodeThatWasVisitedDoesNotKeepThoseBuiltOnItFromBeingMarked) {
  PackMarks marks;
  ASSERT_OK(VisitReachable(records_, roots_[0], marks));
  ASSERT_OK(VisitReachable(records_, roots_[4], marks));
  ASSERT_OK(VisitReachable(records_, roots_[7], marks));
  ASSERT_NO_FATAL_FAILURE(ExpectMarked(marks, {0, 4, 7}));
}

TEST_F(ChainMarksTest, ANodeIsWalkedOnceHoweverOftenOthersAreBuiltOnIt) {
  PackMarks marks;
  for (const MapRoot& root : roots_) ASSERT_OK(VisitReachable(records_, root, marks));
  const uint64_t reads = records_.reads();
  for (const MapRoot& root : roots_) ASSERT_OK(VisitReachable(records_, root, marks));
  EXPECT_EQ(records_.reads(), reads);
  EXPECT_EQ(marks.nodes(), roots_.size());
}

TEST_F(ChainMarksTest, AnyVersionsInAnyOrderMarkAllThatTheyNeed) {
  std::mt19937_64 random(DrawSeed());
  for (int round = 0; round < 20; ++round) {
    std::vector<size_t> versions;
    for (size_t version = 0; version < roots_.size(); ++version) {
      if (random() % 3 == 0) versions.push_back(version);
    }
    std::shuffle(versions.begin(), versions.end(), random);
    PackMarks marks;
    for (const size_t version : versions) {
      ASSERT_OK(VisitReachable(records_, roots_[version], marks));
    }
    ASSERT_NO_FATAL_FAILURE(ExpectMarked(marks, versions));
    // And no record more.
    for (size_t version = 0; version < roots_.size(); ++version) {
      const bool is_needed = std::any_of(versions.begin(), versions.end(), [&](size_t wanted) {
        const std::vector<SlotLocation> chain = ChainOf(wanted);
        return std::find(chain.begin(), chain.end(), roots_[version].location) != chain.end();
      });
      ASSERT_EQ(IsMarked(marks, roots_[version].location), is_needed) << version;
    }
  }
}

TEST_F(ChainMarksTest, ABlocksSlotThatIsNamedAsANodesHidesNoNode) {
  PackMarks marks;
  ASSERT_OK(marks.VisitExtent(roots_[7].location, 1));
  ASSERT_OK(VisitReachable(records_, roots_[7], marks));
  ASSERT_NO_FATAL_FAILURE(ExpectMarked(marks, {7}));
}

TEST_F(ChainMarksTest, ABaseInASlotThatNoPackHasIsDamage) {
  PackMarks marks;
  EXPECT_ERROR(kCorrupt, marks.VisitBase({TestPack(1), kMaxPackSlots}));
  EXPECT_ERROR(kCorrupt, marks.VisitNode({TestPack(1), kMaxPackSlots}));
}

// What removing a version alone would free: the blocks that no other version has, whoever's node
// the others are built on.
TEST_F(ChainMarksTest, BlocksBelongToTheVersionsThatHaveThem) {
  for (const bool backwards : {false, true}) {
    SlotOwners owners(0, 1);
    std::vector<uint32_t> units = {0, 1, 2};  // versions 0, 4 and 7
    if (backwards) std::reverse(units.begin(), units.end());
    const std::vector<size_t> versions = {0, 4, 7};
    for (const uint32_t unit : units) {
      owners.Begin(unit, 0);
      ASSERT_OK(VisitReachable(records_, roots_[versions[unit]], owners));
    }
    std::vector<uint64_t> of_units(3);
    std::vector<uint64_t> of_vdis(1);
    owners.Count(&of_units, &of_vdis);
    // Version 0 has blocks 0 to 3 as nobody else, version 4 nothing, version 7 its blocks 4 to 6.
    EXPECT_EQ(of_units, (std::vector<uint64_t>{4, 0, 3}));
    EXPECT_EQ(of_vdis, (std::vector<uint64_t>{kRegionBlocks + 7}));
  }
}

}  // namespace
}  // namespace quoin

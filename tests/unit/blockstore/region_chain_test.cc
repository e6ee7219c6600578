// Nodes that are written as changes to others: how they are read, and what of them is not believed.
#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "blockstore/maps/map_node.h"
#include "blockstore/maps/node_cache.h"
#include "blockstore/maps/region_change.h"
#include "tests/support/memory_records.h"
#include "tests/support/result_matchers.h"
#include "tests/support/scattered_region.h"

namespace quoin {
namespace {

constexpr uint32_t kVersions = 40;

class RegionChainTest : public ::testing::Test {
 protected:
  // A chain by hand: version n is at position n, and block n - 1 has changed since the one before.
  void SetUp() override {
    RegionEdit edit = ScatteredRegion();
    Add(VersionOf(edit, 1), EncodeRegionNode(VersionOf(edit, 1)));
    for (uint32_t position = 1; position <= kVersions; ++position) {
      edit.SetData(position - 1, 1, {TestPack(2), 3 * position});
      const RegionNode node = VersionOf(edit, position + 1);
      Add(node, EncodeRegionChange(ChangeTo(node, position)));
    }
  }

  void Add(const RegionNode& node, const std::string& bytes) {
    nodes_.push_back(node);
    places_.push_back(Store(bytes));
  }
  SlotLocation Store(const std::string& bytes) {
    return records_.AddRecord(RecordKind::kMapNode, bytes).value_or(SlotLocation());
  }
  RegionChange ChangeTo(const RegionNode& node, uint32_t position) {
    const uint32_t base = BasePosition(position);
    return {.digest = node.digest,
            .result_checksum = RegionChecksum(node),
            .position = position,
            .base = places_[base],
            .runs = DifferenceOf(nodes_[base].extents, node.extents)};
  }
  MapChild Child(uint32_t position) const { return ChildAt(places_[position], nodes_[position]); }
  Result<std::shared_ptr<const MapNode>> Read(uint32_t position) {
    return ReadMapNode(records_, Child(position), 0);
  }
  // What is wrong with the node at this position when its record is this change.
  std::string WhyNot(uint32_t position, const RegionChange& change) {
    records_.Replace(places_[position], EncodeRegionChange(change));
    const auto node = Read(position);
    EXPECT_ERROR(kCorrupt, node);
    return node ? "" : node.error().what;
  }

  MemoryRecords records_;
  std::vector<RegionNode> nodes_;
  std::vector<SlotLocation> places_;
};

TEST_F(RegionChainTest, EveryNodeIsReadWithOneRecordForEachBitOfItsPosition) {
  for (uint32_t position = 0; position <= kVersions; ++position) {
    const uint64_t reads = records_.reads();
    ASSERT_OK_AND_ASSIGN(const auto node, Read(position));
    EXPECT_EQ(records_.reads() - reads, 1u + static_cast<unsigned>(std::popcount(position)));
    EXPECT_EQ(*node->region(), nodes_[position]);
    EXPECT_EQ(node->chain().position, position);
    std::vector<SlotLocation> bases;
    for (uint32_t at = position; at != 0;) {
      at = BasePosition(at);
      bases.push_back(places_[at]);
    }
    EXPECT_EQ(node->chain().bases, bases);
  }
}

TEST_F(RegionChainTest, WhoReadsIsToldOfEveryRecordBelow) {
  std::vector<SlotLocation> told;
  NodeReading reading;
  reading.visit_base = [&told](const SlotLocation& at) -> Status {
    told.push_back(at);
    return {};
  };
  ASSERT_OK_AND_ASSIGN(const auto node, ReadMapNode(records_, Child(37), 0, reading));
  EXPECT_EQ(told, (std::vector<SlotLocation>{places_[36], places_[32], places_[0]}));
  EXPECT_EQ(node->chain().bases, told);
  reading.visit_base = [](const SlotLocation&) -> Status {
    return Fail(ErrorCode::kNoSpace, "enough");
  };
  EXPECT_ERROR(kNoSpace, ReadMapNode(records_, Child(37), 0, reading));
}

TEST_F(RegionChainTest, WhatIsInMemoryIsNotReadAndWhatIsBelowItIsToldAllTheSame) {
  ASSERT_OK_AND_ASSIGN(const auto known, Read(36));
  std::vector<SlotLocation> told;
  NodeReading reading;
  reading.visit_base = [&told](const SlotLocation& at) -> Status {
    told.push_back(at);
    return {};
  };
  reading.find_node = [&](const SlotLocation& at) { return at == places_[36] ? known : nullptr; };
  const uint64_t reads = records_.reads();
  ASSERT_OK_AND_ASSIGN(const auto node, ReadMapNode(records_, Child(37), 0, reading));
  EXPECT_EQ(records_.reads() - reads, 1u);
  EXPECT_EQ(*node->region(), nodes_[37]);
  EXPECT_EQ(told, (std::vector<SlotLocation>{places_[36], places_[32], places_[0]}));
  EXPECT_EQ(node->chain().bases, told);
  // What is in memory is not believed more than what is read.
  reading.find_node = [&](const SlotLocation&) { return Read(34).value_or(nullptr); };
  EXPECT_ERROR(kCorrupt, ReadMapNode(records_, Child(37), 0, reading));
}

TEST_F(RegionChainTest, ACacheBuildsOnWhatItHolds) {
  NodeCache cache(size_t{64} << 20);
  ASSERT_OK(cache.Get(records_, Child(36), 0));
  uint64_t reads = records_.reads();
  ASSERT_OK_AND_ASSIGN(const auto node, cache.Get(records_, Child(37), 0));
  EXPECT_EQ(records_.reads() - reads, 1u);
  EXPECT_EQ(*node->region(), nodes_[37]);
  reads = records_.reads();
  ASSERT_OK_AND_ASSIGN(const auto base, cache.GetBase(records_, places_[37]));
  EXPECT_EQ(base, node);
  EXPECT_EQ(records_.reads(), reads);
  ASSERT_OK(cache.GetBase(records_, places_[0]));
  EXPECT_EQ(cache.counters().nodes, 2u);
}

TEST_F(RegionChainTest, ABaseIsReadWithoutAParentAndMustBeARegion) {
  ASSERT_OK_AND_ASSIGN(const auto base, ReadBaseNode(records_, places_[12]));
  EXPECT_EQ(*base->region(), nodes_[12]);
  InnerNode inner;
  inner.children[0] = Child(1);
  EXPECT_ERROR(kCorrupt, ReadBaseNode(records_, Store(EncodeInnerNode(inner))));
}

TEST_F(RegionChainTest, AParentIsBelievedOfAChangeAsOfAWholeNode) {
  MapChild child = Child(5);
  child.digest = TestBlockDigest(99);
  EXPECT_ERROR(kCorrupt, ReadMapNode(records_, child, 0));
  child = Child(5);
  child.data_blocks -= 1;
  EXPECT_ERROR(kCorrupt, ReadMapNode(records_, child, 0));
  EXPECT_ERROR(kCorrupt, ReadMapNode(records_, Child(5), 1));
}

TEST_F(RegionChainTest, ARecordBelowThatIsMissingOrDamagedIsNamed) {
  records_.Replace(places_[32], "rubbish");
  const auto damaged = Read(37);
  ASSERT_ERROR(kCorrupt, damaged);
  const std::string slot = "slot " + std::to_string(places_[32].slot) + " ";
  EXPECT_NE(damaged.error().what.find(slot), std::string::npos) << damaged.error().what;
  EXPECT_OK(Read(31));
  RegionChange lost = ChangeTo(nodes_[5], 5);
  lost.base = {TestPack(9), 1};
  EXPECT_NE(WhyNot(5, lost).find("missing"), std::string::npos);
}

TEST_F(RegionChainTest, ALoopIsNoChain) {
  // Itself, and two that name each other: positions must fall as they should.
  RegionChange itself = ChangeTo(nodes_[6], 6);
  itself.base = places_[6];
  EXPECT_NE(WhyNot(6, itself).find("position"), std::string::npos);
  RegionChange one = ChangeTo(nodes_[12], 12);
  one.base = places_[8];
  RegionChange other = ChangeTo(nodes_[8], 8);
  other.base = places_[12];
  records_.Replace(places_[8], EncodeRegionChange(other));
  EXPECT_NE(WhyNot(12, one).find("position"), std::string::npos);
  EXPECT_ERROR(kCorrupt, Read(8));
}

TEST_F(RegionChainTest, ABaseOfTheWrongPositionOrKindIsNoBase) {
  RegionChange change = ChangeTo(nodes_[6], 6);
  for (const uint32_t wrong : {0u, 2u, 3u, 5u, 7u, 20u}) {
    change.base = places_[wrong];
    WhyNot(6, change);
  }
  InnerNode inner;
  inner.children[0] = Child(1);
  change.base = Store(EncodeInnerNode(inner));
  WhyNot(6, change);
  change = ChangeTo(nodes_[8], 8);
  change.base = Store(EncodeInnerNode(inner));
  WhyNot(8, change);
}

TEST_F(RegionChainTest, AnotherBaseOfTheRightPositionIsNoticed) {
  RegionEdit edit = ScatteredRegion(7);
  RegionChange change = ChangeTo(nodes_[1], 1);
  change.base = Store(EncodeRegionNode(VersionOf(edit, 1)));
  EXPECT_NE(WhyNot(1, change).find("not what it was made from"), std::string::npos);
  RegionChange wrong_sum = ChangeTo(nodes_[2], 2);
  ++wrong_sum.result_checksum;
  EXPECT_NE(WhyNot(2, wrong_sum).find("not what it was made from"), std::string::npos);
}

TEST_F(RegionChainTest, ChangesThatChangeNothingAndRegionsWithoutDataAreRefused) {
  RegionChange change = ChangeTo(nodes_[1], 1);
  change.runs.push_back({9, 1, nodes_[0].extents[9].slot});
  EXPECT_NE(WhyNot(1, change).find("does not"), std::string::npos);
  change.runs = {{0, kRegionBlocks, {}}};
  EXPECT_NE(WhyNot(1, change).find("no data"), std::string::npos);
}

// Whatever the records of a chain hold, a reader comes to an end, and reads few of them.
TEST_F(RegionChainTest, AsLongAChainAsCanBeIsReadWithThirteenRecords) {
  RegionNode node = nodes_[0];
  SlotLocation base = places_[0];
  std::vector<uint32_t> positions;
  for (uint32_t position = kMaxChainPosition; position != 0; position = BasePosition(position)) {
    positions.insert(positions.begin(), position);
  }
  ASSERT_EQ(positions.size(), 12u);
  RegionEdit edit(node.extents);
  for (const uint32_t position : positions) {
    const std::vector<MapExtent> before = edit.Extents();
    edit.SetData(position, 1, {TestPack(3), position});
    node = VersionOf(edit, position);
    base = Store(EncodeRegionChange({.digest = node.digest,
                                     .result_checksum = RegionChecksum(node),
                                     .position = position,
                                     .base = base,
                                     .runs = DifferenceOf(before, node.extents)}));
  }
  const uint64_t reads = records_.reads();
  ASSERT_OK_AND_ASSIGN(const auto read, ReadMapNode(records_, ChildAt(base, node), 0));
  EXPECT_EQ(*read->region(), node);
  EXPECT_EQ(records_.reads() - reads, 13u);
}

// Each byte of each record of a chain: an error, or the same node as before.
TEST_F(RegionChainTest, DamageAnywhereBelowIsNeverReadAsAnotherRegion) {
  const std::set<uint32_t> below = {7, 6, 4, 0};
  for (const uint32_t position : below) {
    ASSERT_OK_AND_ASSIGN(const auto record,
                         records_.ReadRecord(RecordKind::kMapNode, places_[position]));
    const std::string good = *record;
    const size_t stride = good.size() > 1'000 ? 37 : 1;
    for (size_t at = 0; at < good.size(); at += stride) {
      for (const int flip : {1, 0x80, 0xff}) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ flip);
        records_.Replace(places_[position], bad);
        const auto node = Read(7);
        if (node) {
          ASSERT_EQ(*(*node)->region(), nodes_[7]) << position << " " << at;
        } else {
          ASSERT_ERROR(kCorrupt, node);
        }
      }
    }
    records_.Replace(places_[position], good);
  }
}

}  // namespace
}  // namespace quoin

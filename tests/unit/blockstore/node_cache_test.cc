#include "blockstore/maps/node_cache.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/memory_records.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

class NodeCacheTest : public ::testing::Test {
 protected:
  MapChild Add(uint32_t number, uint16_t extents = 1) {
    RegionNode node;
    node.digest = TestBlockDigest(number);
    for (uint16_t i = 0; i < extents; ++i) {
      node.extents.push_back({static_cast<uint16_t>(2 * i), 1, {TestPack(number), i}});
    }
    const auto at = records_.AddRecord(RecordKind::kMapNode, EncodeRegionNode(node));
    EXPECT_OK(at);
    return {node.digest, at.value_or(SlotLocation()), extents};
  }

  MemoryRecords records_;
};

TEST_F(NodeCacheTest, ANodeIsReadOnceAndShared) {
  NodeCache cache(1 << 20);
  const MapChild child = Add(1);
  ASSERT_OK_AND_ASSIGN(const auto first, cache.Get(records_, child, 0));
  ASSERT_OK_AND_ASSIGN(const auto second, cache.Get(records_, child, 0));
  EXPECT_EQ(first, second);
  EXPECT_EQ(records_.reads(), 1u);
  const NodeCacheCounters counters = cache.counters();
  EXPECT_EQ(counters.hits, 1u);
  EXPECT_EQ(counters.misses, 1u);
  EXPECT_EQ(counters.nodes, 1u);
  EXPECT_GT(counters.bytes, 0u);
}

TEST_F(NodeCacheTest, EveryParentsWordIsCheckedAgainstTheNode) {
  NodeCache cache(1 << 20);
  const MapChild child = Add(1);
  ASSERT_OK(cache.Get(records_, child, 0));
  MapChild liar = child;
  liar.data_blocks = 7;
  EXPECT_ERROR(kCorrupt, cache.Get(records_, liar, 0));
  EXPECT_ERROR(kCorrupt, cache.Get(records_, child, 1));
}

TEST_F(NodeCacheTest, ErrorsAreNotRemembered) {
  NodeCache cache(1 << 20);
  const MapChild child = Add(1);
  ASSERT_OK_AND_ASSIGN(const auto good, records_.ReadRecord(RecordKind::kMapNode, child.at));
  records_.Replace(child.at, "rubbish");
  EXPECT_ERROR(kCorrupt, cache.Get(records_, child, 0));
  records_.Replace(child.at, *good);
  EXPECT_OK(cache.Get(records_, child, 0));
}

TEST_F(NodeCacheTest, TheBudgetHolds) {
  constexpr size_t kBudget = 64 << 10;
  NodeCache cache(kBudget);
  for (uint32_t i = 0; i < 1'000; ++i) {
    ASSERT_OK(cache.Get(records_, Add(i, static_cast<uint16_t>(1 + i % 100)), 0));
    ASSERT_LE(cache.counters().bytes, kBudget);
  }
  const NodeCacheCounters counters = cache.counters();
  EXPECT_GT(counters.evictions, 0u);
  EXPECT_GT(counters.nodes, 10u);
}

TEST_F(NodeCacheTest, ANodeLargerThanAShardIsReadButNotKept) {
  NodeCache cache(NodeCache::kShards * 1'000);
  const MapChild large = Add(1, 500);
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto node, cache.Get(records_, large, 0));
    EXPECT_EQ(node->data_blocks(), 500u);
  }
  EXPECT_EQ(cache.counters().nodes, 0u);
}

TEST_F(NodeCacheTest, WhatIsInUseOutlivesAStreamOfOthers) {
  NodeCache cache(NodeCache::kShards * 4'000);  // about twelve nodes a shard
  const MapChild hot = Add(1);
  ASSERT_OK_AND_ASSIGN(const auto node, cache.Get(records_, hot, 0));
  for (uint32_t i = 2; i < 2'000; ++i) {
    node->MarkUsed();  // as a map does that has it in hand
    ASSERT_OK(cache.Get(records_, Add(i), 0));
  }
  EXPECT_GT(cache.counters().evictions, 1'000u);
  const uint64_t misses = cache.counters().misses;
  ASSERT_OK(cache.Get(records_, hot, 0));
  EXPECT_EQ(cache.counters().misses, misses);
}

}  // namespace
}  // namespace quoin

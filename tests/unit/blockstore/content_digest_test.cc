#include "blockstore/maps/content_digest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

std::string Text(const Digest& digest) {
  return std::string(reinterpret_cast<const char*>(digest.bytes.data()), Digest::kBytes);
}

// Spelled out once: stores on disk depend on it.
TEST(ContentDigestTest, ARegionsDigestIsOverNumbersAndDigestsOfItsBlocks) {
  RegionDigester digester;
  EXPECT_TRUE(digester.Finish().IsNull());
  digester.Add(1, TestBlockDigest(10));
  digester.Add(0x0302, TestBlockDigest(11));
  const std::string bytes = std::string("\x01\x00", 2) + Text(TestBlockDigest(10)) + "\x02\x03" +
                            Text(TestBlockDigest(11));
  EXPECT_EQ(digester.Finish(), DigestOf(AsBytes(bytes)));
}

TEST(ContentDigestTest, AnInnerNodesDigestIsOverItsLevelAndNumbersAndDigestsOfItsChildren) {
  InnerNode inner;
  inner.level = 3;
  inner.children[2] = {TestBlockDigest(1), {TestPack(1), 1}, 5};
  inner.children[15] = {TestBlockDigest(2), {TestPack(1), 2}, 6};
  const std::string bytes =
      "\xff\xff\x03\x02" + Text(TestBlockDigest(1)) + "\x0f" + Text(TestBlockDigest(2));
  EXPECT_EQ(InnerDigest(inner), DigestOf(AsBytes(bytes)));
}

TEST(ContentDigestTest, AContentsDigestIsOverSizeAndRoot) {
  const MapRoot root{{TestPack(1), 1}, 2, TestBlockDigest(1), 5};
  const std::string bytes =
      "quoin-content-v1" + std::string("\x00\x10\x02\x00\x00\x00\x00\x00", 8) + Text(root.digest);
  EXPECT_EQ(ContentDigest(0x21000, root), DigestOf(AsBytes(bytes)));
  EXPECT_NE(ContentDigest(0x21000, root), ContentDigest(0x21001, root));
  EXPECT_NE(ContentDigest(0, MapRoot()), Digest());
}

TEST(ContentDigestTest, OnlyWhatTheBlocksHoldCountsForARegion) {
  const std::vector<MapExtent> one = {{5, 4, {TestPack(1), 0}}};
  const std::vector<MapExtent> two = {{5, 1, {TestPack(2), 9}}, {6, 3, {TestPack(1), 50}}};
  std::vector<Digest> digests;
  for (uint64_t i = 0; i < kRegionBlocks; ++i) digests.push_back(TestBlockDigest(i));
  const std::span<const Digest, kRegionBlocks> all(digests);
  EXPECT_EQ(RegionDigest(one, all), RegionDigest(two, all));
  ASSERT_OK_AND_ASSIGN(const Digest asked, RegionDigest(one, [](uint32_t block) -> Result<Digest> {
                         return TestBlockDigest(block);
                       }));
  EXPECT_EQ(asked, RegionDigest(one, all));
  const std::vector<MapExtent> moved = {{6, 4, {TestPack(1), 0}}};
  EXPECT_NE(RegionDigest(moved, all), RegionDigest(one, all));
}

}  // namespace
}  // namespace quoin

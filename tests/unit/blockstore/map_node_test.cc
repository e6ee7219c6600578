#include "blockstore/maps/map_node.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "blockstore/maps/region_edit.h"
#include "tests/support/memory_records.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

RegionNode SampleRegion() {
  RegionNode node;
  node.digest = TestBlockDigest(1);
  node.extents = {{0, 100, {TestPack(1), 0}},
                  {100, 50, {TestPack(2), 70'000}},
                  {200, 8, {TestPack(1), 100}},
                  {208, 1, {TestPack(1), 50}},
                  {4'095, 1, {TestPack(3), 0xffff'ffff}}};
  return node;
}

InnerNode SampleInner() {
  InnerNode node;
  node.level = 2;
  node.children[0] = {TestBlockDigest(2), {TestPack(4), 7}, 1};
  node.children[7] = {TestBlockDigest(3), {TestPack(5), 9}, 65'536};
  node.children[15] = {TestBlockDigest(4), {TestPack(4), 8}, 65'535};
  return node;
}

Result<RegionNode> DecodeRegion(std::string_view bytes) {
  QUOIN_ASSIGN(const std::shared_ptr<const MapNode> node, DecodeMapNode(bytes));
  if (node->region() == nullptr) return Fail(ErrorCode::kCorrupt, "an inner node");
  return *node->region();
}

TEST(MapNodeTest, ARegionsNodeComesBack) {
  const RegionNode region = SampleRegion();
  ASSERT_OK_AND_ASSIGN(const auto node, DecodeMapNode(EncodeRegionNode(region)));
  ASSERT_NE(node->region(), nullptr);
  EXPECT_EQ(node->inner(), nullptr);
  EXPECT_EQ(*node->region(), region);
  EXPECT_EQ(node->level(), 0u);
  EXPECT_EQ(node->digest(), region.digest);
  EXPECT_EQ(node->data_blocks(), 160u);
}

TEST(MapNodeTest, AnInnerNodeComesBack) {
  const InnerNode inner = SampleInner();
  ASSERT_OK_AND_ASSIGN(const auto node, DecodeMapNode(EncodeInnerNode(inner)));
  ASSERT_NE(node->inner(), nullptr);
  EXPECT_EQ(node->region(), nullptr);
  EXPECT_EQ(*node->inner(), inner);
  EXPECT_EQ(node->level(), 2u);
  EXPECT_EQ(node->digest(), InnerDigest(inner));
  EXPECT_EQ(node->data_blocks(), 131'072u);
}

TEST(MapNodeTest, AWholeRegionInOneExtentTakesLittle) {
  RegionNode region;
  region.digest = TestBlockDigest(1);
  region.extents = {{0, 4'096, {TestPack(1), 1'000}}};
  const std::string bytes = EncodeRegionNode(region);
  EXPECT_LT(bytes.size(), 64u);
  ASSERT_OK_AND_ASSIGN(const RegionNode decoded, DecodeRegion(bytes));
  EXPECT_EQ(decoded, region);
}

TEST(MapNodeTest, ARegionInAsManyExtentsAndPacksAsCanBeFitsARecord) {
  RegionNode region;
  region.digest = TestBlockDigest(1);
  for (uint32_t i = 0; i < kRegionBlocks; ++i) {
    region.extents.push_back({static_cast<uint16_t>(i), 1, {TestPack(i + 1), 0xffff'ffff - i}});
  }
  const std::string bytes = EncodeRegionNode(region);
  EXPECT_LT(bytes.size(), kMaxRecordBytes);
  ASSERT_OK_AND_ASSIGN(const RegionNode decoded, DecodeRegion(bytes));
  EXPECT_EQ(decoded, region);
}

TEST(MapNodeTest, AFullInnerNodeOfOnePackTakesAboutSixHundredBytes) {
  InnerNode inner;
  inner.level = 6;
  for (uint32_t i = 0; i < kMapFanout; ++i) {
    inner.children[i] = {TestBlockDigest(i), {TestPack(1), 60'000 + 3 * i}, BlocksUnder(5)};
  }
  EXPECT_LT(EncodeInnerNode(inner).size(), 700u);
}

TEST(MapNodeDeathTest, NodesThatCannotBeAreNeverWritten) {
  const auto write = [](auto change) {
    RegionNode region = SampleRegion();
    change(region);
    EncodeRegionNode(region);
  };
  EXPECT_DEATH(write([](RegionNode& region) { region.extents.clear(); }), "");
  EXPECT_DEATH(write([](RegionNode& region) { region.digest = {}; }), "");
  EXPECT_DEATH(write([](RegionNode& region) { region.extents[1].first = 99; }), "");
  EXPECT_DEATH(write([](RegionNode& region) { region.extents[4].count = 2; }), "");
  EXPECT_DEATH(write([](RegionNode& region) { region.extents[0].count = 0; }), "");
  EXPECT_DEATH(write([](RegionNode& region) { region.extents[3].slot.slot = 108; }), "");
  InnerNode inner = SampleInner();
  inner.level = 7;
  EXPECT_DEATH(EncodeInnerNode(inner), "");
  inner = {};
  EXPECT_DEATH(EncodeInnerNode(inner), "");
}

// Bytes that the encoder cannot make, each wrong in one way. A region's node in pieces.
class BadBytesTest : public ::testing::Test {
 protected:
  static std::string Pack(uint32_t number) {
    const auto bytes = TestPack(number).bytes();
    return std::string(bytes.begin(), bytes.end());
  }
  std::string Region(const std::string& packs, const std::string& extents) const {
    return header_ + digest_ + packs + extents;
  }
  static std::string Bytes(std::initializer_list<int> values) {
    std::string bytes;
    for (const int value : values) bytes += static_cast<char>(value);
    return bytes;
  }

  const std::string header_ = std::string("qmap\x01\x00", 6);
  const std::string digest_ = std::string(32, 'd');
  const std::string one_pack_ = Bytes({1}) + Pack(1);
  const std::string two_packs_ = Bytes({2}) + Pack(1) + Pack(2);
};

TEST_F(BadBytesTest, WhatIsWrongIsNamed) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "no map node"},
      {"qmao" + header_.substr(4) + digest_, "no map node"},
      {"qmap\x02" + header_.substr(5) + digest_, "another format"},
      {"qmap\x01\x07" + digest_, "level 7"},
      {header_ + digest_.substr(1), "within its digest"},
      {header_ + std::string(32, '\0') + one_pack_ + Bytes({1, 0, 0, 0, 0}), "no digest"},
      {Region("", ""), "table of packs"},
      {Region(Bytes({0}), Bytes({1, 0, 0, 0, 0})), "table of packs"},
      {Region(Bytes({2}) + Pack(1) + Pack(1), Bytes({2, 0, 0, 0, 0, 0, 0, 1, 0})),
       "names one twice"},
      {Region(Bytes({1}) + std::string(16, '\0'), Bytes({1, 0, 0, 0, 0})), "names one twice"},
      {Region(Bytes({0xff, 0x1f}) + Pack(1), ""), "table of packs"},
      {Region(one_pack_, Bytes({0})), "that many extents"},
      {Region(one_pack_, Bytes({0x80, 0x20, 0, 0, 0, 0})), "that many extents"},
      {Region(one_pack_, Bytes({1, 0, 0, 0})), "that many extents"},
      {Region(one_pack_, Bytes({1, 0x80, 0x20, 0, 0, 0})), "beyond the region"},
      {Region(one_pack_, Bytes({1, 1, 0xff, 0x1f, 0, 0})), "beyond the region"},
      {Region(one_pack_, Bytes({1, 0, 0, 1, 0})), "out of order"},
      {Region(two_packs_, Bytes({2, 0, 0, 1, 0, 0, 0, 0, 0})), "out of order"},
      {Region(two_packs_, Bytes({1, 0, 0, 0, 0})), "no extent names"},
      {Region(one_pack_, Bytes({1, 0, 0, 0, 1})), "no pack has"},
      {Region(one_pack_, Bytes({1, 0, 1, 0, 0xfe, 0xff, 0xff, 0xff, 0x1f})), "no pack has"},
      {Region(one_pack_, Bytes({1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})), "no pack has"},
      {Region(one_pack_, Bytes({2, 0, 0, 0, 0, 0, 0, 0, 0})), "continues"},
      {Region(one_pack_, Bytes({2, 0, 0xff, 0x1f, 0, 0, 0, 0, 0, 0})), "beyond the region"},
      {Region(one_pack_, Bytes({1, 0, 0, 0, 0, 0})), "bytes follow"},
      {"qmap\x01\x01", "before its children"},
      {std::string("qmap\x01\x01\x00\x00", 8) + one_pack_, "no children"},
      {std::string("qmap\x01\x01\x01\x00", 8) + one_pack_ + digest_.substr(1), "within child 0"},
      {std::string("qmap\x01\x01\x01\x00", 8) + one_pack_ + std::string(32, '\0') +
           Bytes({0, 0, 1}),
       "no digest"},
      {std::string("qmap\x01\x01\x01\x00", 8) + one_pack_ + digest_ + Bytes({0, 0, 0}),
       "cannot hold 0"},
      {std::string("qmap\x01\x01\x01\x00", 8) + one_pack_ + digest_ + Bytes({0, 0, 0x81, 0x20}),
       "cannot hold 4097"},
      {std::string("qmap\x01\x01\x01\x00", 8) + two_packs_ + digest_ + Bytes({0, 0, 1}),
       "no child names"},
      {std::string("qmap\x01\x01\x01\x00", 8) + one_pack_ + digest_ + Bytes({0, 0, 1, 0}),
       "bytes follow"},
  };
  for (const auto& [bytes, expected] : cases) {
    const auto node = DecodeMapNode(bytes);
    ASSERT_ERROR(kCorrupt, node) << expected;
    EXPECT_NE(node.error().what.find(expected), std::string::npos)
        << node.error().what << " instead of " << expected;
  }
  EXPECT_OK(DecodeMapNode(Region(one_pack_, Bytes({1, 0, 0, 0, 0}))));
  EXPECT_OK(DecodeMapNode(Region(one_pack_, Bytes({1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x1f}))));
}

// Whatever decodes at all must be what encodes to the same bytes: one content, one form.
void ExpectErrorOrCanonical(const std::string& bytes) {
  const auto node = DecodeMapNode(bytes);
  if (!node) {
    ASSERT_ERROR(kCorrupt, node);
    ASSERT_FALSE(node.error().what.empty());
    return;
  }
  const std::string again = (*node)->region() != nullptr ? EncodeRegionNode(*(*node)->region())
                                                         : EncodeInnerNode(*(*node)->inner());
  ASSERT_EQ(again, bytes);
}

TEST(MapNodeDamageTest, EveryByteInEveryValue) {
  for (const std::string& good :
       {EncodeRegionNode(SampleRegion()), EncodeInnerNode(SampleInner())}) {
    for (size_t at = 0; at < good.size(); ++at) {
      for (int value = 0; value < 256; ++value) {
        std::string bad = good;
        bad[at] = static_cast<char>(value);
        ASSERT_NO_FATAL_FAILURE(ExpectErrorOrCanonical(bad)) << at << " " << value;
      }
    }
    for (size_t size = 0; size < good.size(); ++size) {
      ASSERT_ERROR(kCorrupt, DecodeMapNode(good.substr(0, size))) << size;
    }
    ASSERT_ERROR(kCorrupt, DecodeMapNode(good + '\0'));
  }
}

TEST(MapNodeDamageTest, RandomNodesComeBackAndBearRandomDamage) {
  std::mt19937_64 random(DrawSeed());
  for (int round = 0; round < 300; ++round) {
    RegionEdit edit;
    for (uint64_t n = random() % 200; n > 0; --n) {
      const auto first = static_cast<uint32_t>(random() % kRegionBlocks);
      const auto count = static_cast<uint32_t>(
          1 + random() % std::min<uint64_t>(random() % 8 == 0 ? 4'096 : 30, kRegionBlocks - first));
      edit.SetData(
          first, count,
          {TestPack(static_cast<uint32_t>(random() % 5)), static_cast<uint32_t>(random())});
    }
    RegionNode node{TestBlockDigest(random()), edit.Extents()};
    if (node.extents.empty()) continue;
    const std::string good = EncodeRegionNode(node);
    ASSERT_OK_AND_ASSIGN(const RegionNode decoded, DecodeRegion(good));
    ASSERT_EQ(decoded, node);
    for (int i = 0; i < 50; ++i) {
      std::string bad = good;
      for (uint64_t n = 1 + random() % 4; n > 0; --n) {
        bad[random() % bad.size()] = static_cast<char>(random());
      }
      if (random() % 4 == 0) bad.erase(random() % bad.size(), 1 + random() % 5);
      ASSERT_NO_FATAL_FAILURE(ExpectErrorOrCanonical(bad));
    }
  }
}

TEST(ReadMapNodeTest, ANodeIsComparedWithWhatItsParentSays) {
  MemoryRecords records;
  const RegionNode region = SampleRegion();
  ASSERT_OK_AND_ASSIGN(const SlotLocation at,
                       records.AddRecord(RecordKind::kMapNode, EncodeRegionNode(region)));
  const MapChild good{region.digest, at, 160};
  EXPECT_OK(ReadMapNode(records, good, 0));
  EXPECT_ERROR(kCorrupt, ReadMapNode(records, good, 1));
  MapChild bad = good;
  bad.digest = TestBlockDigest(99);
  EXPECT_ERROR(kCorrupt, ReadMapNode(records, bad, 0));
  bad = good;
  bad.data_blocks = 159;
  EXPECT_ERROR(kCorrupt, ReadMapNode(records, bad, 0));
  bad = good;
  bad.at.slot += 1;
  EXPECT_ERROR(kCorrupt, ReadMapNode(records, bad, 0));
}

TEST(ReadMapNodeTest, ADamagedNodeIsNamedByItsPlace) {
  MemoryRecords records;
  ASSERT_OK_AND_ASSIGN(const SlotLocation at, records.AddRecord(RecordKind::kMapNode, "rubbish"));
  const auto node = ReadMapNode(records, {TestBlockDigest(1), at, 1}, 0);
  ASSERT_ERROR(kCorrupt, node);
  EXPECT_NE(node.error().what.find(at.pack.ToString()), std::string::npos);
}

TEST(MapRootTest, RootsThatCannotBeAreRefused) {
  EXPECT_OK(CheckMapRoot({}));
  EXPECT_OK(CheckMapRoot({{TestPack(1), 0}, 6, TestBlockDigest(1), 1}));
  EXPECT_ERROR(kCorrupt, CheckMapRoot({{TestPack(1), 0}, 7, TestBlockDigest(1), 1}));
  EXPECT_ERROR(kCorrupt, CheckMapRoot({{}, 0, TestBlockDigest(1), 0}));
  EXPECT_ERROR(kCorrupt, CheckMapRoot({{}, 0, {}, 1}));
}

}  // namespace
}  // namespace quoin

#include "blockstore/maps/region_change.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"
#include "tests/support/scattered_region.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

RegionChange SampleChange() {
  RegionChange change;
  change.digest = TestBlockDigest(1);
  change.result_checksum = 0x8877'6655'4433'2211;
  change.position = 300;
  change.base = {TestPack(1), 70'000};
  change.runs = {{0, 2, {TestPack(2), 9}},
                 {2, 40, {}},
                 {42, 1, {TestPack(1), 70'001}},
                 {43, 1, {TestPack(1), 70'003}},
                 {4'095, 1, {TestPack(3), 0xffff'ffff}}};
  return change;
}

TEST(RegionChangeTest, AChangeComesBack) {
  const RegionChange change = SampleChange();
  const std::string bytes = EncodeRegionChange(change);
  EXPECT_TRUE(IsRegionChange(bytes));
  EXPECT_ERROR(kCorrupt, DecodeMapNode(bytes));
  ASSERT_OK_AND_ASSIGN(const RegionChange decoded, DecodeRegionChange(bytes));
  EXPECT_EQ(decoded, change);
}

TEST(RegionChangeTest, TheBytesAreAsDescribed) {
  RegionChange change = SampleChange();
  change.runs = {{5, 2, {}}, {10, 3, {TestPack(1), 70'001}}};
  std::string expected("qmap\x02\x00", 6);
  const Digest digest = change.digest;
  expected.append(digest.bytes.begin(), digest.bytes.end());
  expected += "\x11\x22\x33\x44\x55\x66\x77\x88";
  expected += "\xac\x02";  // position
  expected += '\x01';
  const auto pack = TestPack(1).bytes();
  expected.append(pack.begin(), pack.end());
  expected += std::string("\x00\xe0\xc5\x08", 4);  // the base
  expected += '\x02';
  expected += "\x05\x03";                          // two holes
  expected += std::string("\x03\x04\x00\x00", 4);  // three blocks, right behind the base
  EXPECT_EQ(EncodeRegionChange(change), expected);
}

TEST(RegionChangeTest, TheSmallestChangeIsOneWithoutRuns) {
  RegionChange change = SampleChange();
  change.position = 1;
  change.base.slot = 0;
  change.runs.clear();
  EXPECT_EQ(EncodeRegionChange(change).size(), kMinRegionChangeBytes);
  EXPECT_OK(DecodeRegionChange(EncodeRegionChange(change)));
}

TEST(RegionChangeTest, AsManyRunsAndPacksAsCanBeFitARecord) {
  RegionChange change = SampleChange();
  change.runs.clear();
  change.base.pack = TestPack(kRegionBlocks + 1);
  for (uint32_t i = 0; i < kRegionBlocks; ++i) {
    change.runs.push_back({static_cast<uint16_t>(i), 1, {TestPack(i + 1), 0xffff'ffff - i}});
  }
  const std::string bytes = EncodeRegionChange(change);
  EXPECT_LT(bytes.size(), kMaxRecordBytes);
  ASSERT_OK_AND_ASSIGN(const RegionChange decoded, DecodeRegionChange(bytes));
  EXPECT_EQ(decoded, change);
}

TEST(RegionChangeTest, OnlyWholeNodesAreTakenForThem) {
  RegionNode node{TestBlockDigest(1), {{0, 1, {TestPack(1), 0}}}};
  EXPECT_FALSE(IsRegionChange(EncodeRegionNode(node)));
  EXPECT_FALSE(IsRegionChange(""));
  EXPECT_FALSE(IsRegionChange("qmap"));
  EXPECT_ERROR(kCorrupt, DecodeRegionChange(EncodeRegionNode(node)));
}

TEST(RegionChangeDeathTest, ChangesThatCannotBeAreNeverWritten) {
  const auto write = [](auto change) {
    RegionChange bad = SampleChange();
    change(bad);
    EncodeRegionChange(bad);
  };
  EXPECT_DEATH(write([](RegionChange& c) { c.digest = {}; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.base = {}; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.position = 0; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.position = kMaxChainPosition + 1; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.runs[1].first = 1; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.runs[4].count = 2; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.runs[0].count = 0; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.runs[3].slot.slot = 70'002; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.runs[2].slot = {}; }), "");
  EXPECT_DEATH(write([](RegionChange& c) { c.runs[1].slot.slot = 1; }), "");
}

// Bytes that the encoder cannot make, each wrong in one way.
class BadChangeTest : public ::testing::Test {
 protected:
  static std::string Bytes(std::initializer_list<int> values) {
    std::string bytes;
    for (const int value : values) bytes += static_cast<char>(value);
    return bytes;
  }
  static std::string Pack(uint32_t number) {
    const auto bytes = TestPack(number).bytes();
    return std::string(bytes.begin(), bytes.end());
  }
  std::string Change(const std::string& position, const std::string& packs,
                     const std::string& places) const {
    return head_ + position + packs + places;
  }

  const std::string head_ = std::string("qmap\x02\x00", 6) + std::string(40, 'd');
  const std::string one_ = Bytes({1});
  const std::string one_pack_ = Bytes({1}) + Pack(1);
  const std::string two_packs_ = Bytes({2}) + Pack(1) + Pack(2);
};

TEST_F(BadChangeTest, WhatIsWrongIsNamed) {
  const std::string base = Bytes({0, 0});
  const std::pair<std::string, std::string> cases[] = {
      {"", "no change"},
      {"qmap\x02", "no change"},
      {"qmao" + head_.substr(4), "no change"},
      {std::string("qmap\x02\x01", 6) + head_.substr(6), "only a region"},
      {head_.substr(0, 45), "within its digest"},
      {std::string("qmap\x02\x00", 6) + std::string(40, '\0') + one_ + one_pack_ + base +
           Bytes({0}),
       "no digest"},
      {Change("", "", ""), "no position"},
      {Change(Bytes({0}), one_pack_, base + Bytes({0})), "no position"},
      {Change(Bytes({0x80, 0x20}), one_pack_, base + Bytes({0})), "no position"},
      {Change(Bytes({0x81, 0}), one_pack_, base + Bytes({0})), "no position"},
      {Change(one_, "", ""), "table of packs"},
      {Change(one_, Bytes({0}), base + Bytes({0})), "table of packs"},
      {Change(one_, Bytes({0x82, 0x20}) + Pack(1), base), "table of packs"},
      {Change(one_, Bytes({2}) + Pack(1) + Pack(1), base + Bytes({1, 0, 0, 1, 0})), "one twice"},
      {Change(one_, Bytes({1}) + std::string(16, '\0'), base + Bytes({0})), "one twice"},
      {Change(one_, one_pack_, ""), "within a slot's place"},
      {Change(one_, one_pack_, Bytes({1, 0, 0})), "out of order"},
      {Change(one_, one_pack_, Bytes({0, 1, 0})), "no pack has"},
      {Change(one_, one_pack_, base), "that many changes"},
      {Change(one_, one_pack_, base + Bytes({0x81, 0x20}) + std::string(9'000, '\0')),
       "that many changes"},
      {Change(one_, one_pack_, base + Bytes({1, 0})), "that many changes"},
      {Change(one_, one_pack_, base + Bytes({2, 0, 1, 0x80, 0x80})), "within change 1"},
      {Change(one_, one_pack_, base + Bytes({1, 0x80, 0x20, 1})), "beyond the region"},
      {Change(one_, one_pack_, base + Bytes({1, 1, 0xff, 0x3f})), "beyond the region"},
      {Change(one_, one_pack_, base + Bytes({2, 0, 0xff, 0x3f, 0, 1})), "beyond the region"},
      {Change(one_, one_pack_, base + Bytes({1, 0, 0, 0})), "within a slot's place"},
      {Change(one_, one_pack_, base + Bytes({2, 0, 1, 0, 1})), "continues"},
      {Change(one_, one_pack_, base + Bytes({2, 0, 0, 0, 0, 0, 0, 0, 0})), "continues"},
      {Change(one_, two_packs_, base + Bytes({0})), "no change names"},
      {Change(one_, one_pack_, base + Bytes({0, 0})), "bytes follow"},
  };
  for (const auto& [bytes, expected] : cases) {
    const auto change = DecodeRegionChange(bytes);
    ASSERT_ERROR(kCorrupt, change) << expected;
    EXPECT_NE(change.error().what.find(expected), std::string::npos)
        << change.error().what << " instead of " << expected;
  }
  EXPECT_OK(DecodeRegionChange(Change(one_, one_pack_, base + Bytes({0}))));
  EXPECT_OK(DecodeRegionChange(Change(Bytes({0xff, 0x1f}), one_pack_, base + Bytes({0}))));
  EXPECT_OK(DecodeRegionChange(Change(one_, one_pack_, base + Bytes({1, 0, 0xff, 0x3f}))));
}

void ExpectErrorOrCanonical(const std::string& bytes) {
  const auto change = DecodeRegionChange(bytes);
  if (!change) {
    ASSERT_ERROR(kCorrupt, change);
    ASSERT_FALSE(change.error().what.empty());
    return;
  }
  ASSERT_EQ(EncodeRegionChange(*change), bytes);
}

TEST(RegionChangeDamageTest, EveryByteInEveryValue) {
  const std::string good = EncodeRegionChange(SampleChange());
  for (size_t at = 0; at < good.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string bad = good;
      bad[at] = static_cast<char>(value);
      ASSERT_NO_FATAL_FAILURE(ExpectErrorOrCanonical(bad)) << at << " " << value;
    }
  }
  for (size_t size = 0; size < good.size(); ++size) {
    ASSERT_ERROR(kCorrupt, DecodeRegionChange(good.substr(0, size))) << size;
  }
  ASSERT_ERROR(kCorrupt, DecodeRegionChange(good + '\0'));
}

// A region as plain arrays.
using Places = std::vector<SlotLocation>;

Places PlacesOf(const RegionEdit& edit) {
  Places places;
  for (uint32_t block = 0; block < kRegionBlocks; ++block) places.push_back(edit.SlotOf(block));
  return places;
}

bool Follows(const SlotLocation& place, const SlotLocation& next) {
  if (place.IsNull() || next.IsNull()) return place == next;
  return place.pack == next.pack && next.slot == uint64_t{place.slot} + 1;
}

TEST(RegionDifferenceTest, RandomRegionsDifferInTheFewestRunsAndComeBack) {
  std::mt19937_64 random(DrawSeed());
  const auto change_some = [&random](RegionEdit& edit, uint64_t changes) {
    for (; changes > 0; --changes) {
      const auto first = static_cast<uint32_t>(random() % kRegionBlocks);
      const auto count =
          static_cast<uint32_t>(1 + random() % std::min<uint64_t>(30, kRegionBlocks - first));
      if (random() % 4 == 0) {
        edit.SetHole(first, count);
      } else {
        const auto pack = static_cast<uint32_t>(random() % 3);
        edit.SetData(first, count, {TestPack(pack), first + static_cast<uint32_t>(random() % 3)});
      }
    }
  };
  for (int round = 0; round < 200; ++round) {
    RegionEdit edit;
    change_some(edit, random() % 300);
    const std::vector<MapExtent> base = edit.Extents();
    const Places before = PlacesOf(edit);
    change_some(edit, random() % 20);
    const std::vector<MapExtent> result = edit.Extents();
    const Places after = PlacesOf(edit);
    const std::vector<ChangedRun> runs = DifferenceOf(base, result);
    std::vector<ChangedRun> expected;
    for (uint32_t block = 0; block < kRegionBlocks; ++block) {
      if (before[block] == after[block]) continue;
      if (!expected.empty() && expected.back().end() == block &&
          Follows(after[block - 1], after[block])) {
        ++expected.back().count;
      } else {
        expected.push_back({static_cast<uint16_t>(block), 1, after[block]});
      }
    }
    ASSERT_EQ(runs, expected);
    RegionEdit again(base);
    ASSERT_OK(ApplyRuns(runs, again));
    ASSERT_EQ(again.Extents(), result);
    RegionChange change = SampleChange();
    change.runs = runs;
    ASSERT_OK_AND_ASSIGN(const RegionChange decoded,
                         DecodeRegionChange(EncodeRegionChange(change)));
    ASSERT_EQ(decoded, change);
  }
}

TEST(RegionDifferenceTest, WhatDoesNotChangeIsNoChange) {
  const std::vector<MapExtent> base = {{0, 10, {TestPack(1), 0}}};
  for (const ChangedRun& run : {ChangedRun{9, 2, {TestPack(1), 9}}, ChangedRun{9, 2, {}}}) {
    RegionEdit edit(base);
    EXPECT_ERROR(kCorrupt, ApplyRuns(std::vector<ChangedRun>{run}, edit));
  }
  EXPECT_TRUE(DifferenceOf(base, base).empty());
  EXPECT_TRUE(DifferenceOf({}, {}).empty());
}

// What MapBuilder goes by: the base of the next position is the node itself or one of its chain, as
// many steps down as its position ends with ones.
TEST(ChainPositionTest, TheNextBaseIsAlwaysInTheChain) {
  for (uint32_t position = 0; position < kMaxChainPosition; ++position) {
    uint32_t base = position;
    for (uint32_t ones = position; (ones & 1) != 0; ones >>= 1) base = BasePosition(base);
    ASSERT_EQ(base, BasePosition(position + 1));
  }
}

}  // namespace
}  // namespace quoin

#include "metadata/dead_list.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/support/result_matchers.h"
#include "tests/unit/metadata/sample_state.h"

namespace quoin {
namespace {

using Runs = std::vector<SlotRun>;

DeadList SampleList() {
  DeadList list;
  list.AddSlots(SampleId(5), {{0, 1}, {7, 100}, {4'000'000'000u, 5}});
  list.AddPack(SampleId(2));
  list.AddSlots(SampleId(9), {{UINT32_MAX - 1, 1}});
  return list;
}

TEST(DeadListTest, ComesBackFromItsBytesWhole) {
  for (const DeadList& list : {DeadList(), SampleList()}) {
    ASSERT_OK_AND_ASSIGN(const std::string bytes, list.Encode(300, 7));
    uint64_t previous = 0;
    ASSERT_OK_AND_ASSIGN(const DeadList read,
                         DeadList::Decode(bytes, 300, "gc/dead/300", &previous));
    EXPECT_EQ(previous, 7u);
    EXPECT_TRUE(read == list);
  }
}

TEST(DeadListTest, WithFewerRunsItSaysMoreAndNeverLess) {
  std::mt19937_64 random(7);
  DeadList exact;
  for (int pack = 0; pack < 20; ++pack) {
    Runs runs;
    for (uint32_t n = 0; n < 50; ++n) {
      runs.push_back({static_cast<uint32_t>(random() % 10'000), 1 + static_cast<uint32_t>(random() % 9)});
    }
    exact.AddSlots(Id::Random(), runs);
  }
  exact.AddPack(Id::Random());
  for (const uint64_t limit : {uint64_t{1'000'000}, exact.CountRuns(), exact.CountRuns() - 1,
                               uint64_t{100}, uint64_t{0}}) {
    DeadList limited = exact;
    limited.LimitRuns(limit);
    EXPECT_LE(limited.CountRuns(), limit);
    EXPECT_EQ(limited == exact, exact.CountRuns() <= limit);
    ASSERT_EQ(limited.packs().size(), exact.packs().size());
    for (size_t n = 0; n < exact.packs().size(); ++n) {
      const DeadPack& pack = limited.packs()[n];
      EXPECT_EQ(pack.pack, exact.packs()[n].pack);
      EXPECT_TRUE(pack.IsWhole() || pack == exact.packs()[n]);
    }
  }
}

TEST(DeadListTest, IsCompact) {
  DeadList list;
  Runs runs;
  for (uint32_t slot = 0; slot < 65'536; slot += 4) runs.push_back({slot, 2});
  list.AddSlots(SampleId(1), runs);
  EXPECT_LT(list.Encode(1, 0)->size(), 2 * runs.size() + 100);
}

TEST(DeadListTest, RunsThatOverlapOrTouchBecomeOne) {
  DeadList list;
  list.AddSlots(SampleId(1), {{10, 5}, {0, 3}, {3, 2}, {12, 10}, {50, 0}});
  EXPECT_EQ(list.packs()[0].runs, (Runs{{0, 5}, {10, 12}}));
  list.AddSlots(SampleId(1), {{5, 5}});
  EXPECT_EQ(list.packs()[0].runs, (Runs{{0, 22}}));
  list.AddSlots(SampleId(2), {});
  list.AddSlots(SampleId(2), {{7, 0}});
  EXPECT_EQ(list.Find(SampleId(2)), nullptr);
}

TEST(DeadListTest, AWholePackStaysWhole) {
  DeadList list = SampleList();
  list.AddSlots(SampleId(2), {{1, 1}});
  EXPECT_TRUE(list.Find(SampleId(2))->IsWhole());
  list.AddPack(SampleId(5));
  EXPECT_TRUE(list.Find(SampleId(5))->IsWhole());
}

TEST(DeadListTest, ListsAreMerged) {
  DeadList list = SampleList();
  DeadList other;
  other.AddPack(SampleId(1));
  other.AddSlots(SampleId(2), {{1, 1}});
  other.AddSlots(SampleId(5), {{1, 6}, {200, 1}});
  other.AddSlots(SampleId(7), {{3, 3}});
  other.AddPack(SampleId(9));
  list.Add(other);
  DeadList expected;
  expected.AddPack(SampleId(1));
  expected.AddPack(SampleId(2));
  expected.AddSlots(SampleId(5), {{0, 107}, {200, 1}, {4'000'000'000u, 5}});
  expected.AddSlots(SampleId(7), {{3, 3}});
  expected.AddPack(SampleId(9));
  EXPECT_TRUE(list == expected);
  list.Add(DeadList());
  EXPECT_TRUE(list == expected);
}

TEST(DeadListTest, AnswersForEachSlot) {
  const DeadList list = SampleList();
  const DeadPack& dead = *list.Find(SampleId(5));
  for (const uint32_t slot : {0u, 7u, 106u, 4'000'000'000u, 4'000'000'004u}) {
    EXPECT_TRUE(dead.Contains(slot)) << slot;
  }
  for (const uint32_t slot : {1u, 6u, 107u, 3'999'999'999u, 4'000'000'005u, UINT32_MAX}) {
    EXPECT_FALSE(dead.Contains(slot)) << slot;
  }
  EXPECT_TRUE(list.Find(SampleId(2))->Contains(12345));
  EXPECT_EQ(list.Find(SampleId(3)), nullptr);
}

TEST(DeadListTest, EveryFlippedBitCutAndOtherGenerationIsNoticed) {
  const std::string good = SampleList().Encode(300, 7).value();
  uint64_t previous = 0;
  EXPECT_ERROR(kCorrupt,
               DeadList::Decode(SampleList().Encode(300, 300).value(), 300, "x", &previous));
  EXPECT_ERROR(kCorrupt, DeadList::Decode(good, 299, "x", &previous));
  EXPECT_ERROR(kCorrupt, DeadList::Decode(good + "x", 300, "x", &previous));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_ERROR(kCorrupt, DeadList::Decode(good.substr(0, size), 300, "x", &previous)) << size;
  }
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_ERROR(kCorrupt, DeadList::Decode(bytes, 300, "gc/dead/300", &previous)) << bit;
  }
}

}  // namespace
}  // namespace quoin

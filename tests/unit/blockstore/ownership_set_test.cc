#include "blockstore/layers/ownership_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

constexpr BlockState kAbsent = BlockState::kAbsent;
constexpr BlockState kZero = BlockState::kZero;
constexpr BlockState kData = BlockState::kData;

struct OwnedRun {
  uint64_t first;
  uint64_t count;
  BlockState state;
  bool operator==(const OwnedRun&) const = default;
};

void PrintTo(const OwnedRun& run, std::ostream* out) {
  *out << run.first << "+" << run.count << ":" << static_cast<int>(run.state);
}

std::vector<OwnedRun> RunsOf(const OwnershipSet& set, uint64_t first = 0,
                             uint64_t end = kMaxVdiBlocks) {
  std::vector<OwnedRun> runs;
  set.ForEachRun(first, end, [&runs](uint64_t at, uint64_t count, BlockState state) {
    runs.push_back({at, count, state});
  });
  return runs;
}

TEST(OwnershipSetTest, ANewSetOwnsNothing) {
  OwnershipSet set;
  EXPECT_TRUE(set.empty());
  EXPECT_FALSE(set.has_dirty());
  EXPECT_EQ(set.StateOf(0), kAbsent);
  EXPECT_EQ(set.StateOf(kMaxVdiBlocks - 1), kAbsent);
  EXPECT_EQ(set.RunAt(5, kMaxVdiBlocks - 5).count, kMaxVdiBlocks - 5);
  EXPECT_EQ(RunsOf(set), std::vector<OwnedRun>{});
  EXPECT_TRUE(set.TakeDirty().empty());
}

TEST(OwnershipSetTest, TheFirstAndTheLastBlockCanBeOwned) {
  OwnershipSet set;
  set.Set(0, 1, kData);
  set.Set(kMaxVdiBlocks - 1, 1, kZero);
  EXPECT_EQ(RunsOf(set), (std::vector<OwnedRun>{{0, 1, kData}, {kMaxVdiBlocks - 1, 1, kZero}}));
  EXPECT_EQ(set.data_blocks(), 1u);
  EXPECT_EQ(set.owned_blocks(), 2u);
  EXPECT_EQ(set.RunAt(1, kMaxVdiBlocks - 1).count, kMaxVdiBlocks - 2);
}

TEST(OwnershipSetTest, NeighboursOfAChangeKeepTheirState) {
  for (const uint64_t border : {uint64_t{32}, kRegionBlocks, kRegionBlocks * 4096}) {
    for (const BlockState state : {kZero, kData}) {
      OwnershipSet set;
      set.Set(border - 3, 6, kData);
      set.Set(border - 1, 2, kAbsent);
      set.Set(border - 1, 2, state);
      std::vector<OwnedRun> expected{{border - 3, 6, kData}};
      if (state == kZero) {
        expected = {{border - 3, 2, kData}, {border - 1, 2, kZero}, {border + 1, 2, kData}};
      }
      EXPECT_EQ(RunsOf(set), expected) << border;
    }
  }
}

TEST(OwnershipSetTest, RunsAreCutAtTheLimit) {
  OwnershipSet set;
  set.Set(100, 10'000, kData);
  EXPECT_EQ(set.RunAt(100, 1).count, 1u);
  EXPECT_EQ(set.RunAt(100, 9'999).count, 9'999u);
  EXPECT_EQ(set.RunAt(100, 20'000).count, 10'000u);
  EXPECT_EQ(set.RunAt(99, 20'000).state, kAbsent);
  EXPECT_EQ(set.RunAt(99, 20'000).count, 1u);
  EXPECT_EQ(RunsOf(set, 200, 300), (std::vector<OwnedRun>{{200, 100, kData}}));
}

TEST(OwnershipSetTest, AWholeDiskIsDiscardedAndPartsOfItWrittenAgain) {
#ifdef __SANITIZE_THREAD__
  constexpr uint64_t kDiskBlocks = kMaxVdiBlocks / 16;  // 16 million atomic words take a minute
#else
  constexpr uint64_t kDiskBlocks = kMaxVdiBlocks;
#endif
  OwnershipSet set;
  set.Set(0, kDiskBlocks, kZero);
  EXPECT_EQ(RunsOf(set, 0, kDiskBlocks), (std::vector<OwnedRun>{{0, kDiskBlocks, kZero}}));
  EXPECT_EQ(set.owned_blocks(), kDiskBlocks);
  EXPECT_EQ(set.data_blocks(), 0u);
  EXPECT_LT(set.Encode().size(), 100u);
  const uint64_t middle = kDiskBlocks / 2;
  set.Set(middle - 1, 2, kData);
  EXPECT_EQ(RunsOf(set, 0, kDiskBlocks),
            (std::vector<OwnedRun>{{0, middle - 1, kZero},
                                   {middle - 1, 2, kData},
                                   {middle + 1, kDiskBlocks - middle - 1, kZero}}));
}

TEST(OwnershipSetTest, DiscardedRegionsAreForgottenAsCheaply) {
  constexpr uint64_t kBlocks = kMaxVdiBlocks / 256;  // 1 TiB
  OwnershipSet set;
  set.Set(0, kBlocks, kZero);
  EXPECT_EQ(set.TakeDirty().size(), kBlocks / kRegionBlocks);
  set.Set(0, kBlocks, kAbsent);
  EXPECT_TRUE(set.empty());
  EXPECT_TRUE(RunsOf(set).empty());
  const std::vector<RegionRecord> records = set.TakeDirty();
  EXPECT_EQ(records.size(), kBlocks / kRegionBlocks);
  for (const RegionRecord& record : records) EXPECT_EQ(record.runs, "");
}

// A plain array over three windows of the disk: its start, a border between two subtrees, its end.
class ReferenceTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kWindowBlocks = 3 * kRegionBlocks;
  static constexpr uint64_t kWindows[] = {0, 4096 * kRegionBlocks - kWindowBlocks / 2,
                                          kMaxVdiBlocks - kWindowBlocks};

  ReferenceTest() : states_(std::size(kWindows), std::vector<BlockState>(kWindowBlocks)) {}

  void RandomSet() {
    const uint64_t window = random_() % std::size(kWindows);
    uint64_t first = random_() % kWindowBlocks;
    uint64_t count = 1 + random_() % (kWindowBlocks - first);
    if (random_() % 2 == 0) count = 1 + random_() % std::min<uint64_t>(40, kWindowBlocks - first);
    if (random_() % 8 == 0) {  // whole regions have a way of their own
      first = first / kRegionBlocks * kRegionBlocks;
      count = kRegionBlocks;
    }
    const auto state = static_cast<BlockState>(random_() % 3);
    set_.Set(kWindows[window] + first, count, state);
    std::fill_n(states_[window].begin() + static_cast<std::ptrdiff_t>(first), count, state);
  }

  std::vector<OwnedRun> ExpectedRuns() const {
    std::vector<OwnedRun> runs;
    for (size_t window = 0; window < std::size(kWindows); ++window) {
      for (uint64_t i = 0; i < kWindowBlocks; ++i) {
        const BlockState state = states_[window][i];
        const uint64_t block = kWindows[window] + i;
        if (state == kAbsent) continue;
        if (!runs.empty() && runs.back().state == state &&
            runs.back().first + runs.back().count == block) {
          ++runs.back().count;
        } else {
          runs.push_back({block, 1, state});
        }
      }
    }
    return runs;
  }

  void CheckSome() {
    const uint64_t window = random_() % std::size(kWindows);
    const uint64_t at = random_() % kWindowBlocks;
    const uint64_t limit = 1 + random_() % (kWindowBlocks - at);
    const std::vector<BlockState>& states = states_[window];
    uint64_t count = 1;
    while (count < limit && states[at + count] == states[at]) ++count;
    const BlockRun run = set_.RunAt(kWindows[window] + at, limit);
    ASSERT_EQ(run.state, states[at]);
    ASSERT_EQ(run.count, count);
    ASSERT_EQ(set_.StateOf(kWindows[window] + at), states[at]);
  }

  void CheckCounts() const {
    uint64_t owned = 0;
    uint64_t data = 0;
    for (const OwnedRun& run : ExpectedRuns()) {
      owned += run.count;
      data += run.state == kData ? run.count : 0;
    }
    ASSERT_EQ(set_.owned_blocks(), owned);
    ASSERT_EQ(set_.data_blocks(), data);
  }

  const uint64_t seed_ = DrawSeed();
  std::mt19937_64 random_{seed_};
  OwnershipSet set_;
  std::vector<std::vector<BlockState>> states_;
};

TEST_F(ReferenceTest, RandomChangesAgreeWithAPlainArray) {
  for (int i = 0; i < 3'000; ++i) {
    RandomSet();
    for (int check = 0; check < 5; ++check) ASSERT_NO_FATAL_FAILURE(CheckSome());
    if (i % 100 != 0) continue;
    ASSERT_NO_FATAL_FAILURE(CheckCounts());
    ASSERT_EQ(RunsOf(set_), ExpectedRuns());
  }
}

TEST_F(ReferenceTest, WhatTakeDirtyHandsOutIsEnoughToLoadTheSet) {
  std::map<uint32_t, std::string> rows;  // as the database keeps them
  for (int flush = 0; flush < 100; ++flush) {
    for (uint64_t n = random_() % 4; n > 0; --n) RandomSet();
    for (const RegionRecord& record : set_.TakeDirty()) {
      rows.erase(record.region);
      if (!record.runs.empty()) rows[record.region] = record.runs;
    }
    ASSERT_FALSE(set_.has_dirty());
    OwnershipSet loaded;
    for (const auto& [region, runs] : rows) ASSERT_OK(loaded.LoadRegion(region, runs));
    ASSERT_EQ(RunsOf(loaded), ExpectedRuns());
    ASSERT_EQ(loaded.owned_blocks(), set_.owned_blocks());
    ASSERT_EQ(loaded.data_blocks(), set_.data_blocks());
  }
}

TEST_F(ReferenceTest, AnEncodedSetDecodesToTheSame) {
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 10; ++i) RandomSet();
    ASSERT_OK_AND_ASSIGN(const auto decoded, OwnershipSet::Decode(set_.Encode()));
    ASSERT_EQ(RunsOf(*decoded), ExpectedRuns());
    ASSERT_EQ(decoded->data_blocks(), set_.data_blocks());
    ASSERT_FALSE(decoded->has_dirty());
    ASSERT_TRUE(decoded->TakeDirty().empty());
    ASSERT_EQ(decoded->Encode(), set_.Encode());
  }
}

TEST_F(ReferenceTest, DamageToAnEncodedSetIsFound) {
  for (int i = 0; i < 20; ++i) RandomSet();
  const std::string good = set_.Encode();
  for (int i = 0; i < 2'000; ++i) {
    std::string bad = good;
    switch (random_() % 3) {
      case 0:
        bad[random_() % bad.size()] ^= static_cast<char>(1 << random_() % 8);
        break;
      case 1:
        bad.resize(random_() % bad.size());
        break;
      default:
        bad += static_cast<char>(random_());
    }
    ASSERT_ERROR(kCorrupt, OwnershipSet::Decode(bad));
  }
}

TEST_F(ReferenceTest, ADamagedRegionIsRefusedOrStaysWithinItself) {
  for (int i = 0; i < 20; ++i) RandomSet();
  const std::vector<RegionRecord> records = set_.TakeDirty();
  ASSERT_FALSE(records.empty());
  int refused = 0;
  for (int i = 0; i < 2'000; ++i) {
    const RegionRecord& record = records[random_() % records.size()];
    std::string bad = record.runs + static_cast<char>(random_());
    for (uint64_t n = 1 + random_() % 3; n > 0; --n) {
      bad[random_() % bad.size()] = static_cast<char>(random_());
    }
    if (random_() % 2 == 0) bad.resize(random_() % bad.size());
    OwnershipSet set;
    const Status status = set.LoadRegion(record.region, bad);
    if (!status) {
      ASSERT_ERROR(kCorrupt, status);
      ++refused;
    }
    const uint64_t first = record.region * kRegionBlocks;
    ASSERT_TRUE(RunsOf(set, 0, first).empty());
    ASSERT_TRUE(RunsOf(set, first + kRegionBlocks, kMaxVdiBlocks).empty());
  }
  EXPECT_GT(refused, 100);
}

TEST(OwnershipSetTest, RegionsThatCannotBeAreRefused) {
  OwnershipSet set;
  std::string endless(40, '\xff');
  EXPECT_ERROR(kCorrupt, set.LoadRegion(static_cast<uint32_t>(kMaxVdiRegions), ""));
  EXPECT_ERROR(kCorrupt, set.LoadRegion(0, endless));
  EXPECT_ERROR(kCorrupt, set.LoadRegion(0, std::string("\x00", 1)));          // half a pair
  EXPECT_ERROR(kCorrupt, set.LoadRegion(0, std::string("\x00\x00", 2)));      // a run of nothing
  EXPECT_ERROR(kCorrupt, set.LoadRegion(0, std::string("\x00\x82\x40", 3)));  // 4,097 blocks
  EXPECT_TRUE(set.empty());
  EXPECT_OK(set.LoadRegion(0, std::string("\x00\x80\x40", 3)));  // 4,096 blocks of data
  EXPECT_EQ(set.data_blocks(), kRegionBlocks);
}

TEST(OwnershipSetTest, WhatWasLoadedIsNotDirty) {
  OwnershipSet recorded;
  recorded.Set(7, 3, kData);
  const std::vector<RegionRecord> records = recorded.TakeDirty();
  ASSERT_EQ(records.size(), 1u);
  OwnershipSet set;
  ASSERT_OK(set.LoadRegion(records[0].region, records[0].runs));
  EXPECT_TRUE(set.TakeDirty().empty());
}

TEST(OwnershipSetTest, RecordsThatCouldNotBeWrittenAreDirtyAgain) {
  OwnershipSet set;
  set.Set(0, 1, kData);
  set.Set(kMaxVdiBlocks - 1, 1, kZero);
  const std::vector<RegionRecord> first = set.TakeDirty();
  ASSERT_EQ(first.size(), 2u);
  EXPECT_FALSE(set.has_dirty());
  set.Set(1, 1, kData);
  set.MarkDirty(first);
  EXPECT_TRUE(set.has_dirty());
  const std::vector<RegionRecord> second = set.TakeDirty();
  ASSERT_EQ(second.size(), 2u);
  EXPECT_NE(second[0].runs, first[0].runs);
  EXPECT_EQ(second[1].runs, first[1].runs);
}

TEST(OwnershipSetTest, NeighbouringBlocksSetByManyThreadsAreAllSet) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kBlocks = 64;  // two words
  constexpr uint64_t kRounds = 20'000;
  OwnershipSet set;
  std::atomic<uint64_t> ready = 0;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&set, &ready, i] {
      ++ready;
      while (ready < kThreads) std::this_thread::yield();
      for (uint64_t round = 0; round < kRounds; ++round) {
        const uint64_t block = (round * kThreads + i) % kBlocks;
        const BlockState state = (round / (kBlocks / kThreads)) % 2 == 0 ? kZero : kData;
        set.Set(block, 1, state);
        ASSERT_EQ(set.StateOf(block), state);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(set.owned_blocks(), kBlocks);
  uint64_t data = 0;
  for (uint64_t block = 0; block < kBlocks; ++block) data += set.StateOf(block) == kData ? 1 : 0;
  EXPECT_EQ(set.data_blocks(), data);
}

TEST(OwnershipSetTest, ManyThreadsBeginOneRegionTogether) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kRegions = 500;
  OwnershipSet set;
  set.Set(0, kRegions / 2 * kRegionBlocks, kZero);  // half begin as marks, half as nothing
  std::atomic<uint64_t> ready = 0;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&set, &ready, i] {
      for (uint64_t region = 0; region < kRegions; ++region) {
        ++ready;
        while (ready < (region + 1) * kThreads) std::this_thread::yield();
        set.Set(region * kRegionBlocks + i, 1, kData);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t region = 0; region < kRegions; ++region) {
    const uint64_t first = region * kRegionBlocks;
    const BlockState rest = region < kRegions / 2 ? kZero : kAbsent;
    ASSERT_EQ(set.RunAt(first, kRegionBlocks).count, kThreads) << region;
    ASSERT_EQ(set.RunAt(first + kThreads, kRegionBlocks).state, rest) << region;
  }
  EXPECT_EQ(set.data_blocks(), kRegions * kThreads);
  EXPECT_EQ(set.owned_blocks(), kRegions / 2 * (kRegionBlocks + kThreads));
}

TEST(OwnershipSetTest, DirtyRegionsAreTakenInPortionsAndNoneIsLost) {
  OwnershipSet set;
  std::set<uint32_t> expected;
  for (uint64_t region = 3; region < kMaxVdiRegions; region += 700'001) {
    for (const uint64_t neighbour : {region, region + 1, region + 40}) {
      set.Set(neighbour * kRegionBlocks + 5, 1, BlockState::kData);
      expected.insert(static_cast<uint32_t>(neighbour));
    }
  }
  EXPECT_TRUE(set.TakeDirty(0).empty());
  for (const size_t limit : {size_t{1}, size_t{2}, size_t{5}, expected.size()}) {
    SCOPED_TRACE(limit);
    std::vector<RegionRecord> all;
    std::vector<RegionRecord> some;
    do {
      some = set.TakeDirty(limit);
      EXPECT_LE(some.size(), limit);
      all.insert(all.end(), some.begin(), some.end());
    } while (some.size() == limit);
    EXPECT_EQ(all.size(), expected.size());
    for (const RegionRecord& record : all) EXPECT_EQ(expected.count(record.region), 1u);
    set.MarkDirty(all);
  }
}

TEST(OwnershipSetTest, ChangesBesideTakeDirtyAreTakenThenOrLater) {
  constexpr uint64_t kThreads = 3;
  constexpr uint64_t kRegions = 200;
  OwnershipSet set;
  std::atomic<uint64_t> running = kThreads;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&set, &running, i] {
      for (uint64_t n = 0; n < 20'000; ++n) {
        set.Set((n * 7 % kRegions) * kRegionBlocks + n % (kRegionBlocks / 4) * 4 + i, 1, kData);
      }
      --running;
    });
  }
  std::map<uint32_t, std::string> rows;
  const auto record = [&set, &rows] {
    for (const RegionRecord& region : set.TakeDirty()) rows[region.region] = region.runs;
  };
  while (running > 0) record();
  for (std::thread& thread : threads) thread.join();
  record();
  OwnershipSet loaded;
  for (const auto& [region, runs] : rows) ASSERT_OK(loaded.LoadRegion(region, runs));
  EXPECT_EQ(RunsOf(loaded), RunsOf(set));
  EXPECT_GT(loaded.owned_blocks(), 0u);
}

}  // namespace
}  // namespace quoin

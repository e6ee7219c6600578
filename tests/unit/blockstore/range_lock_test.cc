#include "blockstore/layers/range_lock.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/seed.h"

namespace quoin {
namespace {

TEST(RangeLockTest, RangesThatOverlapExcludeEachOther) {
  RangeLock lock;
  auto held = std::make_unique<RangeLock::Held>(lock, 10, 10);
  std::atomic<int> entered = 0;
  std::vector<std::thread> waiting;
  for (const auto& [first, count] :
       std::vector<std::pair<uint64_t, uint64_t>>{{10, 10}, {5, 6}, {19, 1}, {12, 2}, {0, 100}}) {
    waiting.emplace_back([&lock, &entered, first = first, count = count] {
      const RangeLock::Held mine(lock, first, count);
      ++entered;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(entered, 0);
  held.reset();
  for (std::thread& thread : waiting) thread.join();
  EXPECT_EQ(entered, 5);
}

TEST(RangeLockTest, NeighboursDoNotWait) {
  RangeLock lock;
  const RangeLock::Held held(lock, 10, 10);
  std::thread([&lock] { const RangeLock::Held before(lock, 0, 10); }).join();
  std::thread([&lock] { const RangeLock::Held after(lock, 20, 5); }).join();
}

TEST(RangeLockTest, NoTwoThreadsHoldABlockAtOnce) {
  constexpr uint64_t kBlocks = 64;
  constexpr int kThreads = 8;
  constexpr int kRounds = 5'000;
  RangeLock lock;
  std::array<uint64_t, kBlocks> changes{};  // not atomic: the lock alone protects them
  std::array<std::atomic<int>, kBlocks> holders{};
  std::atomic<uint64_t> expected = 0;
  const uint64_t seed = DrawSeed();
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, random = std::mt19937_64(seed + static_cast<uint64_t>(i))]() mutable {
      for (int round = 0; round < kRounds; ++round) {
        const uint64_t first = random() % kBlocks;
        const uint64_t count = 1 + random() % (kBlocks - first);
        const RangeLock::Held held(lock, first, count);
        for (uint64_t block = first; block < first + count; ++block) {
          EXPECT_EQ(holders[block].fetch_add(1), 0);
          ++changes[block];
        }
        for (uint64_t block = first; block < first + count; ++block) --holders[block];
        expected += count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint64_t total = 0;
  for (const uint64_t change : changes) total += change;
  EXPECT_EQ(total, expected);
}

}  // namespace
}  // namespace quoin

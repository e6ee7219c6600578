#include "blockstore/packs/frame_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

constexpr size_t kFrameBytes = 4096;

Result<FramePointer> MakeFrame(uint32_t value) {
  auto frame = std::make_shared<Frame>(kFrameBytes);
  std::memset(frame->bytes.get(), static_cast<int>(value & 0xff), kFrameBytes);
  return FramePointer(std::move(frame));
}

Result<FramePointer> MustNotLoad() {
  ADD_FAILURE() << "it is in the cache";
  return MakeFrame(0);
}

TEST(FrameCacheTest, WhatWasLoadedIsThereUntilItIsForgotten) {
  FrameCache cache(1 << 20);
  const FrameKey key{Id::Random(), 7};
  const FrameKey other{Id::Random(), 7};
  EXPECT_EQ(cache.Find(key), nullptr);
  ASSERT_OK_AND_ASSIGN(const FramePointer frame, cache.Get(key, [] { return MakeFrame(1); }));
  ASSERT_OK(cache.Get(other, [] { return MakeFrame(2); }));
  EXPECT_EQ(cache.Find(key), frame);
  EXPECT_EQ(cache.Get(key, MustNotLoad).value(), frame);
  cache.Forget(key.pack);
  EXPECT_EQ(cache.Find(key), nullptr);
  EXPECT_NE(cache.Find(other), nullptr);
  EXPECT_EQ(frame->bytes[0], std::byte{1}) << "readers keep what they hold";
  const FrameCache::Counters counters = cache.counters();
  EXPECT_EQ(counters.hits, 3u);
  EXPECT_EQ(counters.misses, 2u);
  EXPECT_EQ(counters.evicted, 0u);
  EXPECT_GE(counters.bytes, kFrameBytes);
  EXPECT_LT(counters.bytes, 2 * kFrameBytes);
}

TEST(FrameCacheTest, StaysWithinItsBudgetAndKeepsWhatIsUsed) {
  constexpr uint64_t kBudget = 16 * 20 * kFrameBytes;
  FrameCache cache(kBudget);
  const Id pack = Id::Random();
  for (uint32_t slot = 0; slot < 2'000; ++slot) {
    ASSERT_OK(cache.Get({pack, slot}, [slot] { return MakeFrame(slot); }));
    ASSERT_OK(cache.Get({pack, 0}, [] { return MakeFrame(0); }));
    ASSERT_LE(cache.counters().bytes, kBudget);
  }
  EXPECT_GT(cache.counters().bytes, kBudget / 2);
  EXPECT_GT(cache.counters().evicted, 1'000u);
  EXPECT_EQ(cache.counters().misses, 2'000u) << "the one in use was never evicted";
  cache.Forget(pack);
  EXPECT_EQ(cache.counters().bytes, 0u);
}

TEST(FrameCacheTest, WithoutABudgetNothingIsKept) {
  FrameCache cache(0);
  const FrameKey key{Id::Random(), 1};
  ASSERT_OK(cache.Get(key, [] { return MakeFrame(1); }));
  EXPECT_EQ(cache.Find(key), nullptr);
}

TEST(FrameCacheTest, AFailedLoadIsReportedAndTriedAgain) {
  FrameCache cache(1 << 20);
  const FrameKey key{Id::Random(), 1};
  EXPECT_ERROR(kIo, cache.Get(key, [] { return Result<FramePointer>(Fail(ErrorCode::kIo, "no")); }));
  EXPECT_ANY_THROW((void)cache.Get(key, []() -> Result<FramePointer> {
    throw std::runtime_error("no memory");
  }));
  EXPECT_OK(cache.Get(key, [] { return MakeFrame(1); }));
}

TEST(FrameCacheTest, FramesWithDamagedSlotsAreNotKept) {
  FrameCache cache(1 << 20);
  const FrameKey key{Id::Random(), 1};
  ASSERT_OK(cache.Get(key, [] {
    auto frame = std::make_shared<Frame>(kFrameBytes);
    frame->damaged = 1;
    return Result<FramePointer>(std::move(frame));
  }));
  EXPECT_EQ(cache.Find(key), nullptr);
}

TEST(FrameCacheTest, WhatIsBeingLoadedWhenItsPackIsForgottenIsNotKept) {
  FrameCache cache(1 << 20);
  const FrameKey key{Id::Random(), 1};
  ASSERT_OK(cache.Get(key, [&] {
    cache.Forget(key.pack);
    return MakeFrame(1);
  }));
  EXPECT_EQ(cache.Find(key), nullptr);
}

TEST(FrameCacheTest, ConcurrentMissesLoadOnce) {
  constexpr int kThreads = 4;
  FrameCache cache(1 << 20);
  const Id pack = Id::Random();
  for (uint32_t slot = 0; slot < 50; ++slot) {
    std::atomic<int> loads = 0;
    std::atomic<int> ready = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        ++ready;
        while (ready < kThreads) std::this_thread::yield();
        const auto frame = cache.Get({pack, slot}, [&] {
          ++loads;
          std::this_thread::yield();
          return MakeFrame(slot);
        });
        ASSERT_OK(frame);
        EXPECT_EQ((*frame)->bytes[kFrameBytes - 1], static_cast<std::byte>(slot));
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(loads, 1);
  }
}

TEST(FrameCacheTest, ManyThreadsReadEvictAndForget) {
  FrameCache cache(16 * 4 * kFrameBytes);
  const std::vector<Id> packs = {Id::Random(), Id::Random(), Id::Random()};
  const uint64_t seed = DrawSeed();
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      for (int i = 0; i < 20'000; ++i) {
        const auto slot = static_cast<uint32_t>(random() % 200);
        const FrameKey key{packs[random() % packs.size()], slot};
        if (random() % 500 == 0) cache.Forget(key.pack);
        const auto frame = cache.Get(key, [slot] { return MakeFrame(slot); });
        ASSERT_OK(frame);
        ASSERT_EQ((*frame)->bytes[random() % kFrameBytes], static_cast<std::byte>(slot));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.counters().bytes, 16 * 4 * kFrameBytes);
  for (const Id& pack : packs) cache.Forget(pack);
  EXPECT_EQ(cache.counters().bytes, 0u);
}

}  // namespace
}  // namespace quoin

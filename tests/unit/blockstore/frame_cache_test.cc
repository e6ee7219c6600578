#include "blockstore/packs/frame_cache.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <bit>
#include <cstring>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

constexpr size_t kFrameBytes = 4096;
constexpr SlotMask kAll = 1;  // of a frame that MakeFrame makes
constexpr uint32_t kSlots = 16;

constexpr SlotMask Slot(uint32_t slot) { return SlotMask{1} << slot; }
constexpr int ByteOf(uint32_t frame, uint32_t slot) {
  return static_cast<int>((frame * kSlots + slot) & 0xff);
}

Result<FramePointer> MakeFrame(uint32_t value) {
  auto frame = std::make_shared<Frame>(kFrameBytes);
  std::memset(frame->bytes.get(), static_cast<int>(value & 0xff), kFrameBytes);
  return FramePointer(std::move(frame));
}

// Sixteen slots, each filled with a byte of its own.
Result<FramePointer> MakeFullFrame(uint32_t value) {
  auto frame = std::make_shared<Frame>(kSlots * kBlockBytes);
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    std::memset(frame->bytes.get() + slot * kBlockBytes, ByteOf(value, slot), kBlockBytes);
  }
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
  EXPECT_EQ(cache.Find(key, kAll), nullptr);
  ASSERT_OK_AND_ASSIGN(const FramePointer frame, cache.Get(key, kAll, [] { return MakeFrame(1); }));
  ASSERT_OK(cache.Get(other, kAll, [] { return MakeFrame(2); }));
  EXPECT_EQ(cache.Find(key, kAll), frame);
  EXPECT_EQ(cache.Get(key, kAll, MustNotLoad).value(), frame);
  cache.Forget(key.pack);
  EXPECT_EQ(cache.Find(key, kAll), nullptr);
  EXPECT_NE(cache.Find(other, kAll), nullptr);
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
    ASSERT_OK(cache.Get({pack, slot}, kAll, [slot] { return MakeFrame(slot); }));
    ASSERT_OK(cache.Get({pack, 0}, kAll, [] { return MakeFrame(0); }));
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
  ASSERT_OK(cache.Get(key, kAll, [] { return MakeFrame(1); }));
  EXPECT_EQ(cache.Find(key, kAll), nullptr);
}

TEST(FrameCacheTest, AFailedLoadIsReportedAndTriedAgain) {
  FrameCache cache(1 << 20);
  const FrameKey key{Id::Random(), 1};
  EXPECT_ERROR(kIo, cache.Get(key, kAll, [] { return Result<FramePointer>(Fail(ErrorCode::kIo, "no")); }));
  EXPECT_ANY_THROW((void)cache.Get(key, kAll, []() -> Result<FramePointer> {
    throw std::runtime_error("no memory");
  }));
  EXPECT_OK(cache.Get(key, kAll, [] { return MakeFrame(1); }));
}

TEST(FrameCacheTest, FramesWithDamagedSlotsAreNotKept) {
  FrameCache cache(1 << 20);
  const FrameKey key{Id::Random(), 1};
  ASSERT_OK(cache.Get(key, kAll, [] {
    auto frame = std::make_shared<Frame>(kFrameBytes);
    frame->damaged = 1;
    return Result<FramePointer>(std::move(frame));
  }));
  EXPECT_EQ(cache.Find(key, kAll), nullptr);
}

TEST(FrameCacheTest, WhatIsBeingLoadedWhenItsPackIsForgottenIsNotKept) {
  FrameCache cache(1 << 20);
  const FrameKey key{Id::Random(), 1};
  ASSERT_OK(cache.Get(key, kAll, [&] {
    cache.Forget(key.pack);
    return MakeFrame(1);
  }));
  EXPECT_EQ(cache.Find(key, kAll), nullptr);
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
        const auto frame = cache.Get({pack, slot}, kAll, [&] {
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

// Reads slots of full frames and counts the loads.
class TrimmingTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kBudget = uint64_t{16} << 20;  // 255 whole frames
  static constexpr uint32_t kFrames = 1'000;

  void Read(uint32_t frame, SlotMask slots) {
    const auto read = cache_.Get({pack_, frame * kSlots}, slots, [&] {
      ++loads_;
      return MakeFullFrame(frame);
    });
    ASSERT_OK(read);
    ASSERT_TRUE((*read)->Holds(slots));
    for (SlotMask left = slots; left != 0; left &= left - 1) {
      const auto slot = static_cast<uint32_t>(std::countr_zero(left));
      const std::byte* bytes = (*read)->At(slot * kBlockBytes);
      ASSERT_EQ(bytes[0], static_cast<std::byte>(ByteOf(frame, slot)));
      ASSERT_EQ(bytes[kBlockBytes - 1], static_cast<std::byte>(ByteOf(frame, slot)));
    }
    ASSERT_LE(cache_.counters().bytes, kBudget);
  }
  uint64_t TakeLoads() { return std::exchange(loads_, 0); }

  FrameCache cache_{kBudget};
  const Id pack_ = Id::Random();
  uint64_t loads_ = 0;
};

TEST_F(TrimmingTest, OfFramesThatDoNotFitTheBlocksThatAreReadStay) {
  for (uint32_t frame = 0; frame < kFrames; ++frame) Read(frame, Slot(frame % kSlots));
  EXPECT_EQ(TakeLoads(), kFrames);
  EXPECT_GT(cache_.counters().trimmed, kFrames / 2);
  for (int round = 0; round < 3; ++round) {
    for (uint32_t frame = 0; frame < kFrames; ++frame) Read(frame, Slot(frame % kSlots));
  }
  EXPECT_EQ(TakeLoads(), 0u);
  EXPECT_EQ(cache_.counters().evicted, 0u);
}

TEST_F(TrimmingTest, AnotherBlockOfATrimmedFrameIsLoadedOnceAndStaysBesideTheFirst) {
  for (uint32_t frame = 0; frame < kFrames; ++frame) Read(frame, Slot(3));
  for (uint32_t frame = 0; frame < kFrames; ++frame) Read(frame, Slot(9));
  EXPECT_GT(TakeLoads(), kFrames + kFrames / 2);
  for (uint32_t frame = 0; frame < kFrames; ++frame) Read(frame, Slot(9) | Slot(3));
  EXPECT_EQ(TakeLoads(), 0u);
}

TEST_F(TrimmingTest, WhileThereIsRoomFramesStayWhole) {
  for (uint32_t frame = 0; frame < 100; ++frame) Read(frame, Slot(0));
  for (uint32_t frame = 0; frame < 100; ++frame) Read(frame, Slot(1) | Slot(15));
  EXPECT_EQ(TakeLoads(), 100u);
  EXPECT_EQ(cache_.counters().trimmed, 0u);
}

TEST_F(TrimmingTest, SmallReadsInOrderLoadEachFrameOnce) {
  for (uint32_t frame = 0; frame < kFrames; ++frame) {
    for (uint32_t slot = 0; slot < kSlots; ++slot) Read(frame, Slot(slot));
  }
  EXPECT_EQ(TakeLoads(), kFrames);
  EXPECT_EQ(cache_.counters().trimmed, 0u) << "all of them was read";
}

TEST_F(TrimmingTest, ManyReadersOfOneImageLoadEachFrameAboutOnce) {
  constexpr uint32_t kReaders = 10;
  for (uint32_t frame = 0; frame < kFrames + kReaders; ++frame) {
    for (uint32_t reader = 0; reader < kReaders; ++reader) {  // each a little behind the one before
      if (frame >= reader && frame - reader < kFrames) Read(frame - reader, Slot(reader % 4));
    }
  }
  EXPECT_LE(TakeLoads(), kFrames + kFrames / 20);
}

TEST_F(TrimmingTest, WhatIsReadOnceGoesBeforeWhatIsReadAgain) {
  constexpr uint32_t kHot = 50;
  constexpr SlotMask kSome = Slot(2) | Slot(3);
  for (uint32_t frame = 0; frame < kHot; ++frame) Read(frame, frame % 2 == 0 ? kSome : 0xffff);
  for (uint32_t frame = kHot; frame < 20 * kFrames; ++frame) {
    Read(frame, Slot(0));
    Read(frame % kHot, frame % kHot % 2 == 0 ? kSome : 0xffff);
  }
  EXPECT_EQ(TakeLoads(), 20 * kFrames) << "whole frames and parts that are in use stay";
  EXPECT_GT(cache_.counters().evicted, 10 * kFrames);
}

TEST_F(TrimmingTest, WhoPassesByFindsOnlyWhatIsThereAndKeepsNothingLonger) {
  for (uint32_t frame = 0; frame < kFrames; ++frame) Read(frame, Slot(7));
  EXPECT_NE(cache_.Find({pack_, 0}, Slot(7)), nullptr);
  EXPECT_EQ(cache_.Find({pack_, 0}, Slot(7) | Slot(8)), nullptr);
  for (uint32_t frame = kFrames; frame < 10 * kFrames; ++frame) {
    (void)cache_.Find({pack_, 0}, Slot(7));
    Read(frame, Slot(7));
  }
  EXPECT_EQ(cache_.Find({pack_, 0}, Slot(7)), nullptr);
}

TEST_F(TrimmingTest, WhatThoseWantWhoWaitForALoadStaysToo) {
  std::atomic<bool> is_loading = false;
  std::thread first([&] {
    ASSERT_OK(cache_.Get({pack_, 0}, Slot(1), [&] {
      is_loading = true;
      while (cache_.counters().misses < 2) std::this_thread::yield();
      return MakeFullFrame(0);
    }));
  });
  while (!is_loading) std::this_thread::yield();
  ASSERT_OK(cache_.Get({pack_, 0}, Slot(2), MustNotLoad));
  first.join();
  for (uint32_t frame = 1; frame < kFrames; ++frame) Read(frame, Slot(0));
  EXPECT_NE(cache_.Find({pack_, 0}, Slot(1) | Slot(2)), nullptr);
  EXPECT_EQ(cache_.Find({pack_, 0}, Slot(3)), nullptr);
}

// Without glibc's malloc, as under a sanitizer, nothing is seen of what is allocated.
TEST_F(TrimmingTest, WhatIsAllocatedIsAccountedFor) {
  const auto allocated = [] {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t before = allocated();
  for (uint32_t frame = 0; frame < 3 * kFrames; ++frame) Read(frame, Slot(frame % kSlots));
  const size_t used = allocated() - before;
  const uint64_t counted = cache_.counters().bytes;
  EXPECT_GT(counted, kBudget / 2);
  EXPECT_LE(used, counted);
}

TEST(FrameCacheTest, ManyThreadsReadEvictAndForget) {
  constexpr uint64_t kBudget = uint64_t{16} * 4 * kSlots * kBlockBytes;
  FrameCache cache(kBudget);
  const std::vector<Id> packs = {Id::Random(), Id::Random(), Id::Random()};
  const uint64_t seed = DrawSeed();
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      for (int i = 0; i < 20'000; ++i) {
        const auto number = static_cast<uint32_t>(random() % 200);
        const FrameKey key{packs[random() % packs.size()], number};
        const auto slot = static_cast<uint32_t>(random() % (number % 5 == 0 ? kSlots : 3));
        if (random() % 500 == 0) cache.Forget(key.pack);
        const auto frame = cache.Get(key, Slot(slot), [number] { return MakeFullFrame(number); });
        ASSERT_OK(frame);
        ASSERT_EQ((*frame)->At(slot * kBlockBytes)[random() % kBlockBytes],
                  static_cast<std::byte>(ByteOf(number, slot)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.counters().bytes, kBudget);
  EXPECT_GT(cache.counters().trimmed, 0u);
  for (const Id& pack : packs) cache.Forget(pack);
  EXPECT_EQ(cache.counters().bytes, 0u);
}

}  // namespace
}  // namespace quoin

#include "fuse/shared_work.h"

#include <gtest/gtest.h>

#include <future>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace quoin {
namespace {

constexpr auto kLongEnough = 2 * SharedWork::kLong;

TEST(SharedWorkTest, EachIsDoneOnceByTheTimeItReturns) {
  BlockingLane lane(4);
  std::vector<std::atomic<int>> done(1000);
  SharedWork::Run(lane, 3, done.size(), [&](size_t index) {
    ++done[index];
    if (index % 100 == 0) std::this_thread::sleep_for(kLongEnough);
  });
  for (const std::atomic<int>& each : done) EXPECT_EQ(each, 1);
}

TEST(SharedWorkTest, NothingToDoIsDone) {
  BlockingLane lane(1);
  SharedWork::Run(lane, 1, 0, [](size_t) { FAIL(); });
}

TEST(SharedWorkTest, WhatTakesLongIsDoneBySeveral) {
  BlockingLane lane(3);
  std::atomic<int> working{0};
  // Each waits for three more, which only helpers can bring.
  SharedWork::Run(lane, 3, 5, [&](size_t index) {
    if (index == 0) return std::this_thread::sleep_for(kLongEnough);
    ++working;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (working < 4 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  });
  EXPECT_EQ(working, 4);
}

TEST(SharedWorkTest, ALaneThatHasNoThreadToSpareIsNotWaitedFor) {
  BlockingLane lane(1);
  std::promise<void> release;
  lane.Post([released = release.get_future().share()] { released.wait(); });
  std::set<std::thread::id> threads;
  SharedWork::Run(lane, 1, 10, [&](size_t) {
    threads.insert(std::this_thread::get_id());
    std::this_thread::sleep_for(kLongEnough);
  });
  EXPECT_EQ(threads, std::set<std::thread::id>{std::this_thread::get_id()});
  release.set_value();
}

TEST(SharedWorkTest, WhatAHelperThrowsKeepsNobodyWaiting) {
  BlockingLane lane(2);
  const std::thread::id caller = std::this_thread::get_id();
  SharedWork::Run(lane, 2, 100, [&](size_t) {
    if (std::this_thread::get_id() != caller) throw std::runtime_error("on purpose");
    std::this_thread::sleep_for(kLongEnough);
  });
}

TEST(SharedWorkTest, WhatTheCallerThrowsIsPassedOnOnceNoHelperWorksAnyMore) {
  BlockingLane lane(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> working{0};
  const auto work = [&](size_t index) {
    ++working;
    std::this_thread::sleep_for(10 * kLongEnough);
    --working;
    if (index > 0 && std::this_thread::get_id() == caller) throw std::runtime_error("on purpose");
  };
  EXPECT_THROW(SharedWork::Run(lane, 2, 100, work), std::runtime_error);
  EXPECT_EQ(working, 0);
}

}  // namespace
}  // namespace quoin

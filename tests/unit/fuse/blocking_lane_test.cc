#include "fuse/blocking_lane.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>

namespace quoin {
namespace {

TEST(BlockingLaneTest, RunsAJobWhileOthersWait) {
  BlockingLane lane(8);
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  for (int i = 0; i < 7; ++i) lane.Post([released] { released.wait(); });
  std::promise<void> ran;
  lane.Post([&ran] { ran.set_value(); });
  EXPECT_EQ(ran.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  release.set_value();
}

TEST(BlockingLaneTest, RunsEachJobOnceAndAllBeforeItStops) {
  std::atomic<int> runs{0};
  {
    BlockingLane lane(3);
    for (int i = 0; i < 1000; ++i) lane.Post([&runs] { ++runs; });
  }
  EXPECT_EQ(runs, 1000);
}

TEST(BlockingLaneTest, OneThreadKeepsTheOrderOfPosting) {
  std::vector<int> order;
  {
    BlockingLane lane(1);
    for (int i = 0; i < 100; ++i) lane.Post([&order, i] { order.push_back(i); });
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(BlockingLaneTest, WhatIsPostedAfterTheStopStillRuns) {
  BlockingLane lane(2);
  lane.Stop();
  bool ran = false;
  lane.Post([&ran] { ran = true; });
  EXPECT_TRUE(ran);
}

TEST(BlockingLaneTest, AJobThatThrowsDoesNotTakeItsThreadAlong) {
  std::atomic<bool> ran{false};
  {
    BlockingLane lane(1);
    lane.Post([] { throw std::runtime_error("on purpose"); });
    lane.Post([&ran] { ran = true; });
  }
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace quoin

#include "blockstore/layers/request_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace quoin {
namespace {

using std::chrono::milliseconds;

TEST(RequestGateTest, RequestsDoNotKeepEachOtherOut) {
  RequestGate gate;
  const RequestGate::Pass first(gate);
  const RequestGate::Pass second(gate);
  std::thread([&gate] { const RequestGate::Pass third(gate); }).join();
  EXPECT_EQ(gate.requests(), 3u);
}

TEST(RequestGateTest, AClosureWaitsForRequestsUnderWay) {
  RequestGate gate;
  auto pass = std::make_unique<RequestGate::Pass>(gate);
  std::atomic<bool> closed = false;
  std::thread closer([&] {
    const RequestGate::Closure closure(gate);
    closed = true;
  });
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_FALSE(closed);
  pass.reset();
  closer.join();
  EXPECT_TRUE(closed);
}

TEST(RequestGateTest, ARequestWaitsWhileTheGateIsClosed) {
  RequestGate gate;
  auto closure = std::make_unique<RequestGate::Closure>(gate);
  std::atomic<bool> entered = false;
  std::thread request([&] {
    const RequestGate::Pass pass(gate);
    entered = true;
  });
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_FALSE(entered);
  closure.reset();
  request.join();
  EXPECT_TRUE(entered);
}

TEST(RequestGateTest, NoRequestIsUnderWayWhileItIsClosed) {
  constexpr int kThreads = 6;
  constexpr int kClosures = 2'000;
  RequestGate gate;
  std::atomic<bool> done = false;
  std::atomic<uint64_t> passed = 0;
  int64_t instant = 0;  // changed under closure, read by requests: the gate alone protects it
  std::atomic<int> inside = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        const RequestGate::Pass pass(gate);
        ++inside;
        const int64_t before = instant;
        std::this_thread::yield();
        EXPECT_EQ(instant, before);
        --inside;
        ++passed;
      }
    });
  }
  for (int i = 0; i < kClosures; ++i) {
    const RequestGate::Closure closure(gate);
    EXPECT_EQ(inside, 0);
    ++instant;
  }
  const uint64_t passed_before = passed;
  while (passed < passed_before + 1'000) std::this_thread::yield();  // it is open again
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(instant, kClosures);
}

}  // namespace
}  // namespace quoin

// How a seal keeps out of guests' way, by what it is told of their requests.
#include <gtest/gtest.h>

#include "snapshots/seal_pace.h"

namespace quoin {
namespace {

using std::chrono::milliseconds;

class SealPaceTest : public ::testing::Test {
 protected:
  // `worked` after the end of the last rest, in which guests made so many requests since the last call.
  SealPace::Clock::duration After(milliseconds worked, uint64_t requests) {
    requests_ += requests;
    now_ += worked;
    const SealPace::Clock::duration rest = pace_.RestAt(now_);
    now_ += rest;
    return rest;
  }

  uint64_t requests_ = 1000;
  SealPace::Clock::time_point now_{std::chrono::hours(1)};
  SealPace pace_{[this] { return requests_; }, now_};
};

TEST_F(SealPaceTest, WithoutGuestsThereIsNoRest) {
  EXPECT_EQ(After(milliseconds(50), 0), milliseconds(0));
  EXPECT_EQ(After(milliseconds(50), 2), milliseconds(0));
}

TEST_F(SealPaceTest, WhileGuestsAreBusyItRestsSevenTimesAsLongAsItWorks) {
  EXPECT_EQ(After(milliseconds(40), 400), milliseconds(280));
  EXPECT_EQ(After(milliseconds(40), 3000), milliseconds(280));
  EXPECT_EQ(After(milliseconds(40), 3), milliseconds(0)) << "three in the rest and the work after";
  EXPECT_EQ(After(milliseconds(40), 400), milliseconds(280));
}

TEST_F(SealPaceTest, ARestIsNeverLong) {
  EXPECT_EQ(After(milliseconds(4000), 40'000), milliseconds(500));
}

TEST_F(SealPaceTest, CountsThatFallAreNoRequests) {
  requests_ = 10;
  EXPECT_EQ(After(milliseconds(50), 0), milliseconds(0));
}

}  // namespace
}  // namespace quoin

// How long work tells of itself: lines before the answer, and what a user sees of them.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

#include "tests/support/result_matchers.h"
#include "tools/local_socket.h"
#include "tools/progress_bar.h"
#include "tools/store_request.h"

namespace quoin {
namespace {

TEST(ProgressTest, ABarSaysHowMuchIsDoneHowFastAndHowLongItTakes) {
  EXPECT_EQ(ProgressText("scrub", 1 << 30, uint64_t{4} << 30, 2),
            "scrub  [#####---------------]  25 %  1 GiB of 4 GiB, 512 MiB/s, 6 s left");
  EXPECT_EQ(ProgressText("scrub", uint64_t{5} << 30, uint64_t{4} << 30, 4),
            "scrub  [####################] 100 %  4 GiB of 4 GiB, 1.2 GiB/s");
  EXPECT_EQ(ProgressText("import", 1 << 20, 0, 0), "import  1 MiB, 0 B/s");
}

TEST(ProgressTest, LinesWithProgressAreToldApartFromAnswers) {
  std::array<uint64_t, 2> told{};
  const auto sink = [&](uint64_t done, uint64_t all) { told = {done, all}; };
  EXPECT_TRUE(TakeProgress(ProgressLine(3, 7), sink));
  EXPECT_EQ(told, (std::array<uint64_t, 2>{3, 7}));
  EXPECT_TRUE(TakeProgress(ProgressLine(4, 7), nullptr));
  EXPECT_FALSE(TakeProgress(Json{{"result", Json::object()}}, sink));
  EXPECT_EQ(told[0], 3u);
}

TEST(ProgressTest, LinesThatArriveTogetherAreReceivedOneAfterTheOther) {
  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Descriptor here(ends[0]);
  const Descriptor there(ends[1]);
  const std::chrono::milliseconds patience(1000);
  ASSERT_OK(SendLine(there.number(), "one\ntwo\n\nthree", patience));
  LineReceiver receiver(here.number());
  for (const std::string wanted : {"one", "two", "", "three"}) {
    ASSERT_OK_AND_ASSIGN(const std::string line, receiver.Receive(5, patience));
    EXPECT_EQ(line, wanted);
  }
  EXPECT_ERROR(kBusy, receiver.Receive(5, std::chrono::milliseconds(1)));
  ASSERT_OK(SendLine(there.number(), "longer than that", patience));
  EXPECT_ERROR(kTooLarge, receiver.Receive(5, patience));
}

}  // namespace
}  // namespace quoin

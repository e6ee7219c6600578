// How long work tells of itself: lines before the answer, and what a user sees of them.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "tests/command/command_fixture.h"
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

// What a script sees of long work that a daemon does: lines on standard error that never go back within
// a piece of work, and end with all of it; the answer on standard output.
class ProgressOfADaemonTest : public CommandTest {
 protected:
  static constexpr uint64_t kBytes = uint64_t{96} << 20;

  void SetUp() override {
    MakeStore();
    MountStore();
    setenv("QUOIN_PROGRESS_SECONDS", "0", 1);
  }
  void TearDown() override { unsetenv("QUOIN_PROGRESS_SECONDS"); }

  void ExpectProgress(const CommandResult& result, const std::string& verb) {
    EXPECT_EQ(result.status, 0) << result.err;
    std::istringstream lines(result.err);
    std::string line;
    std::vector<int> percents;
    while (std::getline(lines, line)) {
      EXPECT_TRUE(line.starts_with(verb + "  [")) << line;
      EXPECT_EQ(line.find('\r'), std::string::npos) << line;
      const size_t sign = line.find(" %");
      ASSERT_NE(sign, std::string::npos) << line;
      percents.push_back(std::stoi(line.substr(line.find(']') + 1, sign)));
    }
    ASSERT_FALSE(percents.empty()) << "no line told of it";
    EXPECT_EQ(percents.back(), 100) << result.err;
    EXPECT_TRUE(std::is_sorted(percents.begin(), percents.end())) << result.err;
  }
};

TEST_F(ProgressOfADaemonTest, SealTellsOfItself) {
  ASSERT_TRUE(IsDone(OnStore({"create", "a", "128M"})));
  Fill("a", 0, kBytes);
  ASSERT_EQ(OnStore({"snap", "create", "a@s"}).status, 0);
  ExpectProgress(OnStore({"seal", "a"}), "seal");
}

TEST_F(ProgressOfADaemonTest, ImportAndScrubTellOfThemselves) {
  std::string image(kBytes, '\0');
  for (size_t at = 0; at < image.size(); at += 64) image[at] = static_cast<char>(at >> 12);
  WriteFile(Path("image"), image);
  ExpectProgress(OnStore({"import", Path("image"), "b"}), "import");
  ExpectProgress(OnStore({"scrub"}), "scrub");
}

TEST_F(ProgressOfADaemonTest, ShortWorkSaysNothingByDefault) {
  setenv("QUOIN_PROGRESS_SECONDS", "", 1);
  ASSERT_TRUE(IsDone(OnStore({"create", "a", "16M"})));
  Fill("a", 0, uint64_t{1} << 20);
  EXPECT_TRUE(IsDone(OnStore({"seal", "a"})));
}

}  // namespace
}  // namespace quoin

// One session asks another through the store's folder: what is answered, taken back, late, or lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "metadata/request_call.h"
#include "metadata/request_inbox.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLong{3'600'000};
// Of an answer that comes, however loaded the machine is.
constexpr RequestPatience kPatient{.begun_within = milliseconds(60'000)};

class RequestTest : public ::testing::Test {
 protected:
  RequestTest() {
    self_.host = SampleId(1);
    self_.host_name = "node1";
    self_.boot = "boot";
    self_.session = SampleId(2);
    lease_ = std::make_unique<Lease>(fs_, layout_, self_, kLong, [] {});
    EXPECT_OK(lease_->Begin());
  }

  std::string Session() const { return layout_.Session(self_.host, self_.session); }
  std::string Folder() const { return StoreLayout::Requests(Session()); }

  void Serve(RequestInbox::Handler handler) {
    Result<std::unique_ptr<RequestInbox>> inbox =
        RequestInbox::Open(fs_, *lease_, Session(), std::move(handler));
    ASSERT_OK(inbox);
    inbox_ = std::move(*inbox);
  }
  Result<std::string> Call(std::string_view text, const RequestPatience& patience = kPatient) {
    return CallSession(fs_, layout_, watch_, self_.host, self_.session, text, patience);
  }
  std::vector<std::string> Left() {
    std::vector<std::string> names;
    const auto entries = fs_.List(Folder());
    for (const DirectoryEntry& entry : *entries) names.push_back(entry.name);
    return names;
  }

  SimulatedFileSystem fs_;
  const StoreLayout layout_{"", ""};
  HostIdentity self_;
  SessionWatch watch_{fs_, layout_};
  std::unique_ptr<Lease> lease_;
  std::unique_ptr<RequestInbox> inbox_;
};

TEST_F(RequestTest, WhatIsAskedIsAnsweredAndNothingIsLeft) {
  Serve([](std::string_view text) { return "told " + std::string(text); });
  for (int i = 0; i < 3; ++i) {
    const Result<std::string> answer = Call("what " + std::to_string(i));
    ASSERT_OK(answer);
    EXPECT_EQ(*answer, "told what " + std::to_string(i));
  }
  const std::string bytes("\0\xff\n", 3);
  EXPECT_EQ(Call(bytes).value(), "told " + bytes);
  inbox_.reset();
  EXPECT_EQ(Left(), std::vector<std::string>());
}

TEST_F(RequestTest, AFewAtOnceAreUnderWayTogether) {
  std::atomic<int> under_way{0};
  std::atomic<bool> all_there{false};
  Serve([&](std::string_view text) {
    if (++under_way == 4) all_there = true;
    for (int i = 0; i < 6000 && !all_there; ++i) std::this_thread::sleep_for(milliseconds(10));
    return std::string(text);
  });
  std::vector<std::thread> askers;
  for (int i = 0; i < 4; ++i) {
    askers.emplace_back([this, i] { EXPECT_EQ(Call(std::to_string(i)).value(), std::to_string(i)); });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_TRUE(all_there);
}

TEST_F(RequestTest, ASessionThatTakesNoRequestsIsNotWaitedFor) {
  EXPECT_ERROR(kNotFound, Call("what"));
}

TEST_F(RequestTest, ARequestThatNobodyBeginsWithIsTakenBack) {
  ASSERT_OK(fs_.MakeDirectory(Folder()));  // its session is dead, or stopped
  EXPECT_ERROR(kNotFound, Call("what", {.begun_within = milliseconds(20)}));
  std::atomic<int> asked{0};
  Serve([&](std::string_view) {
    ++asked;
    return std::string();
  });
  EXPECT_OK(Call("another"));
  EXPECT_EQ(asked, 1) << "what was taken back was done";
}

TEST_F(RequestTest, WhoDoesNotWaitForTheAnswerIsToldThatItCannotBeKnown) {
  std::atomic<bool> may_end{false};
  std::atomic<bool> ended{false};
  Serve([&](std::string_view) {
    for (int i = 0; i < 6000 && !may_end; ++i) std::this_thread::sleep_for(milliseconds(10));
    ended = true;
    return std::string();
  });
  EXPECT_ERROR(kIo, Call("what", {.begun_within = milliseconds(60'000),
                                  .answered_within = milliseconds(3'000)}));
  may_end = true;
  inbox_.reset();
  EXPECT_TRUE(ended) << "what is under way is waited for";
}

TEST_F(RequestTest, WhatIsNoRequestIsAnsweredAllTheSame) {
  std::atomic<int> asked{0};
  ASSERT_OK(fs_.MakeDirectory(Folder()));
  const Id id = SampleId(9);
  WriteBytes(fs_, Folder() + "/" + id.ToString(), "quoin request 2\nwhat");
  WriteBytes(fs_, Folder() + "/something else", "");
  WriteBytes(fs_, Folder() + "/bell", "");
  Serve([&](std::string_view) {
    ++asked;
    return std::string();
  });
  const auto answered = ::testing::UnorderedElementsAre(id.ToString() + ".answer", "something else");
  for (int i = 0; i < 6000 && !::testing::Value(Left(), answered); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_THAT(Left(), answered);
  EXPECT_EQ(asked, 0);
}

TEST_F(RequestTest, TooLongARequestIsRefusedBeforeItIsAsked) {
  Serve([](std::string_view text) { return std::string(text); });
  EXPECT_ERROR(kTooLarge, Call(std::string(kMaxRequestBytes, 'x')));
}

// Whoever asked may have helped itself: what came before a lapse is over is not done.
TEST_F(RequestTest, WhatWasAskedBeforeALapseIsAnsweredAsLate) {
  lease_->End();
  lease_ = std::make_unique<Lease>(fs_, layout_, self_, milliseconds(200), [] {});
  ASSERT_OK(lease_->Begin());
  std::atomic<int> asked{0};
  Serve([&](std::string_view) {
    ++asked;
    return std::string();
  });
  ASSERT_OK(Call("before"));
  // The storage is out of reach for longer than the lease; a request comes meanwhile.
  fs_.Plan({.mode = FaultMode::kErrors, .code = ErrorCode::kIo, .only_path_part = "heartbeat"});
  for (int i = 0; i < 6000 && lease_->IsValid(); ++i) std::this_thread::sleep_for(milliseconds(1));
  ASSERT_FALSE(lease_->IsValid());
  std::thread back([&] {
    std::this_thread::sleep_for(milliseconds(100));
    fs_.ClearFaults();
  });
  EXPECT_ERROR(kNotFound, Call("meanwhile"));
  back.join();
  EXPECT_EQ(asked, 1);
  EXPECT_OK(Call("after"));
}

}  // namespace
}  // namespace quoin

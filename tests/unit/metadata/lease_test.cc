// A session's heartbeat, what others see of it, and what happens when it comes too late.
#include "metadata/lease.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "metadata/host_record.h"
#include "metadata/session_watch.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

using std::chrono::milliseconds;

// Far longer than a loaded machine keeps a thread from running.
constexpr milliseconds kLong{3'600'000};

HostIdentity SessionOf(int host, const std::string& boot = "boot") {
  HostIdentity self;
  self.host = SampleId(host);
  self.host_name = "node" + std::to_string(host);
  self.boot = boot;
  self.session = Id::Random();
  self.pid = 4711;
  self.version = "1.2";
  return self;
}

template <typename Condition>
void Await(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return;
    std::this_thread::sleep_for(milliseconds(10));
  }
  FAIL() << "it does not come to be so";
}

class LeaseTest : public ::testing::Test {
 protected:
  Lease& Begin(const HostIdentity& self, milliseconds duration) {
    lease_ = std::make_unique<Lease>(fs_, layout_, self, duration, [this] { ++looked_; });
    EXPECT_OK(lease_->Begin());
    return *lease_;
  }
  std::string HeartbeatOf(const HostIdentity& self) {
    return ReadBytes(fs_, StoreLayout::Heartbeat(layout_.Session(self.host, self.session)));
  }

  SimulatedFileSystem fs_;
  const StoreLayout layout_{"", ""};
  std::atomic<int> looked_{0};
  std::unique_ptr<Lease> lease_;
};

TEST_F(LeaseTest, TellsTheOthersWhoIsThereUntilItEnds) {
  const HostIdentity self = SessionOf(1);
  Lease& lease = Begin(self, kLong);
  EXPECT_OK(lease.Begin());  // once more is nothing
  const std::optional<HostRecord> record = DecodeHostRecord(HeartbeatOf(self));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->host, self.host);
  EXPECT_EQ(record->session, self.session);
  EXPECT_EQ(record->host_name, "node1");
  EXPECT_EQ(record->version, "1.2");
  EXPECT_EQ(record->lease_ms, 3'600'000u);
  EXPECT_TRUE(lease.IsValid());
  lease.End();
  ASSERT_OK_AND_ASSIGN(const auto left, fs_.List(layout_.Hosts()));
  EXPECT_TRUE(left.empty());
}

TEST_F(LeaseTest, BeforeItBeginsNothingIsHeldUp) {
  Lease lease(fs_, layout_, SessionOf(1), kLong, [] {});
  EXPECT_OK(lease.Admit());
}

TEST_F(LeaseTest, ARenewedHeartbeatIsNeverSilentAndOneThatIsNotRenewedGrowsSilent) {
  const HostIdentity self = SessionOf(1);
  SessionWatch watch(fs_, layout_);
  Begin(self, milliseconds(500));
  ASSERT_OK_AND_ASSIGN(const auto first, watch.Look(self.host, self.session));
  EXPECT_EQ(first.silent_for.count(), 0);
  Await([&] {
    const auto sight = watch.Look(self.host, self.session);
    return sight && sight->state != first.state && sight->silent_for.count() == 0;
  });
  lease_->End();
  ASSERT_OK_AND_ASSIGN(const auto gone, watch.Look(self.host, self.session));
  EXPECT_FALSE(gone.record);
  EXPECT_EQ(gone.silent_for.count(), 0) << "silence counts from when it was first seen";
  std::this_thread::sleep_for(milliseconds(30));
  ASSERT_OK_AND_ASSIGN(const auto later, watch.Look(self.host, self.session));
  EXPECT_EQ(later.state, gone.state);
  EXPECT_GE(later.silent_for, milliseconds(30));
}

TEST_F(LeaseTest, AfterALapseChangesWaitUntilWhatIsOwnedWasLookedAt) {
  const HostIdentity self = SessionOf(1);
  Lease& lease = Begin(self, milliseconds(400));
  fs_.Plan({.mode = FaultMode::kErrors, .only_path_part = "heartbeat"});
  Await([&] { return !lease.IsValid(); });
  std::atomic<bool> admitted = false;
  std::thread waiting([&] {
    EXPECT_OK(lease.Admit());
    EXPECT_GE(looked_, 1);
    admitted = true;
  });
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(admitted);
  EXPECT_EQ(looked_, 0);
  fs_.ClearFaults();
  waiting.join();
  EXPECT_GE(lease.lapses(), 1u);
}

TEST_F(LeaseTest, ASessionThatWasDeclaredDeadNoticesThoughItsClockStoodStill) {
  const HostIdentity self = SessionOf(1);
  Lease& lease = Begin(self, milliseconds(2000));
  ASSERT_OK(DeclareDead(fs_, layout_, self.host, self.session));
  SessionWatch watch(fs_, layout_);
  ASSERT_OK_AND_ASSIGN(const auto dead, watch.Look(self.host, self.session));
  EXPECT_TRUE(dead.declared_dead);
  Await([&] { return looked_ > 0; });
  EXPECT_OK(lease.Admit());
  Await([&] {
    const auto sight = watch.Look(self.host, self.session);
    return sight && sight->record && !sight->declared_dead;
  });
}

// Others say so, not the session: whoever waits for its silence need not begin anew.
TEST_F(LeaseTest, ToBeDeclaredDeadIsNoSignOfLife) {
  const HostIdentity self = SessionOf(1);
  const std::string folder = layout_.Session(self.host, self.session);
  ASSERT_OK(fs_.MakeDirectory(layout_.Hosts()));
  ASSERT_OK(fs_.MakeDirectory(folder));
  WriteBytes(fs_, StoreLayout::Heartbeat(folder), "a beat");
  SessionWatch watch(fs_, layout_);
  ASSERT_OK_AND_ASSIGN(const auto before, watch.Look(self.host, self.session));
  ASSERT_OK(DeclareDead(fs_, layout_, self.host, self.session));
  std::this_thread::sleep_for(milliseconds(30));
  ASSERT_OK_AND_ASSIGN(const auto after, watch.Look(self.host, self.session));
  EXPECT_TRUE(after.declared_dead);
  EXPECT_EQ(after.state, before.state);
  EXPECT_GE(after.silent_for, milliseconds(30));
  // Its next heartbeat is one.
  WriteBytes(fs_, StoreLayout::Heartbeat(folder), "another beat");
  ASSERT_OK_AND_ASSIGN(const auto alive, watch.Look(self.host, self.session));
  EXPECT_FALSE(alive.declared_dead);
  EXPECT_NE(alive.state, before.state);
}

TEST_F(LeaseTest, WhoWaitsWhenItEndsIsRefused) {
  Lease& lease = Begin(SessionOf(1), milliseconds(200));
  fs_.Plan({.mode = FaultMode::kErrors, .only_path_part = "heartbeat"});
  Await([&] { return !lease.IsValid(); });
  std::thread waiting([&] { EXPECT_ERROR(kLostOwnership, lease.Admit()); });
  std::this_thread::sleep_for(milliseconds(20));
  lease.End();
  waiting.join();
}

TEST_F(LeaseTest, AMachineThatGoesByAnothersIdIsRefused) {
  Begin(SessionOf(1, "boot-of-the-original"), kLong);
  Lease clone(fs_, layout_, SessionOf(1, "boot-of-the-clone"), kLong, [] {});
  const Status begun = clone.Begin();
  ASSERT_ERROR(kInvalid, begun);
  EXPECT_NE(begun.error().what.find("node1 (pid 4711)"), std::string::npos);
  EXPECT_NE(begun.error().next.find("host.id"), std::string::npos);
  Lease of_this_boot(fs_, layout_, SessionOf(1, "boot-of-the-original"), kLong, [] {});
  EXPECT_OK(of_this_boot.Begin());
}

TEST_F(LeaseTest, WhatADeadSessionOfThisHostLeftGoesWithTheNextOne) {
  const HostIdentity dead = SessionOf(1, "before");
  const std::string folder = layout_.Session(dead.host, dead.session);
  ASSERT_OK(fs_.MakeDirectory(layout_.Hosts()));
  ASSERT_OK(fs_.MakeDirectory(folder));
  WriteBytes(fs_, StoreLayout::Heartbeat(folder), "whatever");
  const std::string other = layout_.Session(SampleId(2), Id::Random());
  ASSERT_OK(fs_.MakeDirectory(other));
  WriteBytes(fs_, StoreLayout::Heartbeat(other), "whatever");
  Begin(SessionOf(1), kLong);
  EXPECT_ERROR(kNotFound, fs_.Facts(folder));
  EXPECT_OK(fs_.Facts(other));
}

TEST(HostRecordTest, GivesBackEveryFieldAndNothingThatIsDamaged) {
  HostRecord record{.host = SampleId(1),
                    .host_name = "node1",
                    .boot = "9a1f0c3e-3a77-4c9c-9a06-5a5f4c7d2b10",
                    .session = SampleId(2),
                    .pid = 4711,
                    .version = "1.2.3-rc1",
                    .since_s = 1'700'000'000,
                    .lease_ms = 10'000,
                    .beat = 17};
  const std::string bytes = EncodeHostRecord(record);
  EXPECT_EQ(bytes.size(), 512u);
  EXPECT_EQ(DecodeHostRecord(bytes), record);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string wrong = bytes;
    wrong[bit / 8] = static_cast<char>(wrong[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(DecodeHostRecord(wrong)) << "bit " << bit;
  }
  EXPECT_FALSE(DecodeHostRecord(""));
  record.host_name = std::string(1000, '"');
  record.boot = record.version = std::string(1000, '\x01');
  record.pid = record.since_s = INT64_MIN;
  record.beat = UINT64_MAX;
  EXPECT_TRUE(DecodeHostRecord(EncodeHostRecord(record)));
}

}  // namespace
}  // namespace quoin

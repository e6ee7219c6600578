// Succeeding an owner of another host that fell silent.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "metadata/writer_lock.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

using std::chrono::milliseconds;
using Predecessor = WriterLock::Predecessor;

// One host's process, as far as locks are concerned.
struct Host {
  Host(FileSystem& fs, int number, milliseconds lease_duration, milliseconds wait)
      : layout(""),
        self(Identity(number)),
        watch(fs, layout),
        lease(fs, layout, self, lease_duration, [] {}),
        succession{layout, watch, lease, wait},
        file_system(fs) {
    EXPECT_OK(lease.Begin());
  }
  static HostIdentity Identity(int number) {
    HostIdentity self;
    self.host = SampleId(number);
    self.host_name = "node" + std::to_string(number);
    self.boot = "boot" + std::to_string(number);
    self.session = Id::Random();
    self.pid = 4711;
    return self;
  }
  Result<std::unique_ptr<WriterLock>> Acquire(milliseconds wait = milliseconds(0)) {
    return WriterLock::Acquire(file_system, "/vdi", "web01", self, wait, &succession);
  }

  const StoreLayout layout;
  const HostIdentity self;
  SessionWatch watch;
  Lease lease;
  const Succession succession;
  FileSystem& file_system;
};

constexpr milliseconds kShort{200};
constexpr milliseconds kLong{3'600'000};
constexpr milliseconds kPatient{20'000};

class SuccessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(fs_.MakeDirectory("/vdi"));
    WriteBytes(fs_, "/vdi/writer.lock", "");
    ASSERT_OK_AND_ASSIGN(old_lock_, old_.Acquire());
    old_.lease.End();  // nothing is heard of it any more
  }
  std::string Heartbeat() const {
    return StoreLayout::Heartbeat(old_.layout.Session(old_.self.host, old_.self.session));
  }
  // The old owner is heard of again.
  void Beat() {
    (void)fs_.MakeDirectory(old_.layout.Session(old_.self.host, old_.self.session));
    WriteBytes(fs_, Heartbeat(), "beat " + std::to_string(++beats_));
  }

  SimulatedFileSystem fs_;
  Host old_{fs_, 2, kShort, milliseconds(0)};
  std::unique_ptr<WriterLock> old_lock_;
  int beats_ = 0;
};

TEST_F(SuccessionTest, ASilentOwnerWhoseLockIsFreeIsSucceeded) {
  old_lock_.reset();
  Host next(fs_, 1, kLong, kPatient);
  ASSERT_OK_AND_ASSIGN(const auto lock, next.Acquire());
  EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
  EXPECT_EQ(lock->record().succeeds, old_.self.session);
  EXPECT_EQ(lock->epoch(), 2u);
  EXPECT_TRUE(lock->record().taking_over);
  EXPECT_TRUE(lock->predecessor_lost_lock());
  EXPECT_OK(lock->Verify());
  ASSERT_OK(lock->ReleaseClean());
  EXPECT_ERROR(kNotFound, fs_.Facts("/vdi/writer.lock.1"));
}

// It is stopped, or the storage still believes in it.
TEST_F(SuccessionTest, ASilentOwnerThatHoldsItsLockIsSucceededByANewerLockFile) {
  Host next(fs_, 1, kLong, kPatient);
  ASSERT_OK_AND_ASSIGN(const auto lock, next.Acquire());
  EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
  EXPECT_EQ(lock->epoch(), 2u);
  EXPECT_FALSE(lock->predecessor_lost_lock()) << "no storage has shut that one out";
  EXPECT_OK(lock->Verify());
  // The old owner comes back.
  EXPECT_ERROR(kLostOwnership, old_lock_->Verify());
  EXPECT_ERROR(kLostOwnership, old_lock_->ReleaseClean());
  ASSERT_OK_AND_ASSIGN(const LockStatus held, WriterLock::Inspect(fs_, "/vdi"));
  EXPECT_TRUE(held.held);
  EXPECT_EQ(held.record.session, next.self.session);
  // Its lock means nothing any more, also for who comes next.
  ASSERT_OK(lock->ReleaseClean());
  old_lock_.reset();
  Host third(fs_, 3, kLong, milliseconds(0));
  ASSERT_OK_AND_ASSIGN(const auto after, third.Acquire());
  EXPECT_EQ(after->epoch(), 3u);
  EXPECT_EQ(after->predecessor(), Predecessor::kClean);
}

// Its own lock is free; that of the owner before it is not, and it may have died before it copied the head.
TEST_F(SuccessionTest, WhoDiedWhileItSucceededAnotherCountsAsHavingOneToShutOut) {
  {
    Host second(fs_, 3, kShort, kPatient);
    ASSERT_OK_AND_ASSIGN(const auto lock, second.Acquire());
    EXPECT_FALSE(lock->predecessor_lost_lock());
  }
  Host third(fs_, 4, kShort, kPatient);
  {
    ASSERT_OK_AND_ASSIGN(const auto lock, third.Acquire());
    EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
    EXPECT_FALSE(lock->predecessor_lost_lock());
  }
  {
    ASSERT_OK_AND_ASSIGN(const auto lock, third.Acquire());
    EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere) << "the same host, which died itself";
    EXPECT_FALSE(lock->predecessor_lost_lock());
    ASSERT_OK(lock->ReleaseClean());
  }
  {
    ASSERT_OK(third.Acquire());
  }
  third.lease.End();
  Host fourth(fs_, 5, kShort, kPatient);
  ASSERT_OK_AND_ASSIGN(const auto lock, fourth.Acquire());
  EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
  EXPECT_TRUE(lock->predecessor_lost_lock()) << "whoever came between let go cleanly";
}

TEST_F(SuccessionTest, ABrokenLockWasLostByItsOwnerUnlessNobodyKnowsWhoThatWas) {
  old_lock_.reset();
  for (const bool is_damaged : {false, true}) {
    SCOPED_TRACE(is_damaged);
    if (is_damaged) {
      WriteBytes(fs_, "/vdi/writer.lock", "rubbish");
      ASSERT_OK(fs_.MakeDirectory("/vdi/layers"));
    }
    ASSERT_OK(WriterLock::Break(fs_, "/vdi", "web01", Host::Identity(1)));
    Host next(fs_, 1, kLong, milliseconds(0));
    ASSERT_OK_AND_ASSIGN(const auto lock, next.Acquire());
    EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
    EXPECT_EQ(lock->predecessor_lost_lock(), !is_damaged);
  }
}

TEST_F(SuccessionTest, WhoIsShownAnOldListOfNamesStillSeesThatTheOldLockFileIsOver) {
  Host next(fs_, 1, kLong, kPatient);
  ASSERT_OK_AND_ASSIGN(const auto lock, next.Acquire());
  old_lock_.reset();
  ASSERT_OK(fs_.Rename("/vdi/writer.lock.1", "/hidden"));
  Host third(fs_, 3, kLong, milliseconds(0));
  EXPECT_ERROR(kBusy, third.Acquire());
}

TEST_F(SuccessionTest, AnOwnerThatIsHeardOfIsNotSucceededAndNotWaitedForEither) {
  Host next(fs_, 1, kLong, kPatient);
  std::atomic<bool> done = false;
  std::thread beating([&] {
    while (!done) {
      Beat();
      std::this_thread::sleep_for(milliseconds(20));
    }
  });
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) {
    const auto refused = next.Acquire();
    ASSERT_ERROR(kBusy, refused);
    EXPECT_NE(refused.error().what.find("host node2 has had it open"), std::string::npos);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kPatient);
  done = true;
  beating.join();
}

// The claim is shown before the heartbeat is looked at once more; the old owner looks for claims after
// it has renewed its heartbeat.
TEST_F(SuccessionTest, AnOwnerThatComesBackWhileItIsBeingSucceededKeepsTheLock) {
  for (const bool is_free : {false, true}) {
    SCOPED_TRACE(is_free);
    if (is_free) old_lock_.reset();
    const std::string before = ReadBytes(fs_, "/vdi/writer.lock");
    const std::string claim = is_free ? "/vdi/writer.lock" : "writer.lock.unfinished";
    bool claimed = false;
    std::atomic<bool> in_beat = false;
    fs_.SetObserver([&](Call call, const std::string& path) {
      if (in_beat || claimed || call != Call::kWrite || path.find(claim) == std::string::npos) {
        return;
      }
      claimed = in_beat = true;
      Beat();
      in_beat = false;
    });
    {
      Host next(fs_, 1, kLong, milliseconds(500));
      EXPECT_ERROR(kBusy, next.Acquire());
    }
    fs_.SetObserver(nullptr);
    EXPECT_TRUE(claimed);
    EXPECT_EQ(ReadBytes(fs_, "/vdi/writer.lock"), before);
    EXPECT_ERROR(kNotFound, fs_.Facts("/vdi/writer.lock.1"));
    if (!is_free) {
      EXPECT_OK(old_lock_->Verify());
    }
  }
}

// It comes back after the look that showed it silent for long enough, and before the claim. Whoever claims
// may be held up so long that it has looked for claims already.
TEST_F(SuccessionTest, AnOwnerThatComesBackJustBeforeTheClaimKeepsTheLock) {
  old_lock_.reset();
  Beat();
  const std::string before = ReadBytes(fs_, "/vdi/writer.lock");
  Host next(fs_, 1, kLong, milliseconds(0));
  EXPECT_ERROR(kBusy, next.Acquire());  // the first look
  std::this_thread::sleep_for(2 * kShort);
  int looks = 0;
  bool has_come_back = false;
  fs_.SetObserver([&](Call call, const std::string& path) {
    if (has_come_back) return;
    looks += call == Call::kOpen && path == Heartbeat();
    const bool is_claim = call == Call::kWrite && path == "/vdi/writer.lock";
    if (looks < 2 && !is_claim) return;
    has_come_back = true;
    Beat();
  });
  EXPECT_ERROR(kBusy, next.Acquire());
  fs_.SetObserver(nullptr);
  EXPECT_TRUE(has_come_back);
  EXPECT_EQ(ReadBytes(fs_, "/vdi/writer.lock"), before);
}

// A host that died had many.
TEST_F(SuccessionTest, AllThatASilentOwnerHadIsHadAfterOneWait) {
  constexpr int kVdis = 4;
  old_lock_.reset();
  Beat();
  for (int i = 0; i < kVdis; ++i) {
    const std::string folder = "/vdi" + std::to_string(i);
    ASSERT_OK(fs_.MakeDirectory(folder));
    WriteBytes(fs_, folder + "/writer.lock", ReadBytes(fs_, "/vdi/writer.lock"));
  }
  Host next(fs_, 1, kLong, kPatient);
  std::vector<std::thread> threads;
  for (int i = 0; i < kVdis; ++i) {
    threads.emplace_back([&, i] {
      std::this_thread::sleep_for(i * milliseconds(5));  // not all claim at the same moment
      EXPECT_OK(WriterLock::Acquire(fs_, "/vdi" + std::to_string(i), "db02", next.self,
                                    milliseconds(0), &next.succession));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Each attempt costs the storage two dozen operations, and a host that died may have had hundreds of VDIs.
TEST_F(SuccessionTest, WhoeverWaitsForADeadOwnerAsksRarely) {
  constexpr milliseconds kLease{1000};
  ASSERT_OK(fs_.MakeDirectory("/db02"));
  WriteBytes(fs_, "/db02/writer.lock", "");
  Host dead(fs_, 4, kLease, milliseconds(0));
  const auto acquire = [&](Host& host) {
    return WriterLock::Acquire(fs_, "/db02", "db02", host.self, milliseconds(0), &host.succession);
  };
  ASSERT_OK(acquire(dead));  // its process goes without a word
  dead.lease.End();
  std::atomic<int> attempts = 0;
  fs_.SetObserver([&](Call call, const std::string& path) {
    attempts += call == Call::kOpen && path == "/db02/writer.lock";
  });
  Host next(fs_, 1, kLong, kPatient);
  ASSERT_OK(acquire(next));
  fs_.SetObserver(nullptr);
  EXPECT_LE(attempts, 14);  // one in each tenth of the lease
}

class SuccessionRaceTest : public SuccessionTest, public ::testing::WithParamInterface<bool> {};

TEST_P(SuccessionRaceTest, OfManyWhoSucceedAtOnceOneWins) {
  const bool is_free = GetParam();
  if (is_free) old_lock_.reset();
  constexpr int kHosts = 4;
  std::atomic<int> owners = 0;
  std::atomic<int> tried = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kHosts; ++i) {
    threads.emplace_back([&, i] {
      Host host(fs_, 3 + i, kLong, milliseconds(2000));
      const auto lock = host.Acquire();
      owners += lock.has_value();
      if (!lock) {
        EXPECT_EQ(lock.error().code, ErrorCode::kBusy);
      }
      ++tried;
      while (tried < kHosts) std::this_thread::sleep_for(milliseconds(10));  // nobody lets go before
      EXPECT_TRUE(!lock || (*lock)->Verify());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(owners, 1);
}

INSTANTIATE_TEST_SUITE_P(Locks, SuccessionRaceTest, ::testing::Bool(), [](const auto& test) {
  return test.param ? "Free" : "Held";
});

TEST_F(SuccessionTest, ADeclaredDeathIsToldToTheDead) {
  Beat();
  Host next(fs_, 1, kLong, kPatient);
  ASSERT_OK(next.Acquire());
  EXPECT_ERROR(kNotFound, fs_.Facts(Heartbeat()));
}

}  // namespace
}  // namespace quoin

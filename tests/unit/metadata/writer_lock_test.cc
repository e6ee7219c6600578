#include "metadata/writer_lock.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "metadata/store_layout.h"
#include "metadata/writer_lock_record.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

using std::chrono::milliseconds;
using Predecessor = WriterLock::Predecessor;

constexpr milliseconds kNoWait{0};

HostIdentity HostOf(int number) {
  HostIdentity self;
  self.host = SampleId(number);
  self.host_name = fmt::format("node{}", number);
  self.boot = "00000000-0000-0000-0000-000000000000";
  self.session = Id::Random();
  self.pid = 4711;
  return self;
}

template <typename Storage>
class WriterLockTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(file_system_.MakeDirectory(vdi_, 0700)); }

  Result<std::unique_ptr<WriterLock>> Acquire(const HostIdentity& self,
                                              milliseconds wait = kNoWait) {
    return WriterLock::Acquire(file_system_, vdi_, "web01", self, wait);
  }
  Status Break(const HostIdentity& self) {
    return WriterLock::Break(file_system_, vdi_, "web01", self);
  }
  void PutRecord(const std::string& bytes) { WriteBytes(file_system_, path_, bytes); }
  // The lock as its owner leaves it when its process dies.
  void LetDie(const HostIdentity& self) { EXPECT_OK(WriterLock::Create(file_system_, vdi_, self)); }

  Storage storage_;
  FileSystem& file_system_ = storage_.file_system;
  const std::string vdi_ = storage_.root + "/vdi";
  const std::string path_ = StoreLayout::WriterLock(vdi_);
  const HostIdentity node1_ = HostOf(1);
  const HostIdentity node2_ = HostOf(2);
};

TYPED_TEST_SUITE(WriterLockTest, AllStorages);

TYPED_TEST(WriterLockTest, EveryOwnerCountsTheEpochUpAndACleanReleaseLeavesNothingToRecover) {
  ASSERT_OK_AND_ASSIGN(auto made, WriterLock::Create(this->file_system_, this->vdi_, this->node1_));
  EXPECT_EQ(made->epoch(), 1u);
  EXPECT_EQ(made->predecessor(), Predecessor::kClean);
  EXPECT_OK(made->Verify());
  ASSERT_OK(made->ReleaseClean());
  ASSERT_OK_AND_ASSIGN(const auto next, this->Acquire(this->node2_));
  EXPECT_EQ(next->epoch(), 2u);
  EXPECT_EQ(next->predecessor(), Predecessor::kClean);
  EXPECT_EQ(next->record().session, this->node2_.session);
  EXPECT_EQ(made->epoch(), 1u);
}

TYPED_TEST(WriterLockTest, AnEmptyLockFileWasNeverHeld) {
  this->PutRecord("");
  ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node1_));
  EXPECT_EQ(lock->epoch(), 1u);
  EXPECT_EQ(lock->predecessor(), Predecessor::kClean);
}

TYPED_TEST(WriterLockTest, AMissingVdiIsNotFoundAndASecondCreateIsRefused) {
  EXPECT_ERROR(kNotFound, this->Acquire(this->node1_));
  EXPECT_ERROR(kNotFound, this->Break(this->node1_));
  EXPECT_ERROR(kNotFound, WriterLock::Inspect(this->file_system_, this->vdi_));
  ASSERT_OK(WriterLock::Create(this->file_system_, this->vdi_, this->node1_));
  EXPECT_ERROR(kExists, WriterLock::Create(this->file_system_, this->vdi_, this->node1_));
}

TYPED_TEST(WriterLockTest, AHeldLockIsBusyAndNamesItsHolderAndWhatToDo) {
  ASSERT_OK_AND_ASSIGN(const auto lock,
                       WriterLock::Create(this->file_system_, this->vdi_, this->node2_));
  const auto refused = this->Acquire(this->node1_);
  ASSERT_ERROR(kBusy, refused);
  EXPECT_EQ(refused.error().what,
            "cannot open vdis/web01 for writing: " + DescribeHolder(lock->record()));
  EXPECT_EQ(refused.error().next,
            "it is released when that guest stops; if node2 is dead: quoin lock break web01");
  // On the holder's own host there is nobody to declare dead.
  EXPECT_EQ(this->Acquire(this->node2_).error().next, "it is released when that guest stops");
}

TYPED_TEST(WriterLockTest, WhileAnOwnerIsJustComingOrGoingNobodyIsNamed) {
  this->PutRecord("");
  ASSERT_OK_AND_ASSIGN(const auto file, this->file_system_.Open(this->path_, {Access::kReadWrite}));
  ASSERT_TRUE(file->TryLock().value());
  const auto refused = this->Acquire(this->node1_);
  ASSERT_ERROR(kBusy, refused);
  EXPECT_NE(refused.error().what.find("just opening it"), std::string::npos);
}

TYPED_TEST(WriterLockTest, WaitsUntilTheHolderLetsGo) {
  ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(this->file_system_, this->vdi_, this->node2_));
  std::thread holder([&] {
    std::this_thread::sleep_for(milliseconds(150));
    EXPECT_OK(lock->ReleaseClean());
  });
  const auto next = this->Acquire(this->node1_, std::chrono::seconds(20));
  holder.join();
  ASSERT_OK(next);
  EXPECT_EQ((*next)->predecessor(), Predecessor::kClean);
}

TYPED_TEST(WriterLockTest, WaitingEndsWhenTheTimeIsOver) {
  ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(this->file_system_, this->vdi_, this->node2_));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_ERROR(kBusy, this->Acquire(this->node1_, milliseconds(200)));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(200));
}

TYPED_TEST(WriterLockTest, AnOwnerOfThisHostThatDiedIsSucceededAtOnceWhateverItsBoot) {
  HostIdentity before = this->node1_;
  before.boot = "11111111-1111-1111-1111-111111111111";
  before.session = Id::Random();
  this->LetDie(before);
  ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node1_));
  EXPECT_EQ(lock->predecessor(), Predecessor::kDiedHere);
  EXPECT_EQ(lock->epoch(), 2u);
}

TYPED_TEST(WriterLockTest, AnOwnerOfAnotherHostThatDidNotLetGoIsSucceededOnlyOnceItIsBroken) {
  this->LetDie(this->node2_);
  const auto refused = this->Acquire(this->node1_);
  ASSERT_ERROR(kBusy, refused);
  EXPECT_NE(refused.error().what.find("host node2"), std::string::npos);
  EXPECT_EQ(refused.error().next, "if node2 is dead: quoin lock break web01");

  ASSERT_OK(this->Break(this->node1_));
  ASSERT_OK_AND_ASSIGN(const LockStatus status,
                       WriterLock::Inspect(this->file_system_, this->vdi_));
  EXPECT_TRUE(status.record.broken);
  EXPECT_FALSE(status.record.clean);
  EXPECT_EQ(status.record.host, this->node2_.host);
  ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node1_));
  EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
  EXPECT_EQ(lock->epoch(), 2u);
  EXPECT_FALSE(lock->record().broken);
}

// Whoever takes over from another host freezes its head. One who fails or dies before that must not
// leave the next one believing that the last owner was of this host and there is nothing to freeze.
TYPED_TEST(WriterLockTest, ATakeOverThatDidNotEndIsBegunAgainByTheNextOwner) {
  this->LetDie(this->node2_);
  ASSERT_OK(this->Break(this->node1_));
  for (int attempt = 0; attempt < 2; ++attempt) {
    ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node1_));
    EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
  }
  ASSERT_OK_AND_ASSIGN(const auto last, this->Acquire(this->node1_));
  ASSERT_OK(last->ReleaseClean());
  ASSERT_OK(this->Acquire(this->node1_));  // and dies at once
  ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node1_));
  EXPECT_EQ(lock->predecessor(), Predecessor::kDiedHere);
}

TYPED_TEST(WriterLockTest, TheDeadHostItselfSucceedsABrokenLockAsDiedHere) {
  this->LetDie(this->node2_);
  ASSERT_OK(this->Break(this->node1_));
  ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node2_));
  EXPECT_EQ(lock->predecessor(), Predecessor::kDiedHere);
}

TYPED_TEST(WriterLockTest, AHeldLockCannotBeBroken) {
  ASSERT_OK_AND_ASSIGN(const auto lock,
                       WriterLock::Create(this->file_system_, this->vdi_, this->node2_));
  const Status broken = this->Break(this->node1_);
  ASSERT_ERROR(kBusy, broken);
  EXPECT_NE(broken.error().what.find("host node2"), std::string::npos);
  EXPECT_NE(broken.error().next.find("stop it first"), std::string::npos);
  EXPECT_OK(lock->Verify());
}

TYPED_TEST(WriterLockTest, BreakingACleanLockChangesNothing) {
  ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(this->file_system_, this->vdi_, this->node2_));
  ASSERT_OK(lock->ReleaseClean());
  ASSERT_OK(this->Break(this->node1_));
  ASSERT_OK_AND_ASSIGN(const auto next, this->Acquire(this->node1_));
  EXPECT_EQ(next->predecessor(), Predecessor::kClean);
  EXPECT_EQ(next->epoch(), 2u);
}

TYPED_TEST(WriterLockTest, ADamagedRecordIsCorruptUntilItIsBroken) {
  for (const std::string& rubbish :
       {std::string("x"), std::string(512, '\0'), std::string(512, ' '), std::string(2000, 'y')}) {
    this->PutRecord(rubbish);
    const auto refused = this->Acquire(this->node1_);
    ASSERT_ERROR(kCorrupt, refused);
    EXPECT_NE(refused.error().what.find("vdis/web01"), std::string::npos);
    EXPECT_EQ(refused.error().next, "if no host has it open: quoin lock break web01");
    ASSERT_OK_AND_ASSIGN(const LockStatus status,
                         WriterLock::Inspect(this->file_system_, this->vdi_));
    EXPECT_TRUE(status.damaged);
    EXPECT_FALSE(status.held);

    ASSERT_OK(this->Break(this->node1_));
    ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node1_));
    EXPECT_EQ(lock->predecessor(), Predecessor::kDiedElsewhere);
  }
}

TYPED_TEST(WriterLockTest, AfterADamagedRecordTheEpochIsBeyondAnyInTheLayersNames) {
  const std::string layers = StoreLayout::Layers(this->vdi_);
  ASSERT_OK(this->file_system_.MakeDirectory(layers, 0700));
  for (const char* name :
       {"/3-7", "/12-5000000", "/12-5000000.owned", "/1-1.1", "/other", "/x-y"}) {
    WriteBytes(this->file_system_, layers + name, "");
  }
  this->PutRecord("rubbish");
  ASSERT_OK(this->Break(this->node1_));
  ASSERT_OK_AND_ASSIGN(const auto lock, this->Acquire(this->node1_));
  EXPECT_GT(lock->epoch(), 5'000'000u);
}

TYPED_TEST(WriterLockTest, TheLastEpochIsNotPassed) {
  LockRecord record;
  record.epoch = INT64_MAX;
  this->PutRecord(EncodeLockRecord(record));
  EXPECT_ERROR(kTooLarge, this->Acquire(this->node1_));
}

TYPED_TEST(WriterLockTest, InspectTellsWhoHasItAndTakesNothing) {
  ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(this->file_system_, this->vdi_, this->node2_));
  ASSERT_OK_AND_ASSIGN(const LockStatus held, WriterLock::Inspect(this->file_system_, this->vdi_));
  EXPECT_TRUE(held.held);
  EXPECT_FALSE(held.record.clean);
  EXPECT_EQ(held.record.host_name, "node2");
  EXPECT_EQ(held.record.pid, 4711);
  EXPECT_EQ(held.record.session, this->node2_.session);
  ASSERT_OK(lock->ReleaseClean());
  ASSERT_OK_AND_ASSIGN(const LockStatus left, WriterLock::Inspect(this->file_system_, this->vdi_));
  EXPECT_FALSE(left.held);
  EXPECT_TRUE(left.record.clean);
}

TYPED_TEST(WriterLockTest, AnOwnerNoticesThatItsFileWasReplacedOrRemoved) {
  ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(this->file_system_, this->vdi_, this->node1_));
  ASSERT_OK(this->file_system_.Rename(this->path_, this->path_ + ".away"));
  EXPECT_ERROR(kLostOwnership, lock->Verify());
  this->LetDie(this->node2_);
  EXPECT_ERROR(kLostOwnership, lock->Verify());
  EXPECT_ERROR(kLostOwnership, lock->ReleaseClean());
}

TYPED_TEST(WriterLockTest, AnOwnerNeverWritesOverAnothersRecord) {
  ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(this->file_system_, this->vdi_, this->node1_));
  // As on storage whose locks did not hold: another host took over.
  LockRecord other = lock->record();
  other.epoch = 2;
  other.host = this->node2_.host;
  other.session = this->node2_.session;
  other.host_name = "node2";
  this->PutRecord(EncodeLockRecord(other));
  const Status released = lock->ReleaseClean();
  ASSERT_ERROR(kLostOwnership, released);
  EXPECT_NE(released.error().what.find("node2"), std::string::npos);
  EXPECT_EQ(ReadBytes(this->file_system_, this->path_), EncodeLockRecord(other));
}

TYPED_TEST(WriterLockTest, ALockThatWasLetGoIsNoLongerOurs) {
  ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(this->file_system_, this->vdi_, this->node1_));
  ASSERT_OK(lock->ReleaseClean());
  EXPECT_ERROR(kLostOwnership, lock->Verify());
  EXPECT_ERROR(kLostOwnership, lock->ReleaseClean());
}

TYPED_TEST(WriterLockTest, OfManyWhoTryAtOnceOneAtATimeIsOwner) {
  this->PutRecord("");
  constexpr int kThreads = 4;
  constexpr int kTurns = 10;
  std::atomic<int> owners = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const HostIdentity self = HostOf(i + 1);
      for (int turn = 0; turn < kTurns; ++turn) {
        auto lock = this->Acquire(self, std::chrono::seconds(60));
        ASSERT_OK(lock);
        EXPECT_EQ(++owners, 1);
        --owners;
        EXPECT_OK((*lock)->ReleaseClean());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK_AND_ASSIGN(const LockStatus status,
                       WriterLock::Inspect(this->file_system_, this->vdi_));
  EXPECT_EQ(status.record.epoch, static_cast<uint64_t>(kThreads * kTurns));
}

TEST(WriterLockRaceTest, AVdiThatWasReplacedWhileWaitingIsNotTakenByItsOldFile) {
  SimulatedFileSystem file_system;
  ASSERT_OK(file_system.MakeDirectory("/vdi"));
  WriteBytes(file_system, "/vdi/writer.lock", "");
  // Between the opening and the lock, the VDI is removed and another one made.
  bool replaced = false;
  file_system.SetObserver([&](Call call, const std::string&) {
    if (call != Call::kLock || replaced) return;
    replaced = true;
    ASSERT_OK(file_system.Rename("/vdi/writer.lock", "/old"));
    LockRecord record;
    record.epoch = 41;
    WriteBytes(file_system, "/vdi/writer.lock", EncodeLockRecord(record));
  });
  ASSERT_OK_AND_ASSIGN(const auto lock, WriterLock::Acquire(file_system, "/vdi", "web01", HostOf(1),
                                                            std::chrono::seconds(10)));
  EXPECT_TRUE(replaced);
  EXPECT_EQ(lock->epoch(), 42u);
  EXPECT_EQ(ReadBytes(file_system, "/old"), "");
}

TEST(WriterLockCrashTest, AtEveryStepTheRecordIsWholeAndTheEpochNeverGoesBack) {
  for (uint64_t step = 1; step <= 12; ++step) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      SimulatedFileSystem file_system;
      ASSERT_OK(file_system.MakeDirectory("/vdi"));
      ASSERT_OK(file_system.SyncDirectory("/"));
      {
        ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(file_system, "/vdi", HostOf(1)));
        ASSERT_OK(lock->ReleaseClean());
      }
      file_system.FailAfter(step, FaultMode::kCrash);
      uint64_t owned = 1;
      for (int turn = 0; turn < 3; ++turn) {
        auto lock = WriterLock::Acquire(file_system, "/vdi", "web01", HostOf(1), kNoWait);
        if (!lock) break;
        owned = (*lock)->epoch();
        if (!(*lock)->ReleaseClean()) break;
      }
      file_system.Crash(seed == 0 ? CrashMode::kLoseAll : CrashMode::kRandom, seed);
      const auto next = WriterLock::Acquire(file_system, "/vdi", "web01", HostOf(1), kNoWait);
      ASSERT_OK(next) << "step " << step;
      EXPECT_GT((*next)->epoch(), owned) << "step " << step;
      if ((*next)->predecessor() == WriterLock::Predecessor::kClean) {
        // Clean only if the last owner wrote so; it may have, without hearing that it is durable.
        EXPECT_EQ((*next)->epoch(), owned + 1);
      }
    }
  }
}

TEST(WriterLockCrashTest, AFailedReleaseIsReportedAndLeavesTheLockFreeForTheNextOwner) {
  for (const Call call : {Call::kWrite, Call::kSync}) {
    SimulatedFileSystem file_system;
    ASSERT_OK(file_system.MakeDirectory("/vdi"));
    ASSERT_OK_AND_ASSIGN(auto lock, WriterLock::Create(file_system, "/vdi", HostOf(1)));
    Fault fault;
    fault.only_call = call;
    fault.code = ErrorCode::kNoSpace;
    file_system.Plan(fault);
    EXPECT_ERROR(kNoSpace, lock->ReleaseClean());
    ASSERT_OK_AND_ASSIGN(const LockStatus status, WriterLock::Inspect(file_system, "/vdi"));
    EXPECT_FALSE(status.held);
    const auto next = WriterLock::Acquire(file_system, "/vdi", "web01", HostOf(1), kNoWait);
    ASSERT_OK(next);
    EXPECT_EQ((*next)->epoch(), 2u);
  }
}

}  // namespace
}  // namespace quoin

// Becoming the owner of what another one left, and what others can read meanwhile.
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "blockstore/base/fenced_file_system.h"
#include "metadata/storage_findings.h"
#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class TakeOverTest : public StoreWorld {
 protected:
  // `store_` is of another host, and dies with the VDI open for writing.
  void LetDieAsOwner(uint8_t host, const Id& id) {
    store_ = OpenAs(host);
    VdiHandle handle = OpenVdi(id);
    EXPECT_OK(handle->Write(0, AsBytes(PatternOf(2, kBlockBytes))));
    EXPECT_OK(handle->Flush());
    fs_.FailAfter(1, FaultMode::kCrash);
    handle = VdiHandle();
    store_.reset();
    fs_.Crash(CrashMode::kProcessOnly);
  }

  uint64_t HeadFiles(const Id& id) {
    const Result<std::vector<DirectoryEntry>> entries =
        fs_.List("/store/vdis/" + id.ToString() + "/layers");
    EXPECT_OK(entries);
    uint64_t count = 0;
    for (const DirectoryEntry& entry : *entries) {
      count += entry.name.find('.') == std::string::npos;
    }
    return count;
  }
};

// The dead host may still be writing its head, so that must never become the new owner's, however
// often the take-over fails before it succeeds.
TEST_F(TakeOverTest, ATakeOverFromAnotherHostThatFailsAtFirstFreezesTheOldHeadAllTheSame) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  LetDieAsOwner(2, a);
  store_ = OpenAs(1);
  ASSERT_OK(store_->BreakLock("a"));
  fs_.Plan({.mode = FaultMode::kErrors,
            .code = ErrorCode::kNoSpace,
            .only_path_part = a.ToString() + "/layers"});
  EXPECT_ERROR(kNoSpace, store_->OpenVdi(a, Access::kReadWrite));
  fs_.ClearFaults();
  EXPECT_EQ(HeadFiles(a), 1u);
  VdiHandle handle = OpenVdi(a);
  EXPECT_EQ(HeadFiles(a), 2u) << "the old head was taken on";
  EXPECT_TRUE(Read(*handle, 0, kBlockBytes) == PatternOf(2, kBlockBytes));
}

// --- storage that fences -----------------------------------------------------------------------------

struct FencingCase {
  const char* name;
  std::function<void(FileSystem&)> examine;
  bool head_stays;
};

void Examine(FileSystem& fs, Fencing fencing) {
  StorageFindings findings;
  findings.fencing = fencing;
  ASSERT_OK(KeepStorageFindings(fs, StoreLayout("/store"), findings));
}

class FencingTest : public TakeOverTest, public ::testing::WithParamInterface<FencingCase> {};

TEST_P(FencingTest, TheHeadOfWhoLostItsLockIsCopiedUnlessTheStorageIsKnownToFence) {
  GetParam().examine(fs_);
  const std::string first = PatternOf(1, 2 * kBlockBytes);
  const Id a = CreateWith("a", first);
  LetDieAsOwner(2, a);
  const std::string head = "/store/vdis/" + a.ToString() + "/layers/1-1";
  ASSERT_OK_AND_ASSIGN(const FileFacts before, fs_.Facts(head));
  store_ = OpenAs(1);
  ASSERT_OK(store_->BreakLock("a"));
  VdiHandle handle = OpenVdi(a);
  ASSERT_OK_AND_ASSIGN(const FileFacts after, fs_.Facts(head));
  EXPECT_EQ(after.identity == before.identity, GetParam().head_stays);
  EXPECT_EQ(HeadFiles(a), 2u) << "the old head was taken on";
  const auto expect_content = [&](Image& image) {
    EXPECT_TRUE(Read(image, 0, kBlockBytes) == PatternOf(2, kBlockBytes));
    EXPECT_TRUE(Read(image, kBlockBytes, kBlockBytes) == first.substr(kBlockBytes));
  };
  expect_content(*handle);
  ASSERT_OK(handle->Write(kBlockBytes, AsBytes(PatternOf(3, kBlockBytes))));
  ASSERT_OK(handle.Close());
  EXPECT_TRUE(Content(a) == PatternOf(2, kBlockBytes) + PatternOf(3, kBlockBytes));
}

INSTANTIATE_TEST_SUITE_P(
    Storage, FencingTest,
    ::testing::Values(
        FencingCase{"Fences", [](FileSystem& fs) { Examine(fs, Fencing::kYes); }, true},
        FencingCase{"DoesNot", [](FileSystem& fs) { Examine(fs, Fencing::kNo); }, false},
        FencingCase{"Unknown", [](FileSystem& fs) { Examine(fs, Fencing::kUnknown); }, false},
        // Whoever was succeeded is another host, whatever doctor believed.
        FencingCase{"OneHost", [](FileSystem& fs) { Examine(fs, Fencing::kOneHost); }, false},
        FencingCase{"NeverExamined", [](FileSystem&) {}, false},
        FencingCase{"Damaged",
                    [](FileSystem& fs) {
                      Examine(fs, Fencing::kYes);
                      ASSERT_OK_AND_ASSIGN(const auto file,
                                           fs.Open("/store/quoin.storage", {Access::kReadWrite}));
                      ASSERT_OK(file->Write(10, AsBytes(std::string("?"))));
                    },
                    false}),
    [](const auto& test) { return test.param.name; });

// What a take-over of a stopped owner left half done is done again, though the lock of who began it is free.
TEST_F(TakeOverTest, WhoeverComesAfterATakeOverThatFailedCopiesTheHeadAlsoOnStorageThatFences) {
  Examine(fs_, Fencing::kYes);
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  LetDieAsOwner(2, a);
  const std::string head = "/store/vdis/" + a.ToString() + "/layers/1-1";
  ASSERT_OK_AND_ASSIGN(const FileFacts before, fs_.Facts(head));
  store_ = OpenAs(1);
  ASSERT_OK(store_->BreakLock("a"));
  fs_.Plan({.mode = FaultMode::kErrors, .only_path_part = "/vdi.db"});
  EXPECT_FALSE(store_->OpenVdi(a, Access::kReadWrite));
  fs_.ClearFaults();
  VdiHandle handle = OpenVdi(a);
  ASSERT_OK_AND_ASSIGN(const FileFacts after, fs_.Facts(head));
  EXPECT_FALSE(after.identity == before.identity);
  EXPECT_TRUE(Read(*handle, 0, kBlockBytes) == PatternOf(2, kBlockBytes));
}

// Until the new owner publishes, perhaps when its guest stops, others read what the dead one had
// published last: its files must stay.
TEST_F(TakeOverTest, WhatWasPublishedLastStaysReadableWhileTheNextOwnerHasTheVdi) {
  const std::string content = PatternOf(1, 2 * kBlockBytes);
  const Id a = CreateWith("a", content);
  bool failed = false;
  for (uint64_t step = 1; step < 100; ++step) {
    SCOPED_TRACE(step);
    VdiHandle handle = OpenVdi(a);
    ASSERT_OK(handle->Write(0, AsBytes(PatternOf(step, kBlockBytes))));
    fs_.FailAfter(step, FaultMode::kErrors);
    failed = !handle.Close();
    fs_.ClearFaults();
    if (!failed) return;
    handle = OpenVdi(a);
    const std::unique_ptr<Store> other = OpenAs(2);
    EXPECT_OK(other->Describe(a));
    Result<VdiHandle> reader = other->OpenVdi(a, Access::kRead);
    ASSERT_OK(reader);
    EXPECT_TRUE(Read(**reader, kBlockBytes, kBlockBytes) == content.substr(kBlockBytes));
  }
  FAIL() << "letting go does not end";
}

// The store filled up between a snapshot's record and its publishing. It is durable, so it is there
// for all who ask on this host; and readable, also from its VDI's next process.
TEST_F(TakeOverTest, ASnapshotThatAFullStoreKeptFromBeingPublishedIsThere) {
  const std::string content = PatternOf(1, 3 * kBlockBytes);
  const Id a = CreateWith("a", content);
  fs_.Plan({.mode = FaultMode::kErrors,
            .code = ErrorCode::kNoSpace,
            .only_call = Call::kWrite,
            .only_path_part = "/tmp/"});
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  for (const bool another_process : {false, true}) {
    SCOPED_TRACE(another_process);
    if (another_process) {
      store_.reset();
      store_ = OpenAs(1);
    }
    const Result<SnapshotRecord> record = store_->FindSnapshot(a, "s");
    ASSERT_OK(record);
    EXPECT_EQ(SnapshotContent(a, record->id), content);
    EXPECT_EQ(Content(a), content);
    const Result<VdiInfo> info = store_->Describe(a);
    ASSERT_OK(info);
    EXPECT_EQ(info->snapshots, 1u);
  }
  fs_.ClearFaults();
  const Result<std::vector<SnapshotRecord>> listed = store_->ListSnapshots(a);
  ASSERT_OK(listed);
  EXPECT_EQ(listed->size(), 1u);
  EXPECT_OK(OpenAs(2)->FindSnapshot(a, "s"));  // published by now
  EXPECT_EQ(SnapshotContent(a, listed->front().id), content);
}

TEST_F(TakeOverTest, ASnapshotForWhichThereIsNoRoomIsRefused) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  const Result<SpaceFacts> space = store_->Space();
  ASSERT_OK(space);
  fs_.SetCapacity(space->total_bytes - space->available_bytes + 512 * 1024);
  EXPECT_ERROR(kNoSpace, store_->CreateSnapshots({{"a", "s"}}));
  const Result<std::vector<SnapshotRecord>> listed = store_->ListSnapshots(a);
  ASSERT_OK(listed);
  EXPECT_TRUE(listed->empty());
}

// published.db is replaced and the file of the owned blocks that the old one names is removed: who has
// just read the old one looks again.
TEST_F(TakeOverTest, AReaderThatReadsWhatIsJustReplacedLooksAgain) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  const std::unique_ptr<Store> other = OpenAs(2);
  const std::string head_list = a.ToString() + "/layers/1-1.owned";
  uint64_t seed = 2;
  const auto replace = [&] {
    VdiHandle handle = OpenVdi(a);
    ASSERT_OK(handle->Write(0, AsBytes(PatternOf(++seed, kBlockBytes))));
    ASSERT_OK(handle.Close());
  };
  Within(
      Call::kOpen, head_list, [&] { EXPECT_OK(other->Describe(a)); }, replace);
  replace();
  Within(
      Call::kOpen, head_list,
      [&] {
        Result<VdiHandle> reader = other->OpenVdi(a, Access::kRead);
        ASSERT_OK(reader);
        EXPECT_TRUE(Read(**reader, 0, kBlockBytes) == PatternOf(seed, kBlockBytes));
      },
      replace);
}

// --- hosts that are stopped, or cut off from the storage, and come back ------------------------------

// Each call that changes something waits here while the host is stopped, and goes on afterwards: as a
// process does that was stopped right before the call, or storage that has it under way.
class Stopping final : public Fence {
 public:
  Status Admit() override {
    std::unique_lock lock(mutex_);
    ++waiting_;
    condition_.wait(lock, [this] { return !stopped_; });
    --waiting_;
    return {};
  }
  void Stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  void Continue() {
    const std::lock_guard lock(mutex_);
    stopped_ = false;
    condition_.notify_all();
  }
  int waiting() {
    const std::lock_guard lock(mutex_);
    return waiting_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool stopped_ = false;
  int waiting_ = 0;
};

class ComebackTest : public StoreWorld {
 protected:
  static constexpr std::chrono::milliseconds kLease{400};

  // A host whose heartbeat stops when `stopping_` does.
  std::unique_ptr<Store> OpenStoppable(uint8_t host) {
    StoreOptions options = TestOptions();
    options.lease = kLease;
    Result<std::unique_ptr<Store>> store =
        Store::Open(stoppable_, "/store", TestHost(host), options);
    EXPECT_OK(store);
    return store ? std::move(*store) : nullptr;
  }
  std::unique_ptr<Store> OpenPatient(uint8_t host) {
    StoreOptions options = TestOptions();
    options.take_over_wait = std::chrono::seconds(30);
    Result<std::unique_ptr<Store>> store = Store::Open(fs_, "/store", TestHost(host), options);
    EXPECT_OK(store);
    return store ? std::move(*store) : nullptr;
  }
  void AwaitWaiting(int calls) {
    for (int i = 0; i < 2000 && stopping_.waiting() < calls; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_GE(stopping_.waiting(), calls);
  }

  Stopping stopping_;
  FencedFileSystem stoppable_{fs_, stopping_};
};

// A storage that fences does not fence a process that is stopped on a host that it sees alive: that one
// holds its lock to this day.
class ComebackOnStorageTest : public ComebackTest, public ::testing::WithParamInterface<Fencing> {};

INSTANTIATE_TEST_SUITE_P(Storage, ComebackOnStorageTest,
                         ::testing::Values(Fencing::kUnknown, Fencing::kYes),
                         [](const auto& test) {
                           return test.param == Fencing::kYes ? "Fences" : "Unknown";
                         });

TEST_P(ComebackOnStorageTest, WhatAStoppedOwnerHadUnderWayIsNeverSeenAndItsGuestGetsErrors) {
  Examine(fs_, GetParam());
  const std::string first = PatternOf(1, 4 * kBlockBytes);
  const Id a = CreateWith("a", first);
  const std::unique_ptr<Store> old = OpenStoppable(2);
  Result<VdiHandle> old_handle = old->OpenVdi(a, Access::kReadWrite);
  ASSERT_OK(old_handle);
  const std::string flushed = PatternOf(2, kBlockBytes);
  ASSERT_OK((*old_handle)->Write(0, AsBytes(flushed)));
  ASSERT_OK((*old_handle)->Flush());

  stopping_.Stop();
  // In place, in a block that the head owns and that was flushed: what a stale descriptor could spoil.
  std::thread writing([&] { (void)(*old_handle)->Write(0, AsBytes(PatternOf(3, kBlockBytes))); });
  std::thread committing([&] {
    (void)(*old_handle)->Write(2 * kBlockBytes, AsBytes(PatternOf(3, kBlockBytes)));
    (void)(*old_handle)->Flush();
  });
  AwaitWaiting(2);

  store_ = OpenPatient(1);
  VdiHandle handle = OpenVdi(a);
  const auto expect_flushed = [&](Image& image) {
    EXPECT_TRUE(Read(image, 0, kBlockBytes) == flushed);
    EXPECT_TRUE(Read(image, kBlockBytes, kBlockBytes) == first.substr(kBlockBytes, kBlockBytes));
    EXPECT_TRUE(Read(image, 2 * kBlockBytes, kBlockBytes) ==
                first.substr(2 * kBlockBytes, kBlockBytes));
  };
  expect_flushed(*handle);
  const std::string last = PatternOf(4, kBlockBytes);
  ASSERT_OK(handle->Write(3 * kBlockBytes, AsBytes(last)));
  ASSERT_OK(handle->Flush());

  stopping_.Continue();
  writing.join();
  committing.join();
  expect_flushed(*handle);
  EXPECT_ERROR(kLostOwnership, (*old_handle)->Write(0, AsBytes(first)));
  EXPECT_ERROR(kLostOwnership, (*old_handle)->Flush());
  std::string bytes(kBlockBytes, '\0');
  EXPECT_ERROR(kLostOwnership,
               (*old_handle)->Read(0, std::as_writable_bytes(std::span(bytes))));
  EXPECT_FALSE(old->CreateSnapshots({{"a", "late"}}));
  expect_flushed(*handle);
  ASSERT_OK(handle.Close());
  const std::unique_ptr<Store> third = OpenAs(3);
  Result<VdiHandle> reader = third->OpenVdi(a, Access::kRead);
  ASSERT_OK(reader);
  expect_flushed(**reader);
  EXPECT_TRUE(Read(**reader, 3 * kBlockBytes, kBlockBytes) == last);

  // The old host recovers once it has closed the VDI, which it cannot do cleanly.
  EXPECT_FALSE(old_handle->Close());
  old_handle = old->OpenVdi(a, Access::kReadWrite);
  ASSERT_OK(old_handle);
  expect_flushed(**old_handle);
  EXPECT_TRUE(Read(**old_handle, 3 * kBlockBytes, kBlockBytes) == last);
  ASSERT_OK((*old_handle)->Write(0, AsBytes(first)));
  ASSERT_OK(old_handle->Close());
}

// The storage ends what it had under way, and ends it well; but that is in files that have a
// successor.
TEST_F(ComebackTest, AFlushOfBlocksThatWereOwnedIsNotAnsweredAsDoneAfterATakeOver) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  const std::unique_ptr<Store> old = OpenStoppable(2);
  Result<VdiHandle> old_handle = old->OpenVdi(a, Access::kReadWrite);
  ASSERT_OK(old_handle);
  ASSERT_OK((*old_handle)->Write(0, AsBytes(PatternOf(2, kBlockBytes))));
  ASSERT_OK((*old_handle)->Flush());
  ASSERT_OK((*old_handle)->Write(0, AsBytes(PatternOf(3, kBlockBytes))));
  stopping_.Stop();
  std::thread flushing([&] { EXPECT_ERROR(kLostOwnership, (*old_handle)->Flush()); });
  AwaitWaiting(1);
  store_ = OpenPatient(1);
  const VdiHandle handle = OpenVdi(a);
  stopping_.Continue();
  flushing.join();
}

TEST_F(ComebackTest, ASnapshotWhoseCommitEndsAfterATakeOverIsNotAnsweredAsTaken) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  const std::unique_ptr<Store> old = OpenStoppable(2);
  Result<VdiHandle> old_handle = old->OpenVdi(a, Access::kReadWrite);
  ASSERT_OK(old_handle);
  ASSERT_OK((*old_handle)->Write(0, AsBytes(PatternOf(2, kBlockBytes))));
  VdiHandle handle;
  Within(
      Call::kSync, "vdi.db-wal",
      [&] {
        EXPECT_ERROR(kLostOwnership, old->CreateSnapshots({{"a", "s"}}));
      },
      [&] {
        stopping_.Stop();
        store_ = OpenPatient(1);
        handle = OpenVdi(a);
        stopping_.Continue();
      });
  const Result<std::vector<SnapshotRecord>> snapshots = store_->ListSnapshots(a);
  ASSERT_OK(snapshots);
  EXPECT_TRUE(snapshots->empty());
}

TEST_F(ComebackTest, AnOwnerThatIsJustLettingGoPublishesNothingAfterATakeOver) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  const std::unique_ptr<Store> old = OpenStoppable(2);
  Result<VdiHandle> old_handle = old->OpenVdi(a, Access::kReadWrite);
  ASSERT_OK(old_handle);
  const std::string flushed = PatternOf(2, kBlockBytes);
  ASSERT_OK((*old_handle)->Write(0, AsBytes(flushed)));
  ASSERT_OK((*old_handle)->Flush());
  VdiHandle handle;
  Within(
      Call::kSync, "vdi.db-wal", [&] { EXPECT_ERROR(kLostOwnership, old_handle->Close()); },
      [&] {
        stopping_.Stop();
        store_ = OpenPatient(1);
        handle = OpenVdi(a);
        ASSERT_OK(handle->Write(0, AsBytes(PatternOf(3, kBlockBytes))));
        ASSERT_OK(handle->Flush());
        stopping_.Continue();
      });
  EXPECT_TRUE(Read(*handle, 0, kBlockBytes) == PatternOf(3, kBlockBytes));
  const std::unique_ptr<Store> third = OpenAs(3);
  const Result<VdiHandle> reader = third->OpenVdi(a, Access::kRead);
  ASSERT_OK(reader);
  EXPECT_TRUE(Read(**reader, 0, kBlockBytes) == flushed);  // in place, in the head that is published
}

TEST_F(ComebackTest, AnOwnerThatComesBackBeforeAnybodyTookOverGoesOn) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  const std::unique_ptr<Store> old = OpenStoppable(2);
  Result<VdiHandle> handle = old->OpenVdi(a, Access::kReadWrite);
  ASSERT_OK(handle);
  stopping_.Stop();
  const std::string late = PatternOf(2, kBlockBytes);
  std::thread writing([&] { EXPECT_OK((*handle)->Write(0, AsBytes(late))); });
  std::this_thread::sleep_for(2 * kLease);
  stopping_.Continue();
  writing.join();
  EXPECT_OK((*handle)->Flush());
  EXPECT_OK(old->CreateSnapshots({{"a", "s"}}));
  EXPECT_TRUE(Read(**handle, 0, kBlockBytes) == late);
  EXPECT_OK(handle->Close());
}

}  // namespace
}  // namespace quoin

// What a store asks of the one that owns a VDI, and what becomes of it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "metadata/request_call.h"
#include "metadata/session_watch.h"
#include "metadata/store_layout.h"
#include "snapshots/owner_request.h"
#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

// `owner_` is a daemon of host 2 that has `a` open for writing; `store_` is another host's.
class AskingTest : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    id_ = CreateWith("a", PatternOf(1, 4 * kBlockBytes));
    owner_ = OpenDaemon(2);
    handle_ = OpenIn(*owner_, id_);
  }

  std::unique_ptr<Store> OpenDaemon(uint8_t host) {
    StoreOptions options = TestOptions();
    options.announces_itself = true;
    Result<std::unique_ptr<Store>> opened = Store::Open(fs_, "/store", TestHost(host), options);
    EXPECT_OK(opened);
    return opened ? std::move(*opened) : nullptr;
  }
  static VdiHandle OpenIn(Store& store, const Id& id) {
    Result<VdiHandle> handle = store.OpenVdi(id, Access::kReadWrite);
    EXPECT_OK(handle);
    return handle ? std::move(*handle) : VdiHandle();
  }
  void TearDown() override {
    handle_ = VdiHandle();
    owner_.reset();
  }

  Id id_;
  std::unique_ptr<Store> owner_;
  VdiHandle handle_;
};

TEST_F(AskingTest, ASnapshotOfAVdiOwnedElsewhereHoldsWhatItsGuestWroteLast) {
  const std::string written = PatternOf(2, kBlockBytes);
  ASSERT_OK(handle_->Write(0, AsBytes(written)));  // not flushed
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  const Result<SnapshotRecord> record = store_->FindSnapshot(id_, "s");
  ASSERT_OK(record);
  EXPECT_EQ(SnapshotContent(id_, record->id).substr(0, kBlockBytes), written);
  EXPECT_OK(owner_->FindSnapshot(id_, "s"));
  EXPECT_OK(handle_->Write(0, AsBytes(PatternOf(3, kBlockBytes))));  // its guest goes on
  EXPECT_EQ(SnapshotContent(id_, record->id).substr(0, kBlockBytes), written);
}

TEST_F(AskingTest, SnapshotsAreRenamedProtectedAndRemoved) {
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  ASSERT_OK(store_->RenameSnapshot(id_, "s", "t\xff"));
  ASSERT_OK(store_->ProtectSnapshot(id_, "t\xff", true));
  EXPECT_ERROR(kNotPermitted, store_->RemoveSnapshot(id_, "t\xff"));
  ASSERT_OK(store_->ProtectSnapshot(id_, "t\xff", false));
  ASSERT_OK(store_->RemoveSnapshot(id_, "t\xff"));
  ASSERT_OK_AND_ASSIGN(const auto left, store_->ListSnapshots(id_));
  EXPECT_TRUE(left.empty());
}

TEST_F(AskingTest, ItsSizeAndAttributesAreChanged) {
  ASSERT_OK(store_->ResizeVdi(id_, 8 * kBlockBytes, false, false));
  EXPECT_EQ(handle_->size_bytes(), 8 * kBlockBytes);
  EXPECT_ERROR(kInvalid, store_->ResizeVdi(id_, kBlockBytes, false, false));
  EXPECT_ERROR(kBusy, store_->ResizeVdi(id_, kBlockBytes, true, false));
  AttributeChange change;
  change.mode = 0640;
  change.uid = 107;
  ASSERT_OK(store_->SetAttributes(id_, change));
  EXPECT_EQ(handle_->attributes().mode, 0640u);
  EXPECT_EQ(handle_->attributes().uid, 107u);
  // And seen by who asked, while its content stays what was published last.
  ASSERT_OK_AND_ASSIGN(const VdiInfo info, store_->Describe(id_));
  EXPECT_EQ(info.size_bytes, 8 * kBlockBytes);
  EXPECT_EQ(info.attributes.mode, 0640u);
  EXPECT_EQ(Content(id_).substr(0, 4 * kBlockBytes), PatternOf(1, 4 * kBlockBytes));
}

TEST_F(AskingTest, ItIsSealed) {
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  ASSERT_OK_AND_ASSIGN(const SealCounts counts, store_->SealVdi(id_, false));
  EXPECT_EQ(counts.read_blocks, 4u);
  EXPECT_FALSE(store_->FindSnapshot(id_, "s")->digest.IsNull());
}

TEST_F(AskingTest, TheOwnersRefusalIsPassedOn) {
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  EXPECT_ERROR(kExists, store_->CreateSnapshots({{"a", "s"}}));
  EXPECT_ERROR(kNotFound, store_->RemoveSnapshot(id_, "another"));
  EXPECT_ERROR(kBusy, store_->Rollback(id_, "s"));
}

TEST_F(AskingTest, SeveralOfOneOwnerAreOneInstantOrNone) {
  const Id b = CreateWith("b", PatternOf(5, kBlockBytes));
  VdiHandle other = OpenIn(*owner_, b);
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}, {"b", "s"}}));
  EXPECT_OK(store_->FindSnapshot(b, "s"));
  EXPECT_ERROR(kExists, store_->CreateSnapshots({{"a", "t"}, {"b", "s"}}));
  EXPECT_ERROR(kNotFound, store_->FindSnapshot(id_, "t"));
}

// `a` and `b` of two other hosts, `c` of nobody: all at one instant.
TEST_F(AskingTest, VdisOfSeveralOwnersAreOneInstantOrNone) {
  const Id b = CreateWith("b", PatternOf(5, kBlockBytes));
  const Id c = CreateWith("c", PatternOf(6, kBlockBytes));
  const std::unique_ptr<Store> third = OpenDaemon(3);
  VdiHandle other = OpenIn(*third, b);
  ASSERT_OK(other->Write(0, AsBytes(PatternOf(7, kBlockBytes))));
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}, {"b", "s"}, {"c", "s"}}));
  ASSERT_OK_AND_ASSIGN(const SnapshotRecord of_b, store_->FindSnapshot(b, "s"));
  EXPECT_EQ(SnapshotContent(b, of_b.id), PatternOf(7, kBlockBytes));
  EXPECT_OK(store_->FindSnapshot(id_, "s"));
  EXPECT_OK(store_->FindSnapshot(c, "s"));
  ASSERT_OK(other->Write(0, AsBytes(PatternOf(8, kBlockBytes))));
  // Not even where it could be, if it cannot be of one of them.
  EXPECT_ERROR(kExists, store_->CreateSnapshots({{"a", "t"}, {"b", "s"}, {"c", "t"}}));
  EXPECT_ERROR(kExists, store_->CreateSnapshots({{"a", "t"}, {"b", "t"}, {"c", "s"}}));
  for (const Id& id : {id_, b, c}) EXPECT_ERROR(kNotFound, store_->FindSnapshot(id, "t"));
  ASSERT_OK(store_->CreateSnapshots({{"a", "t"}, {"b", "t"}}));  // none of ours
  EXPECT_OK(store_->FindSnapshot(b, "t"));
  ASSERT_OK_AND_ASSIGN(const auto groups, fs_.List("/store/groups"));
  EXPECT_TRUE(groups.empty());
}

// What a coordinator asks, step by step.
class TakingPartTest : public AskingTest {
 protected:
  Status Ask(OwnerVerb verb) {
    OwnerRequest request;
    request.verb = verb;
    request.group = group_;
    if (verb == OwnerVerb::kJoinGroup) request.snapshots = {{id_, "s"}};
    const StoreLayout layout("/store");
    SessionWatch watch(fs_, layout);
    const HostIdentity& owner = owner_->self();
    QUOIN_ASSIGN(const std::string answer,
                 CallSession(fs_, layout, watch, owner.host, owner.session, request.Encode(),
                             {.begun_within = std::chrono::seconds(60)}));
    return OwnerAnswer::Decode(answer).status;
  }
  void Decide(const std::string& text) {
    Result<std::unique_ptr<File>> file = fs_.Open("/store/groups/" + group_.ToString(),
                                                  {Access::kReadWrite, Creation::kExclusive, 0600});
    ASSERT_OK(file);
    ASSERT_OK((*file)->Write(0, AsBytes(text)));
  }
  bool IsTaken() { return store_->FindSnapshot(id_, "s").has_value(); }

  const Id group_ = Id::Random();
};

TEST_F(TakingPartTest, ItsGuestsWaitFromHoldToSwapAndTheDecisionCounts) {
  ASSERT_OK(Ask(OwnerVerb::kJoinGroup));
  ASSERT_OK(handle_->Write(0, AsBytes(PatternOf(2, kBlockBytes))));
  ASSERT_OK(Ask(OwnerVerb::kHoldGroup));
  std::atomic<bool> written{false};
  std::thread guest([&] {
    EXPECT_OK(handle_->Write(0, AsBytes(PatternOf(3, kBlockBytes))));
    written = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(written);
  ASSERT_OK(Ask(OwnerVerb::kSwapGroup));
  guest.join();
  EXPECT_FALSE(IsTaken()) << "nothing is decided yet";
  Decide(id_.ToString() + "\n");
  ASSERT_OK(Ask(OwnerVerb::kDecideGroup));
  ASSERT_TRUE(IsTaken());
  EXPECT_EQ(SnapshotContent(id_, store_->FindSnapshot(id_, "s")->id).substr(0, kBlockBytes),
            PatternOf(2, kBlockBytes));
}

TEST_F(TakingPartTest, WhatWasDecidedAgainstIsTakenBack) {
  for (const OwnerVerb verb : {OwnerVerb::kJoinGroup, OwnerVerb::kHoldGroup, OwnerVerb::kSwapGroup}) {
    ASSERT_OK(Ask(verb));
  }
  Decide("none\n");
  EXPECT_ERROR(kBusy, Ask(OwnerVerb::kDecideGroup));
  EXPECT_FALSE(IsTaken());
  EXPECT_OK(store_->CreateSnapshots({{"a", "s"}}));  // the name is free
}

TEST_F(TakingPartTest, WhoLeavesBeforeTheDecisionDecidesAgainstIt) {
  for (const OwnerVerb verb : {OwnerVerb::kJoinGroup, OwnerVerb::kHoldGroup, OwnerVerb::kSwapGroup}) {
    ASSERT_OK(Ask(verb));
  }
  ASSERT_OK(Ask(OwnerVerb::kLeaveGroup));
  EXPECT_ERROR(kBusy, Ask(OwnerVerb::kDecideGroup));
  EXPECT_FALSE(IsTaken());
  ASSERT_OK_AND_ASSIGN(const auto groups, fs_.List("/store/groups"));
  EXPECT_EQ(groups.size(), 1u) << "a coordinator that comes late must find it";
}

TEST_F(TakingPartTest, ACoordinatorThatIsGoneLetsTheGuestsGo) {
  ASSERT_OK(Ask(OwnerVerb::kJoinGroup));
  ASSERT_OK(Ask(OwnerVerb::kHoldGroup));
  ASSERT_OK(handle_->Write(0, AsBytes(PatternOf(3, kBlockBytes))));  // waits two seconds
  EXPECT_ERROR(kBusy, Ask(OwnerVerb::kSwapGroup));
  EXPECT_FALSE(IsTaken());
}

TEST_F(TakingPartTest, StepsOutOfOrderAreRefused) {
  EXPECT_ERROR(kNotFound, Ask(OwnerVerb::kHoldGroup));
  ASSERT_OK(Ask(OwnerVerb::kJoinGroup));
  EXPECT_ERROR(kInvalid, Ask(OwnerVerb::kJoinGroup));
  ASSERT_OK(Ask(OwnerVerb::kLeaveGroup));
}

// The owner dies with its row pending, the coordinator with its decision not made: whoever comes next
// decides, and a coordinator that comes back finds that.
TEST_F(TakingPartTest, ARowThatADeadOwnerLeftPendingIsDecidedByTheNextOwner) {
  for (const OwnerVerb verb : {OwnerVerb::kJoinGroup, OwnerVerb::kHoldGroup, OwnerVerb::kSwapGroup}) {
    ASSERT_OK(Ask(verb));
  }
  fs_.FailAfter(1, FaultMode::kCrash);
  handle_ = VdiHandle();
  owner_.reset();
  store_.reset();
  fs_.Crash(CrashMode::kProcessOnly);
  store_ = OpenAs(2);
  VdiHandle next = OpenVdi(id_);
  EXPECT_FALSE(IsTaken());
  ASSERT_OK_AND_ASSIGN(const auto groups, fs_.List("/store/groups"));
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups.front().name, group_.ToString());
}

TEST_F(AskingTest, AnOwnerThatNobodyAnswersForIsBusy) {
  const Id b = CreateWith("b", PatternOf(5, kBlockBytes));
  const std::unique_ptr<Store> command = OpenAs(3);  // it takes no requests
  const VdiHandle held = OpenIn(*command, b);
  EXPECT_ERROR(kBusy, store_->CreateSnapshots({{"b", "s"}}));
}

TEST_F(AskingTest, AnOwnerThatHasLetGoIsNotNeeded) {
  ASSERT_OK(handle_.Close());
  ASSERT_OK(store_->CreateSnapshots({{"a", "s"}}));
  EXPECT_OK(owner_->FindSnapshot(id_, "s"));
}

}  // namespace
}  // namespace quoin

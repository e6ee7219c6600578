// Collecting garbage: what nobody refers to goes, all else stays, whatever happens meanwhile.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <optional>
#include <string>

#include "metadata/map_pins.h"
#include "metadata/published.h"
#include "snapshots/store_check.h"
#include "snapshots/store_environment.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

constexpr uint64_t kBlocks = 96;

CollectOptions AtOnce() {
  CollectOptions options;
  options.grace = std::chrono::milliseconds(0);
  options.patience = std::chrono::milliseconds(0);
  options.reserve_bytes = 0;
  return options;
}

// Blocks of which no two are equal, and that do not compress to nothing.
std::string Blocks(uint8_t seed, uint64_t count) {
  std::string bytes;
  for (uint64_t n = 0; n < count; ++n) {
    std::string block = PatternOf(static_cast<uint8_t>(seed + n), kBlockBytes);
    block.replace(0, 16, fmt::format("{:8}{:8}", seed, n));
    bytes += block;
  }
  return bytes;
}

class CollectorTest : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    ASSERT_OK(fs_.MakeDirectory("/scratch"));
  }

  Id CreateSealed(const std::string& name, const std::string& content) {
    const Id id = CreateWith(name, content);
    EXPECT_OK(store_->SealVdi(id, /*with_head=*/true));
    return id;
  }

  CollectReport Collect(CollectOptions options = AtOnce()) {
    const Result<CollectReport> report = store_->Collect(options);
    EXPECT_OK(report);
    return report.value_or(CollectReport());
  }

  uint64_t PackCount() {
    FrameCache frames(0);
    const Result<std::vector<Id>> packs = PackStore(fs_, layout_.Packs(), frames).List();
    EXPECT_OK(packs);
    return packs ? packs->size() : 0;
  }

  void ExpectSound() {
    const Result<CheckReport> report = StoreCheck(fs_, "/store", fs_, "/scratch").Run();
    ASSERT_OK(report);
    for (const Finding& finding : report->findings) {
      if (finding.severity == Severity::kNote) continue;
      ADD_FAILURE() << finding.object << ": " << finding.what;
    }
  }

  const StoreLayout layout_{"/store"};
};

TEST_F(CollectorTest, NothingOfALivingVdiIsGarbage) {
  const std::string content = Blocks(1, kBlocks);
  const Id a = CreateSealed("a", content);
  const CollectReport report = Collect();
  EXPECT_EQ(report.garbage_bytes, 0u);
  EXPECT_EQ(report.blocks, kBlocks);
  EXPECT_EQ(report.maps, 1u);
  EXPECT_EQ(Content(a), content);
}

TEST_F(CollectorTest, PacksOfARemovedVdiGo) {
  const std::string content = Blocks(1, kBlocks);
  CreateSealed("a", Blocks(7, kBlocks));
  const Id b = CreateSealed("b", content);
  ASSERT_EQ(PackCount(), 2u);
  ASSERT_OK(store_->RemoveVdi("a", false));
  const CollectReport report = Collect();
  EXPECT_EQ(report.removed_packs, 1u);
  EXPECT_GT(report.freed_bytes, 0u);
  EXPECT_EQ(PackCount(), 1u);
  store_ = OpenAs(1);
  EXPECT_EQ(Content(b), content);
  ExpectSound();
}

TEST_F(CollectorTest, ADryRunChangesNothing) {
  CreateSealed("a", Blocks(7, kBlocks));
  ASSERT_OK(store_->RemoveVdi("a", false));
  const uint64_t steps = fs_.steps();
  CollectOptions options = AtOnce();
  options.dry_run = true;
  const CollectReport report = Collect(options);
  EXPECT_EQ(report.dead_packs, 1u);
  EXPECT_GT(report.dead_pack_bytes, kBlocks * 100);
  EXPECT_EQ(report.freed_bytes, 0u);
  EXPECT_EQ(fs_.steps(), steps);
}

TEST_F(CollectorTest, WhatIsDeclaredDeadStaysForAsLongAsTheGrace) {
  CreateSealed("a", Blocks(7, kBlocks));
  ASSERT_OK(store_->RemoveVdi("a", false));
  CollectOptions options = AtOnce();
  options.grace = std::chrono::hours(1);
  const CollectReport first = Collect(options);
  EXPECT_EQ(first.removed_packs, 0u);
  EXPECT_GT(first.waiting_bytes, 0u);
  const CollectReport second = Collect(options);
  EXPECT_EQ(second.removed_packs, 0u);
  EXPECT_EQ(PackCount(), 1u);
  const CollectReport third = Collect();
  EXPECT_EQ(third.removed_packs, 1u);
  EXPECT_EQ(PackCount(), 0u);
}

TEST_F(CollectorTest, AMostlyDeadPackIsRewrittenUnderItsName) {
  const std::string kept = Blocks(9, 16);
  const Id a = CreateSealed("a", Blocks(1, kBlocks) + kept);
  {
    VdiHandle handle = OpenVdi(a);
    ASSERT_OK(handle->Zero(0, kBlocks * kBlockBytes));
    ASSERT_OK(handle.Close());
  }
  ASSERT_OK(store_->SealVdi(a, /*with_head=*/true));
  const CollectReport report = Collect();
  EXPECT_EQ(report.rewritten_packs, 1u);
  EXPECT_EQ(report.removed_packs, 0u);
  store_ = OpenAs(2);
  EXPECT_EQ(Content(a), std::string(kBlocks * kBlockBytes, '\0') + kept);
  ExpectSound();
  const CollectReport again = Collect();
  EXPECT_EQ(again.rewritten_packs + again.removed_packs, 0u);
}

TEST_F(CollectorTest, AStoreWithoutRoomIsCollectedAsFarAsItGoes) {
  const std::string kept = Blocks(9, 32);
  const Id a = CreateSealed("a", Blocks(1, kBlocks) + kept);
  CreateSealed("b", Blocks(70, kBlocks));
  {
    VdiHandle handle = OpenVdi(a);
    ASSERT_OK(handle->Zero(0, kBlocks * kBlockBytes));
    ASSERT_OK(handle.Close());
  }
  ASSERT_OK(store_->SealVdi(a, /*with_head=*/true));
  ASSERT_OK(store_->RemoveVdi("b", false));
  // The reserve is what lets a full store be collected at all.
  ASSERT_OK(MakeReserve(fs_, StoreLayout("/store", TestHost().session.ToString()), 0));
  CollectOptions options = AtOnce();
  fs_.Plan({1, FaultMode::kErrors, ErrorCode::kNoSpace, Call::kWrite, "/tmp/"});
  // Not even the list of the dead can be written.
  EXPECT_ERROR(kNoSpace, store_->Collect(options));
  fs_.ClearFaults();
  // Writes to temporaries: the list, the generation, then the packs.
  fs_.Plan({3, FaultMode::kErrors, ErrorCode::kNoSpace, Call::kWrite, "/tmp/"});
  const CollectReport report = Collect(options);
  fs_.ClearFaults();
  EXPECT_GE(report.removed_packs, 1u);
  EXPECT_EQ(report.rewritten_packs, 0u);
  EXPECT_EQ(report.packs_without_room, 1u);
  EXPECT_EQ(Content(a), std::string(kBlocks * kBlockBytes, '\0') + kept);
  EXPECT_EQ(Collect().rewritten_packs, 1u);
  EXPECT_EQ(Content(a), std::string(kBlocks * kBlockBytes, '\0') + kept);
}

TEST_F(CollectorTest, TheReserveIsFreedWhenTheStoreIsNearlyFullAndMadeAgain) {
  CreateSealed("a", Blocks(7, kBlocks));
  ASSERT_OK(store_->RemoveVdi("a", false));
  CollectOptions options = AtOnce();
  options.reserve_bytes = 64 * kBlockBytes;
  Collect(options);
  ASSERT_OK_AND_ASSIGN(const bool made, PathExists(fs_, layout_.CollectionReserve()));
  EXPECT_TRUE(made);
  fs_.SetCapacity(fs_.used_bytes() + 8 * kBlockBytes);
  Collect(options);
  ASSERT_OK_AND_ASSIGN(const bool there, PathExists(fs_, layout_.CollectionReserve()));
  EXPECT_FALSE(there) << "there is no room for it";
}

TEST_F(CollectorTest, WhatOnlyAPinNamesStays) {
  const Id a = CreateSealed("a", Blocks(7, kBlocks));
  const Id b = Create("b", 1);
  ASSERT_OK_AND_ASSIGN(const VdiState state, ReadPublished(fs_, layout_.Vdi(a)));
  std::vector<MapRoot> maps;
  for (const LayerRecord& layer : state.layers) {
    if (layer.state == LayerState::kSealed) maps.push_back(layer.map);
  }
  ASSERT_OK(fs_.MakeDirectory("/store/tmp/test"));
  ASSERT_OK(WriteMapPin(fs_, StoreLayout("/store", "test"), b, maps));
  ASSERT_OK(store_->RemoveVdi("a", false));
  EXPECT_EQ(Collect().removed_packs, 0u);
  // Whoever opens the VDI next finds that nothing needs the pin.
  ASSERT_OK(OpenVdi(b).Close());
  EXPECT_EQ(Collect().removed_packs, 1u);
}

TEST_F(CollectorTest, APinOfAVdiThatIsGoneGoes) {
  const Id a = CreateSealed("a", Blocks(7, kBlocks));
  ASSERT_OK_AND_ASSIGN(const VdiState state, ReadPublished(fs_, layout_.Vdi(a)));
  ASSERT_OK(store_->RemoveVdi("a", false));
  ASSERT_OK(fs_.MakeDirectory("/store/tmp/test"));
  ASSERT_OK(WriteMapPin(fs_, StoreLayout("/store", "test"), Id::Random(), {state.layers[0].map}));
  CreateSealed("b", Blocks(1, kBlocks));
  ASSERT_OK(store_->RemoveVdi("b", false));
  EXPECT_EQ(Collect().removed_packs, 1u);
  EXPECT_EQ(Collect().removed_packs, 1u);
  EXPECT_EQ(PackCount(), 0u);
}

TEST_F(CollectorTest, NothingIsCollectedIfAVdiCannotBeRead) {
  const Id a = CreateSealed("a", Blocks(7, kBlocks));
  CreateSealed("b", Blocks(1, kBlocks));
  ASSERT_OK(store_->RemoveVdi("b", false));
  const std::string path = StoreLayout::Published(layout_.Vdi(a));
  {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<File> file, fs_.Open(path, {Access::kReadWrite}));
    ASSERT_OK(file->Write(100, AsBytes("damage")));
  }
  const Result<CollectReport> refused = store_->Collect(AtOnce());
  ASSERT_ERROR(kCorrupt, refused);
  EXPECT_NE(refused.error().what.find("vdis/a"), std::string::npos) << refused.error().what;
  ASSERT_OK(fs_.Remove(path));
  ASSERT_ERROR(kCorrupt, store_->Collect(AtOnce()));
  EXPECT_EQ(PackCount(), 2u);
}

// What was lost is not what was removed.
TEST_F(CollectorTest, NothingIsCollectedIfANameLeadsToAVdiThatIsNotThere) {
  const Id a = CreateSealed("a", Blocks(1, kBlocks));
  CreateSealed("b", Blocks(100, kBlocks));
  ASSERT_OK(store_->RemoveVdi("b", true));
  store_.reset();
  ASSERT_OK(RemoveTree(fs_, layout_.Vdi(a)));
  store_ = OpenAs(1);
  const uint64_t packs = PackCount();
  const Result<CollectReport> refused = store_->Collect(AtOnce());
  ASSERT_ERROR(kCorrupt, refused);
  EXPECT_NE(refused.error().what.find("vdis/a"), std::string::npos);
  EXPECT_EQ(PackCount(), packs);
  CollectOptions dry = AtOnce();
  dry.dry_run = true;
  EXPECT_OK(store_->Collect(dry));
}

TEST_F(CollectorTest, NothingIsCollectedIfANodeOfAMapIsMissing) {
  const Id a = CreateSealed("a", Blocks(7, kBlocks));
  CreateSealed("b", Blocks(1, kBlocks));
  ASSERT_OK(store_->RemoveVdi("b", false));
  ASSERT_OK_AND_ASSIGN(const VdiState state, ReadPublished(fs_, layout_.Vdi(a)));
  FrameCache frames(0);
  PackStore packs(fs_, layout_.Packs(), frames);
  for (const LayerRecord& layer : state.layers) {
    if (layer.state != LayerState::kSealed) continue;
    ASSERT_OK(packs.Remove(layer.map.location.pack));
  }
  ASSERT_EQ(PackCount(), 1u);
  EXPECT_FALSE(store_->Collect(AtOnce()));
  EXPECT_EQ(PackCount(), 1u);
}

TEST_F(CollectorTest, ARootRecordLivesAsLongAsItsSnapshot) {
  const Id a = CreateWith("a", Blocks(7, kBlocks));
  Snapshot("a", "s");
  ASSERT_OK(store_->SealVdi(a, /*with_head=*/true));
  EXPECT_EQ(Collect().garbage_bytes, 0u);
  ASSERT_OK(store_->RemoveSnapshot(a, "s"));
  CollectOptions options = AtOnce();
  const CollectReport report = Collect(options);
  EXPECT_GT(report.garbage_bytes, 0u);
  EXPECT_EQ(report.rewritten_packs, 0u) << "not worth it";
}

// --- sealers and clones on other hosts
// ------------------------------------------------------------

// A VDI with the content of one that was removed is sealed by a host that knows where that lies,
// and a collection comes between any two calls of it, or it between any two calls of a collection.
class InterleavingTest : public CollectorTest {
 protected:
  // Of the blocks that were removed; with `beside`, others of the same pack stay alive.
  void MakeGarbage(bool beside) {
    // What stays alive is shared too: a run that begins in it must not be extended into what is
    // dead.
    const std::string shared = Blocks(1, kBlocks) + (beside ? Blocks(150, 32) : "");
    const Id a = CreateSealed("a", shared);
    StoreOptions options = TestOptions();
    options.state_dir = *folder_ / "state";
    ASSERT_OK_AND_ASSIGN(other_, Store::Open(fs_, "/store", TestHost(2), options));
    b_ = CreateWith("b", shared);
    expected_ = shared;
    if (!beside) {
      ASSERT_OK(store_->RemoveVdi("a", false));
      return;
    }
    VdiHandle handle = OpenVdi(a);
    ASSERT_OK(handle->Zero(0, kBlocks * kBlockBytes));
    ASSERT_OK(handle.Close());
    ASSERT_OK(store_->SealVdi(a, /*with_head=*/true));
  }

  template <typename T>
  static void ExpectDoneOrBusy(const Result<T>& result) {
    EXPECT_TRUE(result || result.error().code == ErrorCode::kBusy) << result.error().what;
  }

  void ExpectAllAlive() {
    for (int round = 0; round < 2; ++round) {
      store_ = OpenAs(3);
      ASSERT_EQ(Content(b_), expected_);
      ExpectSound();
      Collect();
    }
  }

  // Calls `other` before the n-th call of `run`; false if there was none.
  template <typename Run, typename Other>
  bool Between(uint64_t n, Run run, Other other) {
    std::atomic<uint64_t> calls{0};  // the observer is called by all threads
    std::atomic<bool> done{false};
    fs_.SetObserver([&](Call call, const std::string&) {
      // Between these nothing happens that another host could see, or that shows what it does.
      const bool counts = (IsStep(call) && call != Call::kWrite) || call == Call::kOpen ||
                          call == Call::kLock || call == Call::kList;
      if (done || !counts || ++calls != n) return;
      done = true;
      OnAnotherThread(other);
    });
    run();
    fs_.SetObserver(nullptr);
    return done;
  }

  void SetUp() override { spdlog::set_level(spdlog::level::warn); }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }

  // Everything anew.
  void Start() {
    other_.reset();
    store_.reset();
    ASSERT_OK(RemoveTree(fs_, "/store"));
    ASSERT_OK(RemoveTree(fs_, "/scratch"));
    folder_.emplace();
    CollectorTest::SetUp();
  }

  std::optional<TemporaryDirectory> folder_;  // of the other host's index
  std::unique_ptr<Store> other_;
  Id b_;
  std::string expected_;
};

TEST_F(InterleavingTest, ACollectionBetweenAnyTwoCallsOfASeal) {
  for (const bool beside : {false, true}) {
    uint64_t collected = 0;
    uint64_t shared = 0;
    bool more = true;
    for (uint64_t n = 1; more; ++n) {
      SCOPED_TRACE("before call " + std::to_string(n) + (beside ? ", sparse" : ""));
      Start();
      MakeGarbage(beside);
      ASSERT_FALSE(HasFailure());
      Result<SealCounts> sealed = Fail(ErrorCode::kIo, "");
      more = Between(
          n, [&] { sealed = other_->SealVdi(b_, /*with_head=*/true); },
          [&] {
            const Result<CollectReport> report = store_->Collect(AtOnce());
            if (report) collected += report->removed_packs + report->rewritten_packs;
            ExpectDoneOrBusy(report);
          });
      ASSERT_OK(sealed);
      shared += sealed->shared_blocks;
      ExpectAllAlive();
      if (HasFailure()) return;
    }
    EXPECT_GT(collected, 0u) << "no collection came in time";
    EXPECT_GT(shared, 0u) << "nothing was ever shared";
  }
}

TEST_F(InterleavingTest, ASealBetweenAnyTwoCallsOfACollection) {
  for (const bool beside : {false, true}) {
    uint64_t shared = 0;
    uint64_t removed = 0;
    bool more = true;
    for (uint64_t n = 1; more; ++n) {
      SCOPED_TRACE("before call " + std::to_string(n) + (beside ? ", sparse" : ""));
      Start();
      MakeGarbage(beside);
      ASSERT_FALSE(HasFailure());
      Result<CollectReport> report = Fail(ErrorCode::kIo, "");
      more = Between(
          n, [&] { report = store_->Collect(AtOnce()); },
          [&] {
            const Result<SealCounts> sealed = other_->SealVdi(b_, /*with_head=*/true);
            if (sealed) shared += sealed->shared_blocks;
            ExpectDoneOrBusy(sealed);
          });
      ASSERT_OK(report);
      removed += report->removed_packs + report->rewritten_packs;
      ExpectAllAlive();
      if (HasFailure()) return;
    }
    EXPECT_GT(shared, 0u) << "nothing was ever shared";
    EXPECT_GT(removed, 0u) << "nothing was ever removed";
  }
}

// The source's snapshot goes, and its garbage is collected, at any point of making a clone of it.
TEST_F(InterleavingTest, RemovalAndCollectionBetweenAnyTwoCallsOfAClone) {
  bool more = true;
  for (uint64_t n = 1; more; ++n) {
    SCOPED_TRACE("before call " + std::to_string(n));
    Start();
    expected_ = Blocks(1, kBlocks);
    const Id a = CreateWith("a", expected_);
    Snapshot("a", "s");
    ASSERT_OK(store_->SealVdi(a, /*with_head=*/true));
    other_ = OpenAs(2);
    Result<Id> made = Fail(ErrorCode::kIo, "");
    more = Between(
        n, [&] { made = other_->CloneVdi(a, "s", "b", {}); },
        [&] {
          (void)store_->RemoveVdi("a", true);
          const Result<CollectReport> report = store_->Collect(AtOnce());
          ExpectDoneOrBusy(report);
        });
    if (!made) continue;  // it came too late
    b_ = *made;
    ExpectAllAlive();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace quoin

// Rebuilding where packs are damaged, and where the machine stops meanwhile.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/snapshots/rebuild_world.h"

namespace quoin {
namespace {

class DamagedRebuildTest : public RebuildWorld {};

// --- what is not whole
// ------------------------------------------------------------------------------

TEST_F(DamagedRebuildTest, ADamagedNodeLeavesOutExactlyItsSnapshot) {
  const Id a = CreateWith("a", content_);
  for (const char* name : {"one", "two", "three"}) {
    WriteBlocks(a, 0, PatternOf(static_cast<uint8_t>(name[1]), kBlockBytes));
    Snapshot("a", name);
  }
  Seal(a);
  Known known = Capture();
  const RootRecord two = RootRecordsOf(a, Record(a, "two").id).at(0);
  LoseAllButPacks();
  DamageSlot(two.map.location);
  const RebuildReport report = Rebuild();
  EXPECT_TRUE(report.IsDamaged());
  ASSERT_EQ(report.left_out.size(), 1u);
  EXPECT_EQ(report.left_out[0].object, "vdis/a@two");
  std::vector<KnownSnapshot>& snapshots = known.at("a").snapshots;
  snapshots.erase(snapshots.begin() + 1);
  ExpectSame(known);
}

TEST_F(DamagedRebuildTest, WithADamagedNewestSnapshotTheVdiStandsOnTheOneBefore) {
  const Id a = CreateWith("a", content_);
  Snapshot("a", "one");
  WriteBlocks(a, 0, PatternOf(7, kBlockBytes));
  Snapshot("a", "two");
  Seal(a);
  const RootRecord two = RootRecordsOf(a, Record(a, "two").id).at(0);
  LoseAllButPacks();
  DamageSlot(two.map.location);
  EXPECT_EQ(Rebuild().vdis.size(), 1u);
  Reopen();
  EXPECT_TRUE(Content(a) == content_);
}

TEST_F(DamagedRebuildTest, ADamagedRecordIsToldAndTheOthersCount) {
  const Id a = CreateWith("a", content_);
  Snapshot("a", "one");
  Seal(a);
  WriteBlocks(a, 0, PatternOf(7, kBlockBytes));
  Snapshot("a", "two");
  Seal(a);
  // Of each snapshot, and of what the VDI stood on after it.
  const std::vector<SlotLocation> records = SlotsOfKind(FrameKindOf(RecordKind::kRoot));
  ASSERT_EQ(records.size(), 4u);
  FrameCache cache(0);
  PackStore packs(fs_, layout_.Packs(), cache);
  LoseAllButPacks();
  for (const SlotLocation& at : records) {
    ASSERT_OK_AND_ASSIGN(const auto bytes, packs.ReadRecord(RecordKind::kRoot, at));
    ASSERT_OK_AND_ASSIGN(const RootRecord record, DecodeRootRecord(*bytes));
    if (record.snapshot_name == "one") DamageSlot(at);
  }
  const RebuildReport report = Rebuild();
  EXPECT_TRUE(report.IsDamaged());
  EXPECT_EQ(report.left_out.size(), 1u);
  ASSERT_EQ(report.vdis.size(), 1u);
  EXPECT_EQ(report.vdis[0].snapshots, 1u);
}

TEST_F(DamagedRebuildTest, ADamagedTableCostsNothing) {
  MakeVdis();
  const Known known = Capture();
  LoseAllButPacks();
  for (const Id& id : Packs()) {
    const std::shared_ptr<const Pack> pack = OpenPack(id);
    FlipByte(PathOf(id),
             pack->file_bytes() - kPackTrailerBytes - pack->slots() * Digest::kBytes - 9);
  }
  RebuildAll();
  ExpectSame(known);
}

TEST_F(DamagedRebuildTest, WithoutATrailerAllIsFoundThoughNobodyCanBeSureOfThat) {
  MakeVdis();
  const Known known = Capture();
  LoseAllButPacks();
  for (const Id& pack : Packs()) FlipByte(PathOf(pack), OpenPack(pack)->file_bytes() - 20);
  const RebuildReport report = Rebuild();
  EXPECT_TRUE(report.IsDamaged());
  EXPECT_EQ(report.left_out.size(), Packs().size());
  ExpectSame(known);
}

TEST_F(DamagedRebuildTest, APackThatIsGoneTakesOnlyWhatNeedsItAndIsNoDamage) {
  ASSERT_OK_AND_ASSIGN(const Id a, Import("a", content_));
  const Id pack = Packs().at(0);
  Snapshot("a", "of the import");
  Seal(a);  // the snapshot's record is in a pack of its own
  WriteBlocks(a, 0, PatternOf(8, content_.size()));
  Snapshot("a", "later");
  Seal(a);
  Known known = Capture();
  LoseAllButPacks();
  ASSERT_OK(fs_.Remove(PathOf(pack)));
  const RebuildReport report = Rebuild();
  EXPECT_FALSE(report.IsDamaged());
  ASSERT_EQ(report.left_out.size(), 1u);
  EXPECT_EQ(report.left_out[0].object, "vdis/a@of the import");
  std::vector<KnownSnapshot>& snapshots = known.at("a").snapshots;
  snapshots.erase(snapshots.begin());
  ExpectSame(known);
}

TEST_F(DamagedRebuildTest, WhatWasRemovedAndCollectedDoesNotComeBack) {
  MakeVdis();
  const Id a = IdOf("lab/a");
  ASSERT_OK(store_->RemoveSnapshot(a, "empty handed"));
  ASSERT_OK(store_->RemoveVdi("imported", false));
  ASSERT_OK(store_->RemoveVdi("d", true));
  Collect();
  const Known known = Capture();
  LoseAllButPacks();
  RebuildAll();
  ExpectSame(known);
  ExpectSound();
}

TEST_F(DamagedRebuildTest, WhatWasRemovedAndNotCollectedComesBackWhole) {
  MakeVdis();
  const Known known = Capture();
  ASSERT_OK(store_->RemoveSnapshot(IdOf("lab/a"), "tuesday"));
  ASSERT_OK(store_->RemoveVdi("d", true));
  LoseAllButPacks();
  RebuildAll();
  ExpectSame(known);
  ExpectSound();
}

// --- stopped anywhere
// -------------------------------------------------------------------------------

class StoppedRebuildTest : public RebuildWorld {
 protected:
  // Everything anew.
  void Start() {
    store_.reset();
    (void)RemoveTree(fs_, "/store");
    (void)RemoveTree(fs_, "/scratch");
    RebuildWorld::SetUp();
  }
  void SetUp() override {}

  // Of everything but the packs; or of one VDI's folder, and of the name and the databases of
  // another.
  void MakeLoss(bool all) {
    ASSERT_OK(store_->MakeFolder("lab"));
    const Id a = CreateWith("lab/a", content_);
    Snapshot("lab/a", "s");
    WriteBlocks(a, 2, PatternOf(4, kBlockBytes));
    Seal(a);
    ASSERT_OK(Import("b", PatternOf(3, 3 * kBlockBytes)));
    known_ = Capture();
    if (all) {
      LoseAllButPacks();
      return;
    }
    Lose({"names/b", "vdis/" + a.ToString()});
    const std::string damaged = layout_.Vdi(known_.at("b").id);
    Scribble(StoreLayout::Published(damaged));
    Scribble(StoreLayout::Database(damaged));
  }

  void ExpectAllAfterAnotherRun() {
    const RebuildReport report = Rebuild();
    EXPECT_TRUE(report.left_out.empty());
    EXPECT_TRUE(Rebuild().vdis.empty());
    ExpectSame(known_);
    for (const auto& [name, vdi] : known_) EXPECT_OK(OpenVdi(vdi.id).Close());
    store_.reset();
    (void)fs_.MakeDirectory("/scratch");
    const Result<CheckReport> check = StoreCheck(fs_, "/store", fs_, "/scratch").Run();
    ASSERT_OK(check);
    for (const Finding& finding : check->findings) {
      EXPECT_NE(finding.object.find(".damaged"), std::string::npos)
          << finding.object << ": " << finding.what;
    }
  }

  Known known_;
};

TEST_F(StoppedRebuildTest, AtEveryDurableStep) {
  for (const bool all : {true, false}) {
    for (const CrashMode mode :
         {CrashMode::kLoseAll, CrashMode::kRandom, CrashMode::kProcessOnly}) {
      bool completed = false;
      for (uint64_t step = 1; !completed; ++step) {
        SCOPED_TRACE("stopped at step " + std::to_string(step) + ", mode " +
                     std::to_string(static_cast<int>(mode)) + (all ? ", all lost" : ""));
        ASSERT_LT(step, 1000u) << "it does not end";
        Start();
        MakeLoss(all);
        ASSERT_FALSE(HasFailure());
        fs_.FailAfter(step, FaultMode::kCrash);
        const bool done = TryRebuild().has_value();
        completed = !fs_.stopped();
        EXPECT_TRUE(done || !completed) << "it failed by itself";
        fs_.Crash(mode, step);
        // Half of a store is not taken for a whole one.
        if (all && !done) {
          const Result<std::unique_ptr<Store>> opened = OpenTestStore(fs_);
          if (opened) {
            store_ = OpenAs(1);
            EXPECT_EQ(Capture().size(), known_.size());
          }
        }
        ExpectAllAfterAnotherRun();
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(StoppedRebuildTest, AtEveryErrorOfTheStorage) {
  for (const ErrorCode code : {ErrorCode::kIo, ErrorCode::kNoSpace}) {
    bool completed = false;
    for (uint64_t step = 1; !completed; ++step) {
      SCOPED_TRACE("step " + std::to_string(step) + ": " + std::string(ToWord(code)));
      ASSERT_LT(step, 1000u) << "it does not end";
      Start();
      MakeLoss(/*all=*/true);
      ASSERT_FALSE(HasFailure());
      const uint64_t steps_before = fs_.steps();
      fs_.FailAfter(step, FaultMode::kErrors, code);
      (void)TryRebuild();
      completed = fs_.steps() < steps_before + step;
      fs_.ClearFaults();
      ExpectAllAfterAnotherRun();
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace quoin

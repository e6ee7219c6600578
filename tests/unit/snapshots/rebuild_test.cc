// A store made again of its packs: every byte of every snapshot, names, numbers and digests,
// whatever else of it was lost.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "snapshots/store_rebuild.h"
#include "tests/unit/snapshots/rebuild_world.h"

namespace quoin {
namespace {

class RebuildTest : public RebuildWorld {};

TEST_F(RebuildTest, NothingIsLeftButThePacks) {
  MakeVdis();
  const Known known = Capture();
  LoseAllButPacks();
  EXPECT_ERROR(kNotAStore, Store::Open(fs_, "/store", TestHost(1), TestOptions()));
  const RebuildReport report = RebuildAll();
  EXPECT_TRUE(report.new_superblock);
  EXPECT_FALSE(report.IsDamaged());
  ASSERT_EQ(report.vdis.size(), 4u);
  EXPECT_EQ(report.vdis[2].name, "lab/a");
  EXPECT_EQ(report.vdis[2].snapshots, 3u);
  ExpectSame(known);
  ExpectSound();
}

TEST_F(RebuildTest, WhatWasRebuiltLivesOn) {
  MakeVdis();
  LoseAllButPacks();
  RebuildAll();
  Reopen();
  const size_t packs = Packs().size();
  for (const char* name : {"lab/a", "lab/clone", "imported", "d"}) {
    SCOPED_TRACE(name);
    const Id id = IdOf(name);
    Seal(id);
    EXPECT_EQ(Packs().size(), packs) << "it is recorded";
    const std::string before = Content(id);
    WriteBlocks(id, 4, PatternOf(9, kBlockBytes));
    Snapshot(name, "new");
    EXPECT_TRUE(Content(id) == With(before, 4, PatternOf(9, kBlockBytes)));
  }
  for (const char* name : {"lab/a", "lab/clone", "imported", "d"}) Seal(IdOf(name));
  const Known known = Capture();
  EXPECT_EQ(Collect().unreadable_packs, 0u);
  LoseAllButPacks();
  RebuildAll();
  ExpectSame(known);
  ExpectSound();
}

TEST_F(RebuildTest, OnlyTheSuperblockIsLostOrDamaged) {
  MakeVdis();
  const Id unsealed = CreateWith("unsealed", content_);
  const Known known = Capture();
  Lose({"quoin.store"});
  RebuildReport report = RebuildAll();
  EXPECT_TRUE(report.new_superblock);
  EXPECT_TRUE(report.vdis.empty());
  ExpectSame(known);
  EXPECT_TRUE(Content(unsealed) == content_);
  store_.reset();
  Scribble("/store/quoin.store");
  report = RebuildAll();
  EXPECT_TRUE(report.new_superblock);
  EXPECT_TRUE(Exists("/store/quoin.store.damaged"));
  ExpectSame(known);
  ExpectSound();
}

TEST_F(RebuildTest, OneFolderIsLostAndItsNameIsBetterThanTheRecords) {
  MakeVdis();
  ASSERT_OK(store_->Rename("lab/a", "renamed"));
  const Known known = Capture();
  Lose({"vdis/" + known.at("renamed").id.ToString()});
  const RebuildReport report = RebuildAll();
  ASSERT_EQ(report.vdis.size(), 1u);
  EXPECT_EQ(report.vdis[0].name, "renamed");
  EXPECT_FALSE(report.vdis[0].was_damaged);
  ExpectSame(known);
  ExpectSound();
}

TEST_F(RebuildTest, OnlyNamesAreLost) {
  MakeVdis();
  const Known known = Capture();
  const Id unsealed = CreateWith("unsealed", content_);
  Lose({"names"});
  const RebuildReport report = RebuildAll();
  EXPECT_EQ(report.vdis.size(), 5u);
  for (const RebuiltVdi& vdi : report.vdis) EXPECT_TRUE(vdi.only_name) << vdi.name;
  Reopen();
  const std::string name = "rebuilt-" + unsealed.ToString().substr(0, 8);
  EXPECT_EQ(IdOf(name), unsealed);
  EXPECT_TRUE(Content(unsealed) == content_);
  Known expected = known;
  expected[name] = {unsealed, content_, {}};
  ExpectSame(expected);
  ExpectSound();
}

TEST_F(RebuildTest, WhatCannotBeReadIsPutAsideAndMadeAgain) {
  MakeVdis();
  const Known known = Capture();
  const std::string folder = layout_.Vdi(known.at("d").id);
  store_.reset();
  Scribble(StoreLayout::Published(folder));
  // Its owner could publish it again.
  RebuildReport report = Rebuild();
  EXPECT_TRUE(report.vdis.empty());
  ASSERT_EQ(report.left_out.size(), 1u);
  EXPECT_EQ(report.left_out[0].object, "vdis/d");
  EXPECT_FALSE(report.IsDamaged());

  for (const char* aside : {".damaged", ".damaged-2"}) {
    Scribble(StoreLayout::Published(folder));
    Scribble(StoreLayout::Database(folder));
    report = RebuildAll();
    ASSERT_EQ(report.vdis.size(), 1u);
    EXPECT_TRUE(report.vdis[0].was_damaged);
    EXPECT_TRUE(Exists(folder + aside + "/layers"));
    ExpectSame(known);
    store_.reset();
  }
  const Result<CheckReport> check = StoreCheck(fs_, "/store", fs_, "/scratch").Run();
  ASSERT_OK(check);
  EXPECT_FALSE(check->IsDamaged());
  EXPECT_EQ(check->findings.size(), 2u) << "the two that were put aside";
}

TEST_F(RebuildTest, WhatNoPackHoldsIsToldAndStays) {
  MakeVdis();
  const Id gone = CreateWith("gone", content_);
  const Id unreadable = CreateWith("unreadable", content_);
  const Known known = Capture();
  Lose({"vdis/" + gone.ToString()});
  Scribble(StoreLayout::Published(layout_.Vdi(unreadable)));
  Scribble(StoreLayout::Database(layout_.Vdi(unreadable)));
  for (int round = 0; round < 2; ++round) {
    const RebuildReport report = Rebuild();
    EXPECT_TRUE(report.vdis.empty());
    EXPECT_TRUE(report.IsDamaged());
    ASSERT_EQ(report.left_out.size(), 2u);
    EXPECT_EQ(report.left_out[0].object, "vdis/unreadable");
    EXPECT_EQ(report.left_out[1].object, "vdis/gone");
  }
  Reopen();
  EXPECT_EQ(IdOf("gone"), gone);
  EXPECT_TRUE(Exists(layout_.Vdi(unreadable)));
}

TEST_F(RebuildTest, AFolderWithoutAPackIsNoStoreAndNothingIsMadeInIt) {
  LoseAllButPacks();
  const uint64_t steps = fs_.steps();
  const Result<RebuildReport> refused = TryRebuild();
  ASSERT_ERROR(kNotAStore, refused);
  EXPECT_NE(refused.error().next, "");
  EXPECT_EQ(fs_.steps(), steps);
  Lose({"packs"});
  EXPECT_ERROR(kNotAStore, TryRebuild());
  ASSERT_OK(fs_.RemoveDirectory("/store"));
  EXPECT_ERROR(kNotFound, TryRebuild());
  EXPECT_FALSE(Exists("/store"));
}

TEST_F(RebuildTest, AStoreOfANewerFormatIsLeftAlone) {
  MakeVdis();
  store_.reset();
  ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open("/store/quoin.store", {Access::kReadWrite}));
  ASSERT_OK(file->Truncate(0));
  ASSERT_OK(file->Write(0, AsBytes("{\"quoin\": \"store\", \"format\": 1000}")));
  const uint64_t steps = fs_.steps();
  EXPECT_ERROR(kNewerFormat, TryRebuild());
  EXPECT_EQ(fs_.steps(), steps);
}

TEST_F(RebuildTest, ADryRunSaysTheSameAndChangesNothing) {
  MakeVdis();
  const Known known = Capture();
  const std::string damaged = layout_.Vdi(known.at("d").id);
  Lose({"vdis/" + known.at("lab/a").id.ToString(), "names/imported"});
  Scribble(StoreLayout::Published(damaged));
  Scribble(StoreLayout::Database(damaged));
  for (int round = 0; round < 2; ++round) {
    const uint64_t steps = fs_.steps();
    const Result<RebuildReport> planned = TryRebuild(/*dry_run=*/true);
    ASSERT_OK(planned);
    EXPECT_EQ(fs_.steps(), steps);
    const RebuildReport done = RebuildAll();
    EXPECT_EQ(planned->new_superblock, done.new_superblock);
    ASSERT_EQ(planned->vdis.size(), done.vdis.size());
    EXPECT_EQ(planned->vdis.size(), round == 0 ? 3u : 4u);
    for (size_t n = 0; n < done.vdis.size(); ++n) {
      EXPECT_EQ(planned->vdis[n].id, done.vdis[n].id);
      EXPECT_EQ(planned->vdis[n].name, done.vdis[n].name);
      EXPECT_EQ(planned->vdis[n].snapshots, done.vdis[n].snapshots);
      EXPECT_EQ(planned->vdis[n].only_name, done.vdis[n].only_name);
      EXPECT_EQ(planned->vdis[n].was_damaged, done.vdis[n].was_damaged);
    }
    ExpectSame(known);
    LoseAllButPacks();
  }
}

TEST_F(RebuildTest, ADryRunOnlyReadsADatabase) {
  const Id a = CreateWith("a", content_);
  store_.reset();
  Scribble(StoreLayout::Published(layout_.Vdi(a)));
  const uint64_t steps = fs_.steps();
  const Result<RebuildReport> planned = TryRebuild(/*dry_run=*/true);
  ASSERT_OK(planned);
  EXPECT_TRUE(planned->vdis.empty());
  EXPECT_EQ(planned->left_out.size(), 1u);
  EXPECT_EQ(fs_.steps(), steps);
}

TEST_F(RebuildTest, ACollectorAtWorkKeepsItOut) {
  MakeVdis();
  LoseAllButPacks();
  ASSERT_OK(fs_.MakeDirectory("/store/gc"));
  {
    ASSERT_OK_AND_ASSIGN(const auto lock, CollectorLock::Acquire(fs_, layout_, TestHost(2)));
    EXPECT_ERROR(kBusy, TryRebuild());
    EXPECT_FALSE(Exists("/store/quoin.store"));
  }
  EXPECT_EQ(Rebuild().vdis.size(), 4u);
}

TEST_F(RebuildTest, WhatCannotBeReadJustNowIsNotTakenForLost) {
  MakeVdis();
  const Known known = Capture();
  LoseAllButPacks();
  for (uint64_t n = 1;; ++n) {
    fs_.Plan({n, FaultMode::kErrorOnce, ErrorCode::kIo, Call::kRead, "/packs/"});
    const uint64_t reads = fs_.count(Call::kRead);
    const Result<RebuildReport> report = TryRebuild(/*dry_run=*/true);
    const bool was_hit = !report;
    EXPECT_TRUE(was_hit || report->left_out.empty());
    if (fs_.count(Call::kRead) - reads < n) break;
    fs_.ClearFaults();
    ASSERT_LT(n, 10'000u);
  }
  fs_.ClearFaults();
  RebuildAll();
  ExpectSame(known);
}

// --- names and numbers
// ------------------------------------------------------------------------------

TEST_F(RebuildTest, OfTwoSnapshotsWithOneNameTheLaterOneKeepsIt) {
  const Id a = CreateWith("a", content_);
  const Id first = Snapshot("a", "s");
  Seal(a);
  ASSERT_OK(store_->RemoveSnapshot(a, "s"));
  WriteBlocks(a, 0, PatternOf(7, kBlockBytes));
  const Id second = Snapshot("a", "s");
  Seal(a);
  LoseAllButPacks();
  RebuildAll();
  Reopen();
  EXPECT_EQ(Record(a, "s").id, second);
  EXPECT_EQ(Record(a, "s-1").id, first);
  EXPECT_LT(Record(a, "s-1").ordinal, Record(a, "s").ordinal);
  EXPECT_TRUE(SnapshotContent(a, first) == content_);
  ExpectSound();
}

TEST_F(RebuildTest, OfTwoVdisWithOneNameTheLaterOneKeepsIt) {
  const Id first = CreateWith("a", content_);
  Seal(first);
  ASSERT_OK(store_->RemoveVdi("a", false));
  const Id second = CreateWith("a", PatternOf(3, content_.size()));
  Seal(second);
  LoseAllButPacks();
  RebuildAll();
  Reopen();
  EXPECT_EQ(IdOf("a"), second);
  EXPECT_EQ(IdOf("a-rebuilt-" + first.ToString().substr(0, 8)), first);
  EXPECT_TRUE(Content(first) == content_);
  ExpectSound();
}

TEST_F(RebuildTest, ANameThatIsAFolderNowOrLiesInAVdiIsNotTaken) {
  const Id first = CreateWith("a", content_);
  Seal(first);
  ASSERT_OK(store_->RemoveVdi("a", false));
  ASSERT_OK(store_->MakeFolder("a"));
  const Id second = CreateWith("a/b", PatternOf(3, content_.size()));
  Seal(second);
  LoseAllButPacks();
  RebuildAll();
  Reopen();
  EXPECT_EQ(IdOf("a/b"), second);
  EXPECT_EQ(IdOf("a-rebuilt-" + first.ToString().substr(0, 8)), first);
  ExpectSound();
}

TEST_F(RebuildTest, AVdiThatWasRolledBackStandsWhereItWasRolledBackTo) {
  const Id a = CreateWith("a", content_);
  Snapshot("a", "s");
  WriteBlocks(a, 0, PatternOf(7, kBlockBytes));
  ASSERT_OK(store_->Rollback(a, "s"));
  Seal(a);
  const Known known = Capture();
  EXPECT_TRUE(known.at("a").content == content_);
  LoseAllButPacks();
  RebuildAll();
  ExpectSame(known);
}

TEST_F(RebuildTest, ACopyThatWasCutShortShowsNoMoreThanBefore) {
  const Id a = CreateWith("a", content_);
  const Id s = Snapshot("a", "s");
  Seal(a);
  const Id b = Create("b", 0);
  {
    VdiHandle target = OpenVdi(b);
    ASSERT_OK(store_->CopyRange({a, s}, 0, target, 0, 4 * kBlockBytes));
    ASSERT_OK(target.Close());
  }
  Seal(b, false);
  const std::string part = content_.substr(0, 4 * kBlockBytes);
  EXPECT_TRUE(Content(b) == part);
  LoseAllButPacks();
  RebuildAll();
  Reopen();
  EXPECT_TRUE(Content(b) == part);
  ASSERT_OK(store_->ResizeVdi(b, content_.size(), false, false));
  EXPECT_TRUE(Content(b) == part + std::string(content_.size() - part.size(), '\0'));
  ExpectSound();
}

TEST_F(RebuildTest, AnEmptyVdiWithSnapshotsComesBack) {
  const Id a = Create("a", kBlocks);
  const Id s = Snapshot("a", "s");
  Seal(a);
  LoseAllButPacks();
  RebuildAll();
  Reopen();
  EXPECT_EQ(Record(a, "s").id, s);
  EXPECT_TRUE(Content(a) == std::string(kBlocks * kBlockBytes, '\0'));
  ExpectSound();
}

}  // namespace
}  // namespace quoin

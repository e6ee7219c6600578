// Snapshots whose nodes are written as changes to those of earlier snapshots: what is sealed,
// collected, scrubbed, counted and rebuilt where one snapshot's record holds up another's.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "blockstore/maps/region_change.h"
#include "tests/support/seed.h"
#include "tests/unit/snapshots/rebuild_world.h"

namespace quoin {
namespace {

class ChangedRegionsTest : public RebuildWorld {
 protected:
  static constexpr uint64_t kVdiBlocks = 300;

  // Every other block holds data, so that the region has as many extents as blocks.
  void SetUp() override {
    RebuildWorld::SetUp();
    spdlog::set_level(spdlog::level::off);  // damage is told of in the log, over and over
    now_ = std::string(kVdiBlocks * kBlockBytes, '\0');
    for (uint64_t block = 0; block < kVdiBlocks; block += 2) Fill(block);
    a_ = CreateWith("a", now_);
  }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }

  // New content, equal to nothing else.
  std::string NewBlock() {
    std::string bytes = PatternOf(static_cast<uint8_t>(filled_), kBlockBytes);
    return bytes.replace(0, 16, fmt::format("{:16}", ++filled_));
  }
  void Fill(uint64_t block) { now_.replace(block * kBlockBytes, kBlockBytes, NewBlock()); }

  // A snapshot after the change of one block, one that no other snapshot changes.
  void TakeSnapshot() {
    const uint64_t block = 2 * (contents_.size() % (kVdiBlocks / 2));
    Fill(block);
    WriteBlocks(a_, block, now_.substr(block * kBlockBytes, kBlockBytes));
    const std::string name = fmt::format("s{:03}", taken_++);
    Snapshot("a", name);
    contents_[name] = now_;
  }
  // Each sealed by itself, so that each has packs of its own, or all in few jobs.
  void TakeSnapshots(int count, bool each_by_itself = true) {
    for (int n = 0; n < count; ++n) {
      TakeSnapshot();
      if (each_by_itself) Seal(a_, /*with_head=*/false);
    }
    if (!each_by_itself) Seal(a_, /*with_head=*/false);
  }
  void Remove(const std::string& name) {
    ASSERT_OK(store_->RemoveSnapshot(a_, name));
    contents_.erase(name);
  }

  // The map's height is 0, so its root is the node of the region.
  MapRoot MapOf(const std::string& snapshot) {
    const std::vector<RootRecord> records = RootRecordsOf(a_, Record(a_, snapshot).id);
    EXPECT_FALSE(records.empty()) << snapshot;
    return records.empty() ? MapRoot() : records.front().map;
  }
  // The records that the node of a map is built on.
  std::vector<SlotLocation> BasesOf(const MapRoot& map) {
    EXPECT_EQ(map.height, 0);
    FrameCache cache(0);
    PackStore packs(fs_, layout_.Packs(), cache);
    const auto node = ReadMapNode(packs, ChildOfRoot(map), 0);
    EXPECT_OK(node);
    return node ? (*node)->chain().bases : std::vector<SlotLocation>();
  }
  std::map<std::string, MapRoot> AllMaps() {
    std::map<std::string, MapRoot> maps;
    for (const auto& [name, content] : contents_) maps[name] = MapOf(name);
    return maps;
  }
  // Snapshots that are made with the node of this map: itself, and those built on it.
  std::set<std::string> DependentsOf(const MapRoot& map,
                                     const std::map<std::string, MapRoot>& all) {
    std::set<std::string> names;
    for (const auto& [name, other] : all) {
      const std::vector<SlotLocation> bases = BasesOf(other);
      if (other.location == map.location ||
          std::find(bases.begin(), bases.end(), map.location) != bases.end()) {
        names.insert(name);
      }
    }
    return names;
  }

  ScrubReport DryScrub() {
    ScrubOptions options;
    options.dry_run = true;
    const Result<ScrubReport> report = store_->Scrub(options);
    EXPECT_OK(report);
    return report.value_or(ScrubReport());
  }

  void ExpectAllReadable() {
    Reopen();
    for (const auto& [name, content] : contents_) {
      ASSERT_TRUE(SnapshotContent(a_, Record(a_, name).id) == content) << name;
    }
    ASSERT_TRUE(Content(a_) == now_);
  }

  Id a_;
  std::string now_;
  std::map<std::string, std::string> contents_;  // of the snapshots, by name
  uint64_t filled_ = 0;
  int taken_ = 0;
};

TEST_F(ChangedRegionsTest, SnapshotsInOneJobAndInManyAreBuiltOnEachOther) {
  for (const bool each_by_itself : {false, true}) {
    TakeSnapshots(20, each_by_itself);
    ASSERT_NO_FATAL_FAILURE(ExpectAllReadable());
  }
  size_t longest = 0;
  for (const auto& [name, map] : AllMaps()) longest = std::max(longest, BasesOf(map).size());
  EXPECT_GE(longest, 4u);
  uint64_t changes = 0;
  FrameCache cache(0);
  PackStore packs(fs_, layout_.Packs(), cache);
  for (const SlotLocation& at : SlotsOfKind(FrameKindOf(RecordKind::kMapNode))) {
    ASSERT_OK_AND_ASSIGN(const auto record, packs.ReadRecord(RecordKind::kMapNode, at));
    changes += IsRegionChange(*record) ? 1 : 0;
  }
  EXPECT_GE(changes, 36u);
  EXPECT_FALSE(DryScrub().IsDamaged());
  ExpectSound();
}

// --- collecting
// ------------------------------------------------------------------------------------

TEST_F(ChangedRegionsTest, NothingOfALongHistoryIsGarbage) {
  TakeSnapshots(20);
  EXPECT_EQ(Collect().freed_bytes, 0u);
  ASSERT_NO_FATAL_FAILURE(ExpectAllReadable());
}

// The snapshots that own the whole node and those that many others are built on.
TEST_F(ChangedRegionsTest, WhatOthersAreBuiltOnStaysWhenItsSnapshotGoes) {
  TakeSnapshots(20);
  for (const char* name : {"s000", "s008", "s004", "s016"}) {
    ASSERT_NO_FATAL_FAILURE(Remove(name));
    EXPECT_GT(Collect().freed_bytes, 0u) << name;
    ASSERT_NO_FATAL_FAILURE(ExpectAllReadable());
  }
  TakeSnapshots(5);
  ASSERT_NO_FATAL_FAILURE(ExpectAllReadable());
  ExpectSound();
}

TEST_F(ChangedRegionsTest, WhatOnlyWhatWentWasBuiltOnGoesToo) {
  TakeSnapshots(6);
  std::set<SlotLocation> needed;
  for (const auto& [name, map] : AllMaps()) {
    if (name == "s001" || name == "s003" || name == "s005") continue;
    needed.insert(map.location);
    for (const SlotLocation& base : BasesOf(map)) needed.insert(base);
  }
  for (const char* name : {"s001", "s003", "s005"}) ASSERT_NO_FATAL_FAILURE(Remove(name));
  Seal(a_);  // the head's own base
  const auto before = SlotsOfKind(FrameKindOf(RecordKind::kMapNode));
  Collect();
  const auto after = SlotsOfKind(FrameKindOf(RecordKind::kMapNode));
  EXPECT_LT(after.size(), before.size());
  const std::set<SlotLocation> left(after.begin(), after.end());
  EXPECT_TRUE(std::includes(left.begin(), left.end(), needed.begin(), needed.end()));
  ASSERT_NO_FATAL_FAILURE(ExpectAllReadable());
}

TEST_F(ChangedRegionsTest, RandomHistoriesOutliveTheirCollections) {
  std::mt19937_64 random(DrawSeed());
  std::string clone_content;
  Id clone;
  for (int round = 0; round < 25; ++round) {
    TakeSnapshots(static_cast<int>(1 + random() % 6), random() % 2 == 0);
    if (round == 5) {
      clone_content = contents_.rbegin()->second;
      ASSERT_OK_AND_ASSIGN(clone,
                           store_->CloneVdi(a_, contents_.rbegin()->first, "clone", Attributes()));
      Seal(clone);
    }
    for (uint64_t n = random() % 5; n > 0 && !contents_.empty(); --n) {
      const std::string name =
          std::next(contents_.begin(), static_cast<std::ptrdiff_t>(random() % contents_.size()))
              ->first;
      ASSERT_NO_FATAL_FAILURE(Remove(name));
    }
    if (random() % 2 == 0) Reopen();
    Collect();
    ASSERT_NO_FATAL_FAILURE(ExpectAllReadable()) << round;
    if (!clone.IsNull()) {
      ASSERT_TRUE(Content(clone) == clone_content) << round;
    }
  }
  // The clone stands alone, on records of a VDI that is gone.
  ASSERT_OK(store_->RemoveVdi("a", /*with_snapshots=*/true));
  Collect();
  Reopen();
  EXPECT_TRUE(Content(clone) == clone_content);
  EXPECT_FALSE(DryScrub().IsDamaged());
}

// The new node is built on one that a removed snapshot owned, while a collector is anywhere.
TEST_F(ChangedRegionsTest, ASealBetweenAnyTwoCallsOfACollectionFindsWhatItBuildsOn) {
  TakeSnapshots(8);
  bool more = true;
  for (uint64_t n = 1; more; n += 1 + n / 16) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, 10'000u);
    TakeSnapshot();
    ASSERT_NO_FATAL_FAILURE(Remove(contents_.begin()->first));
    const std::unique_ptr<Store> other = OpenAs(2);
    std::atomic<uint64_t> calls{0};
    std::atomic<bool> done{false};
    fs_.SetObserver([&](Call call, const std::string&) {
      // Between these nothing happens that a seal could see, or that shows what it does.
      const bool counts = (IsStep(call) && call != Call::kWrite) || call == Call::kOpen ||
                          call == Call::kLock || call == Call::kList;
      if (done || !counts || ++calls != n) return;
      done = true;
      OnAnotherThread([&] { (void)other->SealVdi(a_, /*with_head=*/false); });
    });
    CollectOptions options;
    options.grace = std::chrono::milliseconds(0);
    options.patience = std::chrono::milliseconds(0);
    options.reserve_bytes = 0;
    options.min_live_percent = 100;
    (void)store_->Collect(options);  // or busy
    fs_.SetObserver(nullptr);
    more = done;
    Seal(a_, /*with_head=*/false);
    ASSERT_NO_FATAL_FAILURE(ExpectAllReadable());
  }
}

TEST_F(ChangedRegionsTest, WhatARemovalIsSaidToFreeIsFreed) {
  TakeSnapshots(12);
  Seal(a_);
  for (const char* name : {"s000", "s008", "s003", "s007", "s001"}) {
    SCOPED_TRACE(name);
    ASSERT_OK_AND_ASSIGN(const SpaceReport before, store_->MeasureSpace(/*of_each=*/true));
    ASSERT_EQ(before.vdis.size(), 1u);
    const auto& snapshots = before.vdis[0].snapshots;
    const auto found = std::find_if(snapshots.begin(), snapshots.end(),
                                    [&](const SnapshotSpace& s) { return s.name == name; });
    ASSERT_NE(found, snapshots.end());
    ASSERT_NO_FATAL_FAILURE(Remove(name));
    Collect();
    ASSERT_OK_AND_ASSIGN(const SpaceReport after, store_->MeasureSpace(/*of_each=*/true));
    EXPECT_EQ(before.unique_bytes - after.unique_bytes, found->freed_bytes);
    EXPECT_LE(after.map_bytes, before.map_bytes);
  }
}

// --- damage
// ----------------------------------------------------------------------------------------

TEST_F(ChangedRegionsTest, ADamagedRecordIsNamedWithAllSnapshotsThatAreBuiltOnIt) {
  TakeSnapshots(12);
  Seal(a_);
  const std::map<std::string, MapRoot> all = AllMaps();
  for (const char* owner : {"s000", "s004", "s006", "s007"}) {
    SCOPED_TRACE(owner);
    const MapRoot map = all.at(owner);
    const std::set<std::string> dependents = DependentsOf(map, all);
    DamageSlot(map.location);
    Reopen();
    const ScrubReport report = DryScrub();
    std::set<std::string> named;
    for (const DamagedRange& range : report.ranges) {
      EXPECT_EQ(range.vdi, a_);
      if (!range.snapshot.empty()) named.insert(range.snapshot);
      EXPECT_EQ(range.offset_bytes, 0u);
      EXPECT_EQ(range.length_bytes, kVdiBlocks * kBlockBytes);
    }
    EXPECT_EQ(named, dependents);
    ASSERT_EQ(report.slots.size(), 1u);
    EXPECT_TRUE(report.slots[0].are_records);
    EXPECT_EQ(report.slots[0].first, map.location.slot);
    for (const auto& [name, content] : contents_) {
      const auto image = store_->OpenSnapshot(a_, Record(a_, name).id);
      ASSERT_OK(image);
      std::string bytes(content.size(), '\0');
      const auto done = (*image)->Read(0, std::as_writable_bytes(std::span(bytes)));
      ASSERT_EQ(done.has_value(), dependents.count(name) == 0) << name;
      if (done) {
        EXPECT_TRUE(bytes == content) << name;
      }
    }
    DamageSlot(map.location);  // flips it back
  }
  ASSERT_NO_FATAL_FAILURE(ExpectAllReadable());
}

// Its own pack is sound: what is damaged lies in the pack of a snapshot that was not asked for.
TEST_F(ChangedRegionsTest, AScrubOfOneSnapshotLooksAtWhatItIsBuiltOn) {
  TakeSnapshots(8);
  const MapRoot base = MapOf("s004");
  const MapRoot built_on_it = MapOf("s005");
  ASSERT_NE(base.location.pack, built_on_it.location.pack);
  ScrubOptions options;
  options.vdi = a_;
  options.snapshot = Record(a_, "s005").id;
  DamageSlot(base.location);
  Reopen();
  ASSERT_OK_AND_ASSIGN(const ScrubReport report, store_->Scrub(options));
  ASSERT_EQ(report.slots.size(), 1u);
  EXPECT_EQ(report.slots[0].pack, base.location.pack);
  EXPECT_EQ(report.slots[0].first, base.location.slot);
  ASSERT_EQ(report.ranges.size(), 1u);
  EXPECT_EQ(report.ranges[0].snapshot, "s005");
  options.snapshot = Record(a_, "s003").id;
  ASSERT_OK_AND_ASSIGN(const ScrubReport other, store_->Scrub(options));
  EXPECT_FALSE(other.IsDamaged());
}

// --- rebuilding
// ------------------------------------------------------------------------------------

TEST_F(ChangedRegionsTest, AHistoryIsRebuiltFromItsPacks) {
  TakeSnapshots(20);
  for (const char* name : {"s000", "s008"}) ASSERT_NO_FATAL_FAILURE(Remove(name));
  Seal(a_);
  Collect();
  const Known known = Capture();
  LoseAllButPacks();
  RebuildAll();
  ExpectSame(known);
}

TEST_F(ChangedRegionsTest, OnlySnapshotsOfWhichEveryRecordIsThereAreRebuilt) {
  TakeSnapshots(12);
  Seal(a_);
  const std::map<std::string, MapRoot> all = AllMaps();
  const MapRoot map = all.at("s004");
  const std::set<std::string> dependents = DependentsOf(map, all);
  ASSERT_GT(dependents.size(), 3u);
  Known known = Capture();
  LoseAllButPacks();
  DamageSlot(map.location);
  const RebuildReport report = Rebuild();
  EXPECT_TRUE(report.IsDamaged());
  std::set<std::string> left_out;
  for (const LeftOut& left : report.left_out) {
    const size_t at = left.object.find('@');
    if (at != std::string::npos) left_out.insert(left.object.substr(at + 1));
  }
  EXPECT_EQ(left_out, dependents);
  Reopen();
  const Known found = Capture();
  ASSERT_EQ(found.count("a"), 1u);
  ASSERT_EQ(found.at("a").snapshots.size(), 12 - dependents.size());
  for (const KnownSnapshot& snapshot : found.at("a").snapshots) {
    EXPECT_EQ(dependents.count(snapshot.record.name), 0u);
    EXPECT_TRUE(snapshot.content == contents_.at(snapshot.record.name));
  }
}

}  // namespace
}  // namespace quoin

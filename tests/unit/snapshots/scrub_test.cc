// Damage to packs: what is read in spite of it, what is not, and what a scrub finds, names and mends.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>

#include "metadata/collector_lock.h"
#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {
namespace {

constexpr uint64_t kBlocks = 64;

class ScrubTest : public SealedWorld {
 protected:
  // a: two snapshots over one map each, that share all but the last eight blocks.
  void SetUp() override {
    SealedWorld::SetUp();
    spdlog::set_level(spdlog::level::off);  // damage is told of in the log, over and over
    content_ = PatternOf(1, kBlocks * kBlockBytes);
    a_ = CreateWith("a", content_);
    Snapshot("a", "monday");
    WriteBlocks(a_, kBlocks - 8, PatternOf(2, 8 * kBlockBytes));
    Snapshot("a", "tuesday");
    Seal(a_);
    Reopen();
  }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }

  ScrubReport Scrub(ScrubOptions options = {}) {
    const Result<ScrubReport> report = store_->Scrub(options);
    EXPECT_OK(report);
    return report.value_or(ScrubReport());
  }
  ScrubReport DryScrub() {
    ScrubOptions options;
    options.dry_run = true;
    return Scrub(options);
  }

  // Where block `n` of the map under a snapshot lies.
  SlotLocation PlaceOf(uint64_t block) {
    for (const SlotLocation& at : SlotsOfKind(FrameKind::kBlocks)) {
      FrameCache cache(0);
      PackStore packs(fs_, layout_.Packs(), cache);
      std::string bytes(kBlockBytes, '\0');
      if (!packs.ReadBlocks(at, 1, 0, std::as_writable_bytes(std::span(bytes)))) continue;
      if (bytes == content_.substr(block * kBlockBytes, kBlockBytes)) return at;
    }
    ADD_FAILURE() << "block " << block << " is stored nowhere";
    return {};
  }

  // Blocks of the snapshot that cannot be read; those that can must be right.
  std::vector<uint64_t> UnreadableBlocks(const std::string& name, const std::string& content) {
    std::vector<uint64_t> unreadable;
    const Result<std::shared_ptr<Image>> image = store_->OpenSnapshot(a_, Record(a_, name).id);
    EXPECT_OK(image);
    if (!image) return unreadable;
    for (uint64_t block = 0; block < kBlocks; ++block) {
      std::string bytes(kBlockBytes, '\xee');
      const Result<size_t> done =
          (*image)->Read(block * kBlockBytes, std::as_writable_bytes(std::span(bytes)));
      if (!done) {
        EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
        unreadable.push_back(block);
      } else {
        EXPECT_TRUE(bytes == content.substr(block * kBlockBytes, kBlockBytes)) << block;
      }
    }
    return unreadable;
  }

  // The same content once more, stored by a host that does not know of the first.
  Id StoreCopy() {
    const Id copy = CreateWith("copy", content_);
    Seal(copy);
    return copy;
  }

  static bool Names(const ScrubReport& report, const Id& vdi, const std::string& snapshot,
                    uint64_t first_block, uint64_t blocks, bool mended) {
    return std::any_of(report.ranges.begin(), report.ranges.end(), [&](const DamagedRange& r) {
      return r.vdi == vdi && r.snapshot == snapshot && r.offset_bytes == first_block * kBlockBytes &&
             r.length_bytes == blocks * kBlockBytes && r.is_mended == mended;
    });
  }

  std::string content_;
  Id a_;
};

TEST_F(ScrubTest, WhatIsRightIsComparedAndNothingIsFound) {
  const ScrubReport report = Scrub();
  EXPECT_FALSE(report.IsDamaged());
  EXPECT_EQ(report.packs, Packs().size());
  EXPECT_EQ(report.blocks, kBlocks + 8);
  EXPECT_GT(report.frames, 0u);
  EXPECT_TRUE(report.slots.empty() && report.damaged_packs.empty() && report.ranges.empty());
}

TEST_F(ScrubTest, ADamagedBlockIsNamedWithAllThatShowItAndNothingElseIsHarmed) {
  const SlotLocation at = PlaceOf(5);
  ASSERT_EQ(OpenPack(at.pack)->frames()[*OpenPack(at.pack)->FrameOf(at.slot)].codec(),
            Compression::kNone);
  DamageSlot(at);
  EXPECT_EQ(UnreadableBlocks("monday", content_), std::vector<uint64_t>{5});
  const ScrubReport report = Scrub();
  EXPECT_TRUE(report.IsDamaged());
  ASSERT_EQ(report.slots.size(), 1u);
  EXPECT_EQ(report.slots[0].pack, at.pack);
  EXPECT_EQ(report.slots[0].first, at.slot);
  EXPECT_EQ(report.slots[0].count, 1u);
  EXPECT_FALSE(report.slots[0].is_mended);
  EXPECT_EQ(report.ranges.size(), 3u);
  for (const char* snapshot : {"", "monday", "tuesday"}) {
    EXPECT_TRUE(Names(report, a_, snapshot, 5, 1, false)) << snapshot;
  }
}

TEST_F(ScrubTest, OnlyTheSnapshotAskedForIsLookedAt) {
  DamageSlot(PlaceOf(kBlocks - 1));  // in monday alone
  ScrubOptions options;
  options.vdi = a_;
  options.snapshot = Record(a_, "tuesday").id;
  const ScrubReport tuesday = Scrub(options);
  EXPECT_FALSE(tuesday.IsDamaged());
  EXPECT_LE(tuesday.blocks, kBlocks + 8);
  options.snapshot = Record(a_, "monday").id;
  const ScrubReport monday = Scrub(options);
  EXPECT_TRUE(monday.IsDamaged());
  EXPECT_TRUE(Names(monday, a_, "monday", kBlocks - 1, 1, false));
  EXPECT_EQ(monday.ranges.size(), 1u);
  options.snapshot = Id::Random();
  EXPECT_ERROR(kNotFound, store_->Scrub(options));
  options = {};
  options.vdi = Id::Random();
  EXPECT_ERROR(kNotFound, store_->Scrub(options));
}

TEST_F(ScrubTest, ABlockIsReadFromItsCopyAndMended) {
  const SlotLocation at = PlaceOf(7);
  const Id copy = StoreCopy();
  DamageSlot(at);
  Reopen();
  EXPECT_TRUE(UnreadableBlocks("monday", content_).empty());
  EXPECT_TRUE(DryScrub().IsDamaged());
  EXPECT_TRUE(DryScrub().IsDamaged());  // nothing was mended
  const ScrubReport report = Scrub();
  EXPECT_FALSE(report.IsDamaged());
  ASSERT_EQ(report.slots.size(), 1u);
  EXPECT_TRUE(report.slots[0].is_mended);
  EXPECT_TRUE(Names(report, a_, "monday", 7, 1, true));
  const ScrubReport again = Scrub();
  EXPECT_FALSE(again.IsDamaged());
  EXPECT_TRUE(again.slots.empty());
  // It stands by itself.
  ASSERT_OK(store_->RemoveVdi("copy", true));
  CollectOptions options;
  options.grace = std::chrono::milliseconds(0);
  ASSERT_OK(store_->Collect(options));
  Reopen();
  EXPECT_TRUE(UnreadableBlocks("monday", content_).empty());
  (void)copy;
}

TEST_F(ScrubTest, OfTwoDamagedBlocksOfAFrameTheOneWithACopyIsReadAndTheFrameStaysDamaged) {
  const SlotLocation with_copy = PlaceOf(7);
  SlotLocation without = with_copy;
  without.slot += 1;
  // A copy of one of them only.
  const Id copy = CreateWith("copy", content_.substr(7 * kBlockBytes, kBlockBytes));
  Seal(copy);
  DamageSlot(with_copy);
  DamageSlot(without);
  Reopen();
  const ScrubReport report = Scrub();
  EXPECT_TRUE(report.IsDamaged());
  Reopen();
  EXPECT_EQ(UnreadableBlocks("monday", content_), std::vector<uint64_t>{8});
}

TEST_F(ScrubTest, DamagedTablesAreMended) {
  for (const Id& id : Packs()) {
    const uint64_t size = OpenPack(id)->file_bytes();
    FlipByte(PathOf(id), size - kPackTrailerBytes - 10);  // digests
    EXPECT_TRUE(DryScrub().IsDamaged());
    EXPECT_FALSE(Scrub().IsDamaged());
    FlipByte(PathOf(id), size - 20);  // trailer
    EXPECT_TRUE(DryScrub().IsDamaged());
    const ScrubReport report = Scrub();
    // Without its trailer it is not known whether all frames were found, so it is left alone.
    EXPECT_TRUE(report.IsDamaged());
    FlipByte(PathOf(id), size - 20);
    FlipByte(PathOf(id), 3);  // header
    EXPECT_TRUE(DryScrub().IsDamaged());
    EXPECT_FALSE(Scrub().IsDamaged());
    EXPECT_TRUE(DryScrub().damaged_packs.empty());
  }
  EXPECT_TRUE(UnreadableBlocks("monday", content_).empty());
}

TEST_F(ScrubTest, APackWithDamagedDigestsAndABlockWithoutACopyIsLeftAsItIs) {
  const SlotLocation at = PlaceOf(5);
  DamageSlot(at);
  const std::string path = PathOf(at.pack);
  const uint64_t digests_end = OpenPack(at.pack)->file_bytes() - kPackTrailerBytes;
  FlipByte(path, digests_end - 10);
  EXPECT_TRUE(Scrub().IsDamaged());
  FlipByte(path, digests_end - 10);  // as by somebody who knew better
  const ScrubReport report = Scrub();
  ASSERT_EQ(report.slots.size(), 1u);
  EXPECT_EQ(report.slots[0].count, 1u) << "only its digest can tell it from its neighbours";
  EXPECT_TRUE(report.damaged_packs.empty());
}

TEST_F(ScrubTest, AMissingPackAndADamagedNodeAreNamedWithWhatIsBehindThem) {
  const std::vector<SlotLocation> nodes = SlotsOfKind(FrameKindOf(RecordKind::kMapNode));
  ASSERT_FALSE(nodes.empty());
  for (const SlotLocation& node : nodes) DamageSlot(node);
  Reopen();
  const ScrubReport damaged = Scrub();
  EXPECT_TRUE(damaged.IsDamaged());
  EXPECT_TRUE(std::any_of(damaged.slots.begin(), damaged.slots.end(),
                          [](const DamagedSlots& s) { return s.are_records && !s.is_mended; }));
  EXPECT_TRUE(Names(damaged, a_, "monday", 0, kBlocks, false));
  for (const Id& id : Packs()) ASSERT_OK(fs_.Remove(PathOf(id)));
  Reopen();
  const ScrubReport missing = Scrub();
  EXPECT_TRUE(missing.IsDamaged());
  EXPECT_TRUE(Names(missing, a_, "tuesday", 0, kBlocks, false));
}

TEST_F(ScrubTest, APackThatIsCutShortOrForeignIsDamagedAndTheScrubGoesOn) {
  const Id copy = StoreCopy();
  Reopen();
  const Id pack = PlaceOf(kBlocks - 1).pack;
  CutShort(PathOf(pack), 10);
  const ScrubReport cut = Scrub();
  ASSERT_EQ(cut.damaged_packs.size(), 1u);
  EXPECT_EQ(cut.damaged_packs[0].pack, pack);
  EXPECT_FALSE(cut.damaged_packs[0].is_mended);
  EXPECT_EQ(cut.packs, Packs().size());
  EXPECT_FALSE(cut.ranges.empty());
  (void)copy;
}

TEST_F(ScrubTest, NothingIsMendedWhileACollectorIsAtWork) {
  const SlotLocation at = PlaceOf(7);
  StoreCopy();
  DamageSlot(at);
  const auto collecting = CollectorLock::Acquire(fs_, layout_, TestHost(2));
  ASSERT_OK(collecting);
  const ScrubReport report = Scrub();
  EXPECT_TRUE(report.IsDamaged());
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("mended"), std::string::npos);
}

TEST_F(ScrubTest, AStopOrAFullStoreDuringMendingLeavesThePackAsItWasOrMended) {
  const SlotLocation at = PlaceOf(7);
  StoreCopy();
  DamageSlot(at);
  bool mended = false;
  for (uint64_t step = 1; !mended; ++step) {
    ASSERT_LT(step, 200u);
    SCOPED_TRACE(step);
    fs_.FailAfter(step, step % 2 == 0 ? FaultMode::kErrors : FaultMode::kErrorOnce,
                  ErrorCode::kNoSpace);
    const Result<ScrubReport> report = store_->Scrub({});
    fs_.ClearFaults();
    Reopen();
    EXPECT_TRUE(UnreadableBlocks("monday", content_).empty());
    mended = !DryScrub().IsDamaged();
  }
  ExpectSound();
}

// Whatever bit goes, wherever in a pack: what is read is right or an error, and a scrub sees it.
TEST_F(ScrubTest, AFlippedBitAnywhereIsNeverReadAsContent) {
  for (const Id& id : Packs()) {
    const uint64_t size = OpenPack(id)->file_bytes();
    const uint64_t stride = std::max<uint64_t>(1, size / 150) | 1;
    for (uint64_t at = 0; at < size; at += at < kPackHeaderBytes || at + 200 > size ? 3 : stride) {
      SCOPED_TRACE(at);
      FlipByte(PathOf(id), at);
      Reopen();
      const Result<std::shared_ptr<Image>> image =
          store_->OpenSnapshot(a_, Record(a_, "monday").id);
      if (image) UnreadableBlocks("monday", content_);
      EXPECT_TRUE(DryScrub().IsDamaged());
      FlipByte(PathOf(id), at);
    }
  }
  Reopen();
  EXPECT_TRUE(UnreadableBlocks("monday", content_).empty());
}

}  // namespace
}  // namespace quoin

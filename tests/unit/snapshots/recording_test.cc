// Root records: everything that is sealed is recorded in the packs, once, and as long as it is
// there.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "metadata/published.h"
#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {
namespace {

constexpr uint64_t kBlocks = 24;
const std::string kContent = PatternOf(3, kBlocks* kBlockBytes);

class RecordingTest : public SealedWorld {
 protected:
  CollectReport Collect() {
    CollectOptions options;
    options.grace = std::chrono::milliseconds(0);
    options.patience = std::chrono::milliseconds(0);
    options.reserve_bytes = 0;
    options.min_live_percent = 100;
    const Result<CollectReport> report = store_->Collect(options);
    EXPECT_OK(report);
    return report.value_or(CollectReport());
  }

  MapRoot MapOf(const Id& vdi, uint32_t layer_seq) {
    const Result<VdiState> state = ReadPublished(fs_, layout_.Vdi(vdi));
    EXPECT_OK(state);
    for (const LayerRecord& layer : state ? state->layers : std::vector<LayerRecord>()) {
      if (layer.seq == layer_seq) return layer.map;
    }
    return {};
  }

  // A seal, even by another process, finds nothing more to record.
  void ExpectAllRecorded(const Id& vdi) {
    const size_t packs = Packs().size();
    for (int round = 0; round < 2; ++round) {
      Seal(vdi);
      EXPECT_EQ(Packs().size(), packs);
      Reopen();
    }
  }
};

TEST_F(RecordingTest, ASnapshotIsRecordedWithTheLayerThatItShows) {
  const Id a = CreateWith("a", kContent);
  const Id s = Snapshot("a", "s");
  Seal(a, false);
  ASSERT_EQ(RootRecords().size(), 2u) << "one says that the VDI stands on it too";
  EXPECT_EQ(RootRecordsOf(a, Id()).size(), 1u);
  ASSERT_EQ(RootRecordsOf(a, s).size(), 1u);
  const RootRecord record = RootRecordsOf(a, s).front();
  const SnapshotRecord snapshot = Record(a, "s");
  EXPECT_EQ(record.vdi, a);
  EXPECT_EQ(record.vdi_name, "a");
  EXPECT_EQ(record.snapshot_name, "s");
  EXPECT_EQ(record.ordinal, snapshot.ordinal);
  EXPECT_EQ(record.created_ns, snapshot.created_ns);
  EXPECT_EQ(record.size_bytes, kContent.size());
  EXPECT_EQ(record.map, MapOf(a, snapshot.layer_seq));
  ExpectAllRecorded(a);
}

TEST_F(RecordingTest, ASnapshotOfASealedVdiIsRecordedByTheNextSeal) {
  const Id a = CreateWith("a", kContent);
  Seal(a);
  EXPECT_EQ(RootRecordsOf(a, Id()).size(), 1u) << "what the VDI stands on";
  const Id s = Snapshot("a", "s");
  EXPECT_EQ(RootRecordsOf(a, s).size(), 0u);
  Seal(a);
  ASSERT_EQ(RootRecordsOf(a, s).size(), 1u);
  EXPECT_EQ(RootRecordsOf(a, s)[0].map, RootRecordsOf(a, Id())[0].map);
  ExpectAllRecorded(a);
  EXPECT_TRUE(SnapshotContent(a, s) == kContent);
  ExpectSound();
}

TEST_F(RecordingTest, ASnapshotInWhichNothingWasEverWrittenIsRecordedToo) {
  const Id a = Create("a", kBlocks);
  const Id s = Snapshot("a", "s");
  Seal(a);
  ASSERT_EQ(RootRecordsOf(a, s).size(), 1u);
  EXPECT_TRUE(RootRecordsOf(a, s)[0].map.IsEmpty());
  ExpectAllRecorded(a);
}

TEST_F(RecordingTest, WhatACloneStandsOnIsRecordedAsItsOwn) {
  const Id a = CreateWith("a", kContent);
  Snapshot("a", "s");
  Seal(a);
  ASSERT_OK_AND_ASSIGN(const Id clone, store_->CloneVdi(a, "s", "lab", Attributes()));
  ASSERT_OK(store_->RemoveVdi("a", true));
  Seal(clone);
  ASSERT_EQ(RootRecordsOf(clone, Id()).size(), 1u);
  EXPECT_EQ(RootRecordsOf(clone, Id())[0].vdi_name, "lab");
  ExpectAllRecorded(clone);
  EXPECT_TRUE(Content(clone) == kContent);
  ExpectSound();
}

TEST_F(RecordingTest, ACloneOfAnImportedVdiIsNotTakenForRecorded) {
  ASSERT_OK_AND_ASSIGN(const Id a, Import("a", kContent));
  Snapshot("a", "s");
  ASSERT_OK_AND_ASSIGN(const Id clone, store_->CloneVdi(a, "s", "b", Attributes()));
  EXPECT_EQ(RootRecordsOf(clone, Id()).size(), 0u);
  Seal(clone);
  EXPECT_EQ(RootRecordsOf(clone, Id()).size(), 1u);
}

TEST_F(RecordingTest, AnImportIsRecordedFromTheBeginning) {
  ASSERT_OK_AND_ASSIGN(const Id a, Import("a", kContent, 1 << 20));
  ASSERT_EQ(RootRecordsOf(a, Id()).size(), 1u);
  EXPECT_EQ(RootRecordsOf(a, Id())[0].vdi_name, "a");
  EXPECT_EQ(RootRecordsOf(a, Id())[0].size_bytes, uint64_t{1} << 20);
  EXPECT_EQ(Packs().size(), 1u);
  ExpectAllRecorded(a);
}

TEST_F(RecordingTest, WhatTheVdiStandsOnIsRecordedLaterThanItsNewestSnapshot) {
  const Id a = CreateWith("a", kContent);
  Snapshot("a", "s");
  Seal(a);
  ASSERT_EQ(RootRecordsOf(a, Id()).size(), 1u);
  EXPECT_GT(RootRecordsOf(a, Id())[0].created_ns, Record(a, "s").created_ns);
  EXPECT_EQ(RootRecordsOf(a, Id())[0].map, MapOf(a, Record(a, "s").layer_seq));
}

TEST_F(RecordingTest, AfterARollBackTheRecordSaysWhereTo) {
  const Id a = CreateWith("a", kContent);
  Snapshot("a", "s");
  WriteBlocks(a, 0, PatternOf(9, kBlockBytes));
  Snapshot("a", "t");
  Seal(a);
  for (const char* target : {"s", "t", "s"}) {
    ASSERT_OK_AND_ASSIGN(const std::string safety, store_->Rollback(a, target));
    Seal(a);
    std::vector<RootRecord> bases = RootRecordsOf(a, Id());
    const auto last =
        std::max_element(bases.begin(), bases.end(),
                         [](const auto& x, const auto& y) { return x.created_ns < y.created_ns; });
    ASSERT_NE(last, bases.end());
    EXPECT_EQ(last->map, MapOf(a, Record(a, target).layer_seq));
    EXPECT_GT(last->created_ns, Record(a, safety).created_ns);
    ExpectAllRecorded(a);
  }
}

TEST_F(RecordingTest, ARecordHasTheNameThatAnotherHostGave) {
  const Id a = CreateWith("a", kContent);
  {
    const std::unique_ptr<Store> other = OpenAs(2);
    ASSERT_OK(other->Rename("a", "b"));
  }
  Seal(a);
  ASSERT_EQ(RootRecordsOf(a, Id()).size(), 1u);
  EXPECT_EQ(RootRecordsOf(a, Id())[0].vdi_name, "b");
}

TEST_F(RecordingTest, ASnapshotTakenWhileItsLayerIsSealedIsRecordedNext) {
  const Id a = CreateWith("a", kContent);
  Within(
      Call::kLink, "/packs/", [&] { EXPECT_OK(store_->SealVdi(a, true)); },
      [&] { Snapshot("a", "s"); });
  EXPECT_EQ(RootRecordsOf(a, Record(a, "s").id).size(), 1u);
  ExpectAllRecorded(a);
}

TEST_F(RecordingTest, AFullStoreRecordsWhenThereIsRoom) {
  const Id a = CreateWith("a", kContent);
  Seal(a);
  const Id s = Snapshot("a", "s");
  bool done = false;
  for (uint64_t room = 0; !done && room < 1 << 20; room += 4 << 10) {
    SCOPED_TRACE(room);
    fs_.SetCapacity(fs_.used_bytes() + room);
    const Result<SealCounts> sealed = store_->SealVdi(a, false);
    done = sealed.has_value();
    if (!done) {
      EXPECT_ERROR(kNoSpace, sealed);
    }
    fs_.SetCapacity(~uint64_t{0});
    Reopen();
    ASSERT_TRUE(SnapshotContent(a, s) == kContent);
    ASSERT_OK(OpenVdi(a).Close());
    ExpectSound();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_TRUE(done);
  EXPECT_GE(RootRecordsOf(a, s).size(), 1u);
  ExpectAllRecorded(a);
}

TEST_F(RecordingTest, TheBackgroundRecordsSnapshotsAndClonesOfWhatIsSealed) {
  ASSERT_OK_AND_ASSIGN(const Id a, Import("a", kContent));
  StoreOptions options = TestOptions();
  options.seals_in_background = true;
  options.seal_delay = options.record_delay = std::chrono::milliseconds(0);
  store_.reset();
  ASSERT_OK_AND_ASSIGN(store_, Store::Open(fs_, "/store", TestHost(1), options));
  const Id s = Snapshot("a", "s");
  ASSERT_OK_AND_ASSIGN(const Id clone, store_->CloneVdi(a, "s", "b", Attributes()));
  const auto both = [&] {
    return !RootRecordsOf(a, s).empty() && !RootRecordsOf(clone, Id()).empty();
  };
  for (int n = 0; n < 1000 && !both(); ++n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(both());
}

// --- how long they stay
// ---------------------------------------------------------------------------

TEST_F(RecordingTest, ACollectorKeepsTheRecordsOfWhatIsThereAndNoOthers) {
  const Id a = CreateWith("a", kContent);
  Seal(a);
  const Id s = Snapshot("a", "s");
  Seal(a);
  ASSERT_OK_AND_ASSIGN(const Id clone, store_->CloneVdi(a, "s", "b", Attributes()));
  Seal(clone);
  ASSERT_OK(Import("c", PatternOf(4, kBlockBytes)));
  EXPECT_EQ(Collect().garbage_bytes, 0u);
  EXPECT_EQ(RootRecords().size(), 4u);

  ASSERT_OK(store_->RemoveSnapshot(a, "s"));
  EXPECT_GT(Collect().garbage_bytes, 0u);
  EXPECT_EQ(RootRecordsOf(a, s).size(), 0u);
  EXPECT_EQ(RootRecordsOf(a, Id()).size(), 1u) << "the VDI still stands on it";

  WriteBlocks(a, 0, PatternOf(9, kContent.size()));
  Seal(a);
  const MapRoot map = RootRecordsOf(clone, Id())[0].map;
  Collect();
  ASSERT_EQ(RootRecordsOf(a, Id()).size(), 1u);
  EXPECT_NE(RootRecordsOf(a, Id())[0].map, map) << "that is the clone's alone now";

  ASSERT_OK(store_->RemoveVdi("b", false));
  ASSERT_OK(store_->RemoveVdi("c", false));
  Collect();
  EXPECT_EQ(RootRecords().size(), 1u);
  ExpectAllRecorded(a);
  ExpectSound();
}

// A seal whose commit did not come left a record of a map that nobody refers to; the snapshot has
// another one, of the map that it is read by.
TEST_F(RecordingTest, ARecordOfAMapThatNeverCountedGoes) {
  const Id a = CreateWith("a", kContent);
  const Id s = Snapshot("a", "s");
  fs_.Plan({1, FaultMode::kErrors, ErrorCode::kIo, Call::kRename, "/gc/pins/"});
  EXPECT_FALSE(store_->SealVdi(a, false));
  fs_.ClearFaults();
  Reopen();
  Seal(a, false);
  EXPECT_EQ(RootRecordsOf(a, s).size(), 2u);
  Collect();
  Collect();
  ASSERT_EQ(RootRecordsOf(a, s).size(), 1u);
  EXPECT_EQ(RootRecordsOf(a, s)[0].map, MapOf(a, Record(a, "s").layer_seq));
  EXPECT_TRUE(SnapshotContent(a, s) == kContent);
}

}  // namespace
}  // namespace quoin

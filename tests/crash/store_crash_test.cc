// Stops the machine at every durable step of every operation, and opens the store again: what was
// flushed is there, snapshots are whole or absent, names lead to VDIs, nothing leaks.
//
// Each scenario has a set-up, an operation, and what may be true after a crash within it. The
// operation is run with a stop at its first step, its second, and so on until it ends by itself; each
// stop is tried with everything unsynced lost, with a random part of it lost (by seed), and as the
// mere death of the process.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "blockstore/packs/pack_store.h"
#include "metadata/store_layout.h"
#include "metadata/superblock.h"
#include "snapshots/root_record.h"
#include "snapshots/store_check.h"
#include "tests/support/reference_disk.h"
#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"
#include "tests/support/store_fixture.h"

namespace quoin {
namespace {

constexpr uint64_t kSize = 32 * kBlockBytes;

std::vector<std::byte> Pattern(uint8_t seed, uint64_t length) {
  std::vector<std::byte> bytes(length);
  for (uint64_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(seed + i / 512 * 7 + i);
  return bytes;
}

// A small world around one store, with calls that fail the test only where the machine still runs.
class World {
 public:
  World() {
    EXPECT_OK(fs.MakeDirectory("/store"));
    EXPECT_OK(fs.SyncDirectory("/"));
    EXPECT_OK(InitialiseStore(fs, "/store", "lz4"));
    Open();
  }

  void Open(uint8_t host = 1) {
    handle = VdiHandle();
    store.reset();
    Result<std::unique_ptr<Store>> opened = OpenTestStore(fs, host);
    ASSERT_OK(opened);
    store = std::move(*opened);
  }

  // Everything of the process goes without a word, then the machine or only the process is gone.
  void Crash(CrashMode mode, uint64_t seed) {
    fs.FailAfter(1, FaultMode::kCrash);
    // Destructors run, but nothing that they do reaches the disk.
    handle = VdiHandle();
    store.reset();
    fs.Crash(mode, seed);
  }

  Id IdOf(const std::string& name) {
    const Result<NameFacts> facts = store->Lookup(name);
    return facts ? facts->vdi : Id();
  }

  Status OpenHandle(const std::string& name) {
    QUOIN_ASSIGN(handle, store->OpenVdi(IdOf(name), Access::kReadWrite));
    return {};
  }

  static std::vector<std::byte> ReadAll(Image& image) {
    std::vector<std::byte> bytes(image.size_bytes());
    const Result<size_t> n = image.Read(0, bytes);
    EXPECT_OK(n);
    return bytes;
  }

  std::vector<std::byte> ContentOf(const std::string& name) {
    Result<VdiHandle> reader = store->OpenVdi(IdOf(name), Access::kRead);
    EXPECT_OK(reader);
    return reader ? ReadAll(**reader) : std::vector<std::byte>();
  }

  std::vector<std::byte> SnapshotContent(const std::string& vdi, const std::string& name) {
    const Result<SnapshotRecord> record = store->FindSnapshot(IdOf(vdi), name);
    EXPECT_OK(record);
    if (!record) return {};
    const Result<std::shared_ptr<Image>> image = store->OpenSnapshot(IdOf(vdi), record->id);
    EXPECT_OK(image);
    return image ? ReadAll(**image) : std::vector<std::byte>();
  }

  bool HasSnapshot(const std::string& vdi, const std::string& name) {
    const Result<SnapshotRecord> record = store->FindSnapshot(IdOf(vdi), name);
    return record.has_value();
  }

  // How many the packs hold of the snapshot.
  uint64_t RootRecordsOf(const std::string& vdi, const std::string& snapshot) {
    const Result<SnapshotRecord> of = store->FindSnapshot(IdOf(vdi), snapshot);
    EXPECT_OK(of);
    FrameCache frames(0);
    PackStore packs(fs, StoreLayout("/store").Packs(), frames);
    const Result<std::vector<Id>> all = packs.List();
    EXPECT_OK(all);
    uint64_t count = 0;
    for (const Id& id : all ? *all : std::vector<Id>()) {
      const Result<std::shared_ptr<const Pack>> pack = packs.Get(id);
      EXPECT_OK(pack);
      for (const FrameEntry& frame : (*pack)->frames()) {
        if (frame.kind() != FrameKindOf(RecordKind::kRoot)) continue;
        const auto bytes = packs.ReadRecord(RecordKind::kRoot, {id, frame.first_slot()});
        EXPECT_OK(bytes);
        const Result<RootRecord> record = DecodeRootRecord(bytes ? **bytes : "");
        EXPECT_OK(record);
        count += record && of && record->snapshot == of->id ? 1 : 0;
      }
    }
    return count;
  }

  std::set<std::string> NamesOfAll() {
    std::set<std::string> names;
    const Result<std::vector<NamedVdi>> all = store->ListAll("");
    EXPECT_OK(all);
    if (all) {
      for (const NamedVdi& vdi : *all) names.insert(vdi.name);
    }
    return names;
  }

  // Every invariant holds, and once all VDIs have been recovered nothing is left over: no file that
  // no row names, no unfinished folder, no temporary.
  void ExpectSound() {
    for (const std::string& name : NamesOfAll()) {
      Result<VdiHandle> owner = store->OpenVdi(IdOf(name), Access::kReadWrite);
      ASSERT_OK(owner) << name;
      ASSERT_OK(owner->Close()) << name;
    }
    store.reset();
    Open();
    ASSERT_OK(fs.MakeDirectory("/scratch"));
    const Result<CheckReport> report = StoreCheck(fs, "/store", fs, "/scratch").Run();
    ASSERT_OK(report);
    for (const Finding& finding : report->findings) {
      ADD_FAILURE() << finding.object << ": " << finding.what;
    }
    ExpectEmpty("/store/groups");
    const Result<std::vector<DirectoryEntry>> vdis = fs.List("/store/vdis");
    ASSERT_OK(vdis);
    EXPECT_EQ(vdis->size(), NamesOfAll().size()) << "a VDI's folder is left over";
    const Result<std::vector<DirectoryEntry>> temporaries = fs.List("/store/tmp");
    ASSERT_OK(temporaries);
    EXPECT_EQ(temporaries->size(), 1u) << "temporaries of a dead session are left over";
    store.reset();
    EXPECT_EQ(fs.open_handles(), 0u);
  }

  void ExpectEmpty(const std::string& folder) {
    const Result<std::vector<DirectoryEntry>> entries = fs.List(folder);
    ASSERT_OK(entries);
    EXPECT_TRUE(entries->empty()) << folder << " holds " << entries->size() << " files";
  }

  SimulatedFileSystem fs;
  std::unique_ptr<Store> store;
  VdiHandle handle;
};

struct Scenario {
  std::string name;
  std::function<void(World&)> set_up;
  std::function<Status(World&)> operation;
  // `done`: the operation returned success before the machine stopped.
  std::function<void(World&, bool done)> verify;
};

void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

class StoreCrashTest : public ::testing::TestWithParam<Scenario> {};

TEST_P(StoreCrashTest, EveryDurableStep) {
  const Scenario& scenario = GetParam();
  const uint64_t seed = DrawSeed();
  static constexpr CrashMode kModes[] = {CrashMode::kLoseAll, CrashMode::kRandom,
                                         CrashMode::kProcessOnly};
  for (const CrashMode mode : kModes) {
    bool completed = false;
    for (uint64_t step = 1; !completed; ++step) {
      SCOPED_TRACE("stopped at step " + std::to_string(step) + ", mode " +
                   std::to_string(static_cast<int>(mode)));
      ASSERT_LT(step, 1000u) << "the operation does not end";
      World world;
      scenario.set_up(world);
      ASSERT_FALSE(::testing::Test::HasFailure()) << "the set-up failed";
      world.fs.FailAfter(step, FaultMode::kCrash);
      const bool done = scenario.operation(world).has_value();
      completed = !world.fs.stopped();
      if (completed) {
        EXPECT_TRUE(done) << "the operation failed by itself";
      }
      world.Crash(mode, seed + step);
      world.Open();
      ASSERT_NE(world.store, nullptr);
      scenario.verify(world, done);
      if (world.store != nullptr) world.ExpectSound();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Each step fails in turn, once or with all that follow, as a broken or a full disk. The process goes
// on: what it shows then, what it shows once all is closed and opened again, and what a crash leaves
// after that is as sound as after a crash in the middle.
TEST_P(StoreCrashTest, EveryErrorOfTheStorage) {
  const Scenario& scenario = GetParam();
  for (const FaultMode mode : {FaultMode::kErrorOnce, FaultMode::kErrors}) {
    for (const ErrorCode code : {ErrorCode::kIo, ErrorCode::kNoSpace}) {
      bool completed = false;
      for (uint64_t step = 1; !completed; ++step) {
        SCOPED_TRACE("step " + std::to_string(step) + " failed " +
                     (mode == FaultMode::kErrors ? "with all that follow" : "once") + ": " +
                     std::string(ToWord(code)));
        ASSERT_LT(step, 1000u) << "the operation does not end";
        World world;
        scenario.set_up(world);
        ASSERT_FALSE(::testing::Test::HasFailure()) << "the set-up failed";
        const uint64_t steps_before = world.fs.steps();
        world.fs.FailAfter(step, mode, code);
        const bool done = scenario.operation(world).has_value();
        completed = world.fs.steps() < steps_before + step;
        world.fs.ClearFaults();
        // Where nothing could be undone either, things are put right by whoever opens the store next.
        if (mode == FaultMode::kErrorOnce || done) {
          SCOPED_TRACE("in the same process");
          scenario.verify(world, done);
        }
        if (::testing::Test::HasFailure()) return;
        if (step % 2 == 0) {
          SCOPED_TRACE("after a crash");
          world.Crash(CrashMode::kLoseAll, 0);
          world.Open();
          ASSERT_NE(world.store, nullptr);
          scenario.verify(world, done);
        } else {
          SCOPED_TRACE("opened again");
          world.Open();
          ASSERT_NE(world.store, nullptr);
          scenario.verify(world, done);
        }
        if (world.store != nullptr) world.ExpectSound();
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

// --- scenarios --------------------------------------------------------------------------------

const std::vector<std::byte> kOld = Pattern(1, kSize);
const std::vector<std::byte> kNew = Pattern(99, kSize);
const std::vector<std::byte> kZeros(kSize);

void MakeWritten(World& world, const std::string& name, const std::vector<std::byte>& content) {
  ASSERT_OK(world.store->CreateVdi(name, kSize, {}));
  ASSERT_OK(world.OpenHandle(name));
  ASSERT_OK(world.handle->Write(0, content));
  ASSERT_OK(world.handle->Flush());
}

CollectOptions CollectAll() {
  CollectOptions options;
  options.grace = std::chrono::milliseconds(0);
  options.patience = std::chrono::milliseconds(0);
  options.reserve_bytes = 4 * kBlockBytes;
  options.min_live_percent = 100;
  return options;
}

// Each sector is the old or the new one; each whole block too where the head did not own it.
void ExpectOldOrNew(const std::vector<std::byte>& got, const std::vector<std::byte>& old_bytes,
                    const std::vector<std::byte>& new_bytes, uint64_t unit) {
  ASSERT_EQ(got.size(), old_bytes.size());
  for (uint64_t at = 0; at < got.size(); at += unit) {
    const auto equals = [&](const std::vector<std::byte>& other) {
      return std::equal(got.begin() + static_cast<std::ptrdiff_t>(at),
                        got.begin() + static_cast<std::ptrdiff_t>(at + unit),
                        other.begin() + static_cast<std::ptrdiff_t>(at));
    };
    ASSERT_TRUE(equals(old_bytes) || equals(new_bytes)) << "foreign bytes at " << at;
  }
}

std::vector<Scenario> Scenarios() {
  std::vector<Scenario> all;
  all.push_back({"FirstWriteAndFlush",
                 [](World& w) {
                   ASSERT_OK(w.store->CreateVdi("a", kSize, {}));
                   ASSERT_OK(w.OpenHandle("a"));
                 },
                 [](World& w) -> Status {
                   QUOIN_TRY(w.handle->Write(0, kNew));
                   return w.handle->Flush();
                 },
                 [](World& w, bool done) {
                   const auto got = w.ContentOf("a");
                   if (done) {
                     EXPECT_EQ(got, kNew);
                   } else {
                     ExpectOldOrNew(got, kZeros, kNew, kBlockBytes);
                   }
                 }});
  all.push_back({"WriteOverSnapshotAndFlush",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                 },
                 [](World& w) -> Status {
                   for (uint64_t at = 0; at < kSize; at += 3 * kBlockBytes) {
                     QUOIN_TRY(w.handle->Write(at, std::span(kNew).subspan(at, 700)));
                   }
                   return w.handle->Flush();
                 },
                 [](World& w, bool done) {
                   std::vector<std::byte> expected = kOld;
                   for (uint64_t at = 0; at < kSize; at += 3 * kBlockBytes) {
                     std::copy_n(kNew.begin() + static_cast<std::ptrdiff_t>(at), 700,
                                 expected.begin() + static_cast<std::ptrdiff_t>(at));
                   }
                   const auto got = w.ContentOf("a");
                   if (done) {
                     EXPECT_EQ(got, expected);
                   } else {
                     ExpectOldOrNew(got, kOld, expected, kBlockBytes);
                   }
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                 }});
  all.push_back({"RewriteAndFlush",
                 [](World& w) { MakeWritten(w, "a", kOld); },
                 [](World& w) -> Status {
                   QUOIN_TRY(w.handle->Write(0, kNew));
                   return w.handle->Flush();
                 },
                 [](World& w, bool done) {
                   const auto got = w.ContentOf("a");
                   if (done) {
                     EXPECT_EQ(got, kNew);
                   } else {
                     ExpectOldOrNew(got, kOld, kNew, kSectorBytes);
                   }
                 }});
  all.push_back({"DiscardAndFlush",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle->Write(0, std::span(kNew).first(kSize / 2)));
                   ASSERT_OK(w.handle->Flush());
                 },
                 [](World& w) -> Status {
                   QUOIN_TRY(w.handle->Zero(0, kSize));
                   return w.handle->Flush();
                 },
                 [](World& w, bool done) {
                   std::vector<std::byte> before = kOld;
                   std::copy_n(kNew.begin(), kSize / 2, before.begin());
                   const auto got = w.ContentOf("a");
                   if (done) {
                     EXPECT_EQ(got, kZeros);
                   } else {
                     ExpectOldOrNew(got, before, kZeros, kSectorBytes);
                   }
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                 }});
  all.push_back({"Snapshot",
                 [](World& w) { MakeWritten(w, "a", kOld); },
                 [](World& w) { return w.store->CreateSnapshots({{"a", "s"}}); },
                 [](World& w, bool done) {
                   EXPECT_EQ(w.ContentOf("a"), kOld);
                   if (done) {
                     EXPECT_TRUE(w.HasSnapshot("a", "s"));
                   }
                   if (w.HasSnapshot("a", "s")) {
                     EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                   }
                 }});
  all.push_back({"SnapshotWriteAndFinish",
                 [](World& w) { MakeWritten(w, "a", kOld); },
                 [](World& w) -> Status {
                   QUOIN_TRY(w.store->CreateSnapshots({{"a", "s"}}));
                   QUOIN_TRY(w.handle->Write(0, kNew));
                   return w.handle.Close();
                 },
                 [](World& w, bool done) {
                   const auto got = w.ContentOf("a");
                   if (done) {
                     EXPECT_EQ(got, kNew);
                   } else {
                     ExpectOldOrNew(got, kOld, kNew, kBlockBytes);
                   }
                   if (w.HasSnapshot("a", "s")) {
                     EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                   }
                 }});
  all.push_back({"SnapshotOfSeveral",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   MakeWritten(w, "b", kNew);
                   ASSERT_OK(w.store->CreateVdi("c", kSize, {}));
                 },
                 [](World& w) {
                   return w.store->CreateSnapshots({{"a", "s"}, {"b", "s"}, {"c", "s"}});
                 },
                 [](World& w, bool done) {
                   const bool taken = w.HasSnapshot("a", "s");
                   EXPECT_EQ(w.HasSnapshot("b", "s"), taken);
                   EXPECT_EQ(w.HasSnapshot("c", "s"), taken);
                   if (done) {
                     EXPECT_TRUE(taken);
                   }
                   if (!taken) return;
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                   EXPECT_EQ(w.SnapshotContent("b", "s"), kNew);
                   EXPECT_EQ(w.SnapshotContent("c", "s"), kZeros);
                 }});
  all.push_back({"Clone",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle->Write(0, kNew));
                   ASSERT_OK(w.handle.Close());
                 },
                 [](World& w) -> Status {
                   const auto made = w.store->CloneVdi(w.IdOf("a"), "s", "copy", {});
                   return made ? Status{} : Failure(made.error());
                 },
                 [](World& w, bool done) {
                   EXPECT_EQ(w.ContentOf("a"), kNew);
                   const std::set<std::string> names = w.NamesOfAll();
                   if (done) {
                     EXPECT_EQ(names.count("copy"), 1u);
                   }
                   if (names.count("copy") > 0) {
                     EXPECT_EQ(w.ContentOf("copy"), kOld);
                   }
                 }});
  all.push_back({"Rollback",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle->Write(0, kNew));
                   ASSERT_OK(w.handle.Close());
                 },
                 [](World& w) -> Status {
                   const auto safety = w.store->Rollback(w.IdOf("a"), "s");
                   return safety ? Status{} : Failure(safety.error());
                 },
                 [](World& w, bool done) {
                   const auto records = w.store->ListSnapshots(w.IdOf("a"));
                   ASSERT_OK(records);
                   const auto got = w.ContentOf("a");
                   if (records->size() == 1) {
                     EXPECT_FALSE(done);
                     EXPECT_EQ(got, kNew);
                   } else {
                     ASSERT_EQ(records->size(), 2u);
                     EXPECT_EQ(got, kOld);
                     EXPECT_EQ(w.SnapshotContent("a", records->back().name), kNew);
                   }
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                 }});
  all.push_back({"RemoveSnapshot",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle->Write(0, kNew));
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "t"}}));
                   ASSERT_OK(w.handle->Write(0, std::span(kOld).first(kBlockBytes)));
                   ASSERT_OK(w.handle.Close());
                 },
                 [](World& w) { return w.store->RemoveSnapshot(w.IdOf("a"), "t"); },
                 [](World& w, bool done) {
                   std::vector<std::byte> expected = kNew;
                   std::copy_n(kOld.begin(), kBlockBytes, expected.begin());
                   EXPECT_EQ(w.ContentOf("a"), expected);
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                   EXPECT_FALSE(done && w.HasSnapshot("a", "t"));
                   if (w.HasSnapshot("a", "t")) {
                     EXPECT_EQ(w.SnapshotContent("a", "t"), kNew);
                   }
                 }});
  all.push_back({"CreateVdi",
                 [](World&) {},
                 [](World& w) -> Status {
                   const auto made = w.store->CreateVdi("a", kSize, {});
                   return made ? Status{} : Failure(made.error());
                 },
                 [](World& w, bool done) {
                   const bool there = w.NamesOfAll().count("a") > 0;
                   EXPECT_TRUE(there || !done);
                   if (there) {
                     EXPECT_EQ(w.ContentOf("a"), kZeros);
                   }
                 }});
  all.push_back({"RemoveVdi",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle.Close());
                 },
                 [](World& w) { return w.store->RemoveVdi("a", true); },
                 [](World& w, bool done) {
                   const bool there = w.NamesOfAll().count("a") > 0;
                   EXPECT_FALSE(there && done);
                   if (there) {
                     EXPECT_EQ(w.ContentOf("a"), kOld);
                     EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                   }
                 }});
  all.push_back({"RenameVdi",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->MakeFolder("lab"));
                   ASSERT_OK(w.handle.Close());
                 },
                 [](World& w) { return w.store->Rename("a", "lab/b"); },
                 [](World& w, bool done) {
                   std::set<std::string> names = w.NamesOfAll();
                   if (names.size() == 2) {  // between link and unlink: the owner tidies up
                     ASSERT_OK(w.OpenHandle("a"));
                     ASSERT_OK(w.handle.Close());
                     names = w.NamesOfAll();
                   }
                   ASSERT_EQ(names.size(), 1u);
                   if (done) {
                     EXPECT_EQ(*names.begin(), "lab/b");
                   }
                   EXPECT_EQ(w.ContentOf(*names.begin()), kOld);
                 }});
  all.push_back({"Resize",
                 [](World& w) { MakeWritten(w, "a", kOld); },
                 [](World& w) -> Status {
                   QUOIN_TRY(w.store->ResizeVdi(w.IdOf("a"), kSize / 2 + 512, true, true));
                   return w.store->ResizeVdi(w.IdOf("a"), kSize, false, true);
                 },
                 [](World& w, bool done) {
                   std::vector<std::byte> cut = kOld;
                   std::fill(cut.begin() + static_cast<std::ptrdiff_t>(kSize / 2 + 512), cut.end(),
                             std::byte{0});
                   std::vector<std::byte> got = w.ContentOf("a");
                   if (done) {
                     EXPECT_EQ(got, cut);
                   }
                   ASSERT_TRUE(got.size() == kSize || got.size() == kSize / 2 + 512);
                   got.resize(kSize);
                   // The zeros for the cut block may stop at any byte.
                   ExpectOldOrNew(got, kOld, cut, 1);
                 }});
  all.push_back({"CopyInPieces",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.store->CreateVdi("b", 0, {}));
                   ASSERT_OK(w.OpenHandle("b"));
                 },
                 [](World& w) -> Status {
                   QUOIN_ASSIGN(const SnapshotRecord s, w.store->FindSnapshot(w.IdOf("a"), "s"));
                   for (uint64_t at = 0; at < kSize; at += kSize / 4) {
                     const Store::CopySource from{w.IdOf("a"), s.id};
                     QUOIN_TRY(w.store->CopyRange(from, at, w.handle, at, kSize / 4));
                     QUOIN_TRY(w.handle->Flush());
                   }
                   // Had the copy stopped here, growing must not show what was not copied.
                   return w.store->ResizeVdi(w.IdOf("b"), 2 * kSize, false, true);
                 },
                 [](World& w, bool done) {
                   std::vector<std::byte> got = w.ContentOf("b");
                   if (done) {
                     EXPECT_EQ(got.size(), 2 * kSize);
                   }
                   const Status resized =
                       w.store->ResizeVdi(w.IdOf("b"), 2 * kSize, false, false);
                   if (!resized && w.handle) return;  // a flush failed, and it is still open
                   ASSERT_OK(resized);
                   const std::vector<std::byte> grown = w.ContentOf("b");
                   got.resize(2 * kSize);
                   EXPECT_EQ(grown, got) << "bytes beyond the copy came to light";
                   std::vector<std::byte> whole = kOld;
                   whole.resize(2 * kSize);
                   ExpectOldOrNew(got, whole, std::vector<std::byte>(2 * kSize), kBlockBytes);
                 }});
  // Two snapshots, a head above them with what a guest flushed, and a clone that holds the same files.
  all.push_back({"Seal",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle->Write(0, std::span(kNew).first(kSize / 2)));
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "t"}}));
                   ASSERT_OK(w.store->CloneVdi(w.IdOf("a"), "t", "clone", {}));
                   ASSERT_OK(w.handle->Write(0, std::span(kOld).first(kBlockBytes)));
                   ASSERT_OK(w.handle->Flush());
                 },
                 [](World& w) -> Status {
                   const auto sealed = w.store->SealVdi(w.IdOf("a"), false);
                   return sealed ? Status{} : Failure(sealed.error());
                 },
                 [](World& w, bool done) {
                   std::vector<std::byte> half = kOld;
                   std::copy_n(kNew.begin(), kSize / 2, half.begin());
                   std::vector<std::byte> head = half;
                   std::copy_n(kOld.begin(), kBlockBytes, head.begin());
                   const auto expect_all = [&] {
                     EXPECT_EQ(w.ContentOf("a"), head);
                     EXPECT_EQ(w.ContentOf("clone"), half);
                     EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                     EXPECT_EQ(w.SnapshotContent("a", "t"), half);
                   };
                   expect_all();
                   const auto before = w.store->FindSnapshot(w.IdOf("a"), "s");
                   ASSERT_OK(before);
                   EXPECT_TRUE(!done || !before->digest.IsNull());
                   const Result<SealCounts> again = w.store->SealVdi(w.IdOf("a"), false);
                   if (!again && w.handle) return;  // a flush failed, and it is still open
                   ASSERT_OK(again);
                   const auto after = w.store->FindSnapshot(w.IdOf("a"), "s");
                   ASSERT_OK(after);
                   EXPECT_FALSE(after->digest.IsNull());
                   EXPECT_TRUE(before->digest.IsNull() || before->digest == after->digest);
                   expect_all();
                 }});
  all.push_back({"SealWithHead",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle->Zero(0, kSize / 4));
                   ASSERT_OK(w.handle.Close());
                 },
                 [](World& w) -> Status {
                   const auto sealed = w.store->SealVdi(w.IdOf("a"), true);
                   return sealed ? Status{} : Failure(sealed.error());
                 },
                 [](World& w, bool) {
                   std::vector<std::byte> expected = kOld;
                   std::fill_n(expected.begin(), kSize / 4, std::byte{0});
                   EXPECT_EQ(w.ContentOf("a"), expected);
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                 }});
  // Nothing is left to seal, only to be recorded.
  all.push_back({"SealRecords",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.handle.Close());
                   ASSERT_OK(w.store->SealVdi(w.IdOf("a"), true));
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                 },
                 [](World& w) -> Status {
                   const auto sealed = w.store->SealVdi(w.IdOf("a"), false);
                   return sealed ? Status{} : Failure(sealed.error());
                 },
                 [](World& w, bool) {
                   EXPECT_EQ(w.ContentOf("a"), kOld);
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                   ASSERT_OK(w.store->SealVdi(w.IdOf("a"), false));
                   EXPECT_GE(w.RootRecordsOf("a", "s"), 1u);
                   ASSERT_OK(w.store->Collect(CollectAll()));
                   EXPECT_GE(w.RootRecordsOf("a", "s"), 1u);
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                 }});
  all.push_back({"Import",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.handle.Close());
                 },
                 [](World& w) -> Status {
                   size_t at = 0;
                   const auto made = w.store->ImportVdi(
                       "b", 0, {}, [&](std::span<std::byte> buffer) -> Result<size_t> {
                         const size_t n = std::min(buffer.size(), kNew.size() - at);
                         std::copy_n(kNew.begin() + static_cast<std::ptrdiff_t>(at), n,
                                     buffer.begin());
                         at += n;
                         return n;
                       });
                   return made ? Status{} : Failure(made.error());
                 },
                 [](World& w, bool done) {
                   EXPECT_EQ(w.ContentOf("a"), kOld);
                   const bool there = w.NamesOfAll().count("b") > 0;
                   EXPECT_TRUE(there || !done);
                   if (there) {
                     EXPECT_EQ(w.ContentOf("b"), kNew);
                   }
                 }});
  // Of what was sealed, one pack is garbage and another one mostly; what is left of a VDI and of a
  // clone reads as before, and the next collection ends what this one began.
  all.push_back({"Collect",
                 [](World& w) {
                   MakeWritten(w, "gone", kNew);
                   ASSERT_OK(w.handle.Close());
                   ASSERT_OK(w.store->SealVdi(w.IdOf("gone"), true));
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.handle.Close());
                   ASSERT_OK(w.store->SealVdi(w.IdOf("a"), true));
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.OpenHandle("a"));
                   ASSERT_OK(w.handle->Zero(0, kSize / 2));
                   ASSERT_OK(w.handle.Close());
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "t"}}));
                   ASSERT_OK(w.store->SealVdi(w.IdOf("a"), true));
                   ASSERT_OK(w.store->CloneVdi(w.IdOf("a"), "t", "clone", {}));
                   ASSERT_OK(w.store->RemoveSnapshot(w.IdOf("a"), "s"));
                   ASSERT_OK(w.store->RemoveVdi("gone", false));
                 },
                 [](World& w) -> Status {
                   const auto collected = w.store->Collect(CollectAll());
                   return collected ? Status{} : Failure(collected.error());
                 },
                 [](World& w, bool) {
                   std::vector<std::byte> expected = kOld;
                   std::fill_n(expected.begin(), kSize / 2, std::byte{0});
                   for (int round = 0; round < 2; ++round) {
                     EXPECT_EQ(w.ContentOf("a"), expected);
                     EXPECT_EQ(w.SnapshotContent("a", "t"), expected);
                     EXPECT_EQ(w.ContentOf("clone"), expected);
                     ASSERT_OK(w.store->Collect(CollectAll()));
                   }
                   const auto left = w.store->Collect(CollectAll());
                   ASSERT_OK(left);
                   EXPECT_EQ(left->garbage_bytes, 0u);
                   EXPECT_EQ(left->packs, 2u);
                 }});
  // The owner dies; the machine stops while the next owner takes over.
  all.push_back({"TakeOver",
                 [](World& w) {
                   MakeWritten(w, "a", kOld);
                   ASSERT_OK(w.store->CreateSnapshots({{"a", "s"}}));
                   ASSERT_OK(w.handle->Write(0, kNew));
                   ASSERT_OK(w.handle->Flush());
                   w.Crash(CrashMode::kProcessOnly, 0);
                   w.Open();
                 },
                 [](World& w) -> Status {
                   QUOIN_TRY(w.OpenHandle("a"));
                   return w.handle.Close();
                 },
                 [](World& w, bool) {
                   EXPECT_EQ(w.ContentOf("a"), kNew);
                   EXPECT_EQ(w.SnapshotContent("a", "s"), kOld);
                 }});
  all.push_back({"TakeOverFromAnotherHost",
                 [](World& w) {
                   w.Open(2);
                   MakeWritten(w, "a", kNew);
                   w.Crash(CrashMode::kProcessOnly, 0);
                   w.Open();
                   ASSERT_ERROR(kBusy, w.OpenHandle("a"));
                   ASSERT_OK(w.store->BreakLock("a"));
                 },
                 [](World& w) -> Status {
                   QUOIN_TRY(w.OpenHandle("a"));
                   return w.handle.Close();
                 },
                 [](World& w, bool) {
                   // Until an owner has recovered it, readers see what was last published.
                   ASSERT_OK(w.OpenHandle("a"));
                   EXPECT_EQ(World::ReadAll(*w.handle), kNew);
                   ASSERT_OK(w.handle.Close());
                   EXPECT_EQ(w.ContentOf("a"), kNew);
                 }});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Operations, StoreCrashTest, ::testing::ValuesIn(Scenarios()),
                         [](const auto& scenario) { return scenario.param.name; });

}  // namespace
}  // namespace quoin

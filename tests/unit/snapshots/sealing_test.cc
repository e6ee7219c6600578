// Sealing and importing: contents stay what they are, wherever they lie.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "snapshots/sealer.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {
namespace {

constexpr uint64_t kBlocks = 40;
const std::string kOld = PatternOf(1, kBlocks * kBlockBytes);

std::string With(std::string content, uint64_t first_block, const std::string& part) {
  return content.replace(first_block * kBlockBytes, part.size(), part);
}

class SealingTest : public SealedWorld {};

TEST_F(SealingTest, ContentIsTheSameAfterwardsAndTheFilesOfFrozenLayersAreGone) {
  const Id id = CreateWith("a", kOld);
  const Id monday = Snapshot("a", "monday");
  EXPECT_TRUE(Record(id, "monday").digest.IsNull());
  const std::string part = PatternOf(2, 3 * kBlockBytes);
  WriteBlocks(id, 5, part);
  const Id tuesday = Snapshot("a", "tuesday");
  WriteBlocks(id, 20, part);
  EXPECT_GT(LayerFiles(id).size(), 1u);
  const SealCounts counts = Seal(id, false);
  EXPECT_EQ(counts.read_blocks, kBlocks + 3);
  EXPECT_EQ(counts.stored_blocks, kBlocks + 3);
  EXPECT_EQ(LayerFiles(id).size(), 1u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(SnapshotContent(id, monday) == kOld);
    EXPECT_TRUE(SnapshotContent(id, tuesday) == With(kOld, 5, part));
    EXPECT_TRUE(Content(id) == With(With(kOld, 5, part), 20, part));
    EXPECT_FALSE(Record(id, "monday").digest.IsNull());
    EXPECT_EQ(Record(id, "monday").data_blocks, kBlocks);
    Reopen();
    ExpectSound();
  }
}

TEST_F(SealingTest, TheHeadIsSealedWithTheRestIfThatIsAskedFor) {
  const Id id = CreateWith("a", kOld);
  EXPECT_EQ(Seal(id).stored_blocks, kBlocks);
  EXPECT_TRUE(Content(id) == kOld);
  const Id s = Snapshot("a", "s");
  EXPECT_FALSE(Record(id, "s").digest.IsNull()) << "its layer was sealed already";
  EXPECT_TRUE(SnapshotContent(id, s) == kOld);
  WriteBlocks(id, 7, std::string(100, 'x'));
  EXPECT_TRUE(Content(id) == With(kOld, 7, std::string(100, 'x')));
  EXPECT_TRUE(SnapshotContent(id, s) == kOld);
  ExpectSound();
}

TEST_F(SealingTest, ASealedVdiHasNothingMoreToSeal) {
  const Id id = CreateWith("a", kOld);
  Snapshot("a", "s");
  Seal(id);
  const size_t packs = Packs().size();
  EXPECT_EQ(Seal(id).read_blocks, 0u);
  EXPECT_EQ(Packs().size(), packs);
}

TEST_F(SealingTest, BlocksOfZerosBecomeHolesInSnapshotsAndInTheVdi) {
  const Id id = CreateWith("a", kOld);
  const std::string zeros(16 * kBlockBytes, '\0');
  const std::string content = With(kOld, 8, zeros);
  WriteBlocks(id, 8, zeros);
  const Id s = Snapshot("a", "s");
  EXPECT_EQ(Record(id, "s").data_blocks, kBlocks);
  const SealCounts counts = Seal(id);
  EXPECT_EQ(counts.zero_blocks, 16u);
  EXPECT_EQ(counts.stored_blocks, kBlocks - 16);
  EXPECT_TRUE(SnapshotContent(id, s) == content);
  EXPECT_EQ(Record(id, "s").data_blocks, kBlocks - 16);
  ASSERT_OK_AND_ASSIGN(const auto image, store_->OpenSnapshot(id, s));
  ASSERT_OK_AND_ASSIGN(const uint64_t hole, image->SeekHole(0));
  EXPECT_EQ(hole, 8 * kBlockBytes);
  VdiHandle handle = OpenVdi(id);
  EXPECT_EQ(handle->data_blocks(), kBlocks - 16);
  ASSERT_OK_AND_ASSIGN(const uint64_t data, handle->SeekData(hole));
  EXPECT_EQ(data, 24 * kBlockBytes);
  ASSERT_OK(handle.Close());
  ExpectSound();
}

TEST_F(SealingTest, TheDigestDependsOnTheContentAlone) {
  const Id a = CreateWith("a", kOld);
  Snapshot("a", "s");
  Seal(a);
  // The same bytes by way of others, last block first, over several snapshots.
  const Id b = CreateWith("b", PatternOf(9, kOld.size()));
  Snapshot("b", "before");
  for (uint64_t block = kBlocks; block-- > 0;) {
    WriteBlocks(b, block, kOld.substr(block * kBlockBytes, kBlockBytes));
    if (block == kBlocks / 2) Snapshot("b", "half");
  }
  Snapshot("b", "s");
  Seal(b);
  EXPECT_EQ(Record(a, "s").digest, Record(b, "s").digest);
  EXPECT_NE(Record(b, "before").digest, Record(b, "s").digest);
  // Another size is another content.
  ASSERT_OK(store_->ResizeVdi(a, (kBlocks + 1) * kBlockBytes, false, false));
  Snapshot("a", "longer");
  EXPECT_NE(Record(a, "longer").digest, Record(a, "s").digest);
  ExpectSound();
}

TEST_F(SealingTest, WhatOneRegionHoldsIsNotStoredAgainForAnother) {
  const Id id = Create("a", kRegionBlocks + kBlocks);
  WriteBlocks(id, 0, kOld);
  WriteBlocks(id, kRegionBlocks, kOld);
  const SealCounts counts = Seal(id);
  EXPECT_EQ(counts.stored_blocks, kBlocks);
  EXPECT_EQ(counts.shared_blocks, kBlocks);
  VdiHandle reader = OpenVdi(id, Access::kRead);
  EXPECT_TRUE(Read(*reader, 0, kOld.size()) == kOld);
  EXPECT_TRUE(Read(*reader, kRegionBlocks * kBlockBytes, kOld.size()) == kOld);
}

TEST_F(SealingTest, RewritingTheSameBytesStoresNothing) {
  const Id id = CreateWith("a", kOld);
  Snapshot("a", "s");
  Seal(id);
  WriteBlocks(id, 0, kOld);
  const Id t = Snapshot("a", "t");
  const SealCounts counts = Seal(id);
  EXPECT_EQ(counts.kept_blocks, kBlocks);
  EXPECT_EQ(counts.stored_blocks, 0u);
  EXPECT_EQ(Record(id, "s").digest, Record(id, "t").digest);
  EXPECT_TRUE(SnapshotContent(id, t) == kOld);
  ExpectSound();
}

TEST_F(SealingTest, DiscardedBlocksAreHolesAboveASealedLayer) {
  const Id id = CreateWith("a", kOld);
  Snapshot("a", "s");
  Seal(id);
  {
    VdiHandle handle = OpenVdi(id);
    ASSERT_OK(handle->Zero(3 * kBlockBytes, 10 * kBlockBytes));
    ASSERT_OK(handle.Close());
  }
  const std::string expected = With(kOld, 3, std::string(10 * kBlockBytes, '\0'));
  const Id t = Snapshot("a", "t");
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(Content(id) == expected);
    EXPECT_TRUE(SnapshotContent(id, t) == expected);
    EXPECT_EQ(Record(id, "t").data_blocks, kBlocks - 10);
    Seal(id);
  }
  ExpectSound();
}

TEST_F(SealingTest, ShrinkingAndGrowingOverASealedLayerShowsZeros) {
  const Id id = CreateWith("a", kOld);
  const Id s = Snapshot("a", "s");
  Seal(id);
  ASSERT_OK(store_->ResizeVdi(id, 10 * kBlockBytes + 512, true, false));
  ASSERT_OK(store_->ResizeVdi(id, kBlocks * kBlockBytes, false, false));
  std::string expected = kOld.substr(0, 10 * kBlockBytes + 512);
  expected.resize(kOld.size(), '\0');
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(Content(id) == expected);
    EXPECT_TRUE(SnapshotContent(id, s) == kOld);
    Seal(id);
  }
  ExpectSound();
}

TEST_F(SealingTest, ClonesOfUnsealedAndOfSealedSnapshotsDependOnNobody) {
  const Id id = CreateWith("a", kOld);
  Snapshot("a", "s");
  ASSERT_OK_AND_ASSIGN(const Id before, store_->CloneVdi(id, "s", "before", Attributes()));
  Seal(id);
  ASSERT_OK_AND_ASSIGN(const Id after, store_->CloneVdi(id, "s", "after", Attributes()));
  EXPECT_EQ(LayerFiles(after).size(), 1u);
  const std::string b(kBlockBytes, 'b');
  const std::string c(kBlockBytes, 'c');
  WriteBlocks(before, 1, b);
  WriteBlocks(after, 2, c);
  ExpectSound();
  ASSERT_OK(store_->RemoveVdi("a", true));
  EXPECT_TRUE(Content(before) == With(kOld, 1, b));
  EXPECT_TRUE(Content(after) == With(kOld, 2, c));
  Seal(before);
  Seal(after);
  Reopen();
  EXPECT_TRUE(Content(before) == With(kOld, 1, b));
  EXPECT_TRUE(Content(after) == With(kOld, 2, c));
  ExpectSound();
}

TEST_F(SealingTest, RollingBackToASealedSnapshotKeepsWhatWasThere) {
  const Id id = CreateWith("a", kOld);
  Snapshot("a", "s");
  Seal(id);
  const std::string changed = PatternOf(3, kOld.size());
  WriteBlocks(id, 0, changed);
  ASSERT_OK_AND_ASSIGN(const std::string safety, store_->Rollback(id, "s"));
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(Content(id) == kOld);
    EXPECT_TRUE(SnapshotContent(id, Record(id, safety).id) == changed);
    Seal(id);
  }
  ExpectSound();
}

// Four snapshots, removed in each of the 24 orders, sealed before, between, or in part.
TEST_F(SealingTest, SnapshotsAreRemovedInAnyOrder) {
  std::array<size_t, 4> order{0, 1, 2, 3};
  int round = 0;
  do {
    SCOPED_TRACE(::testing::PrintToString(order));
    const Id id = Create("a", 8);
    std::array<std::string, 4> contents;
    std::string content(8 * kBlockBytes, '\0');
    for (size_t n = 0; n < 4; ++n) {
      const std::string part = PatternOf(n + 10, 3 * kBlockBytes);
      content = With(content, n, part);
      WriteBlocks(id, n, part);
      contents[n] = content;
      Snapshot("a", std::to_string(n));
      if (n == 1 && round % 3 == 1) Seal(id, false);
    }
    if (round % 3 == 0) Seal(id, false);
    std::vector<size_t> left{0, 1, 2, 3};
    for (const size_t gone : order) {
      ASSERT_OK(store_->RemoveSnapshot(id, std::to_string(gone)));
      std::erase(left, gone);
      if (left.size() == 2 && round % 3 == 2) Seal(id, false);
      for (const size_t n : left) {
        ASSERT_TRUE(SnapshotContent(id, Record(id, std::to_string(n)).id) == contents[n]);
      }
      ASSERT_TRUE(Content(id) == content);
    }
    Seal(id);
    ASSERT_TRUE(Content(id) == content);
    EXPECT_EQ(LayerFiles(id).size(), 1u);
    ExpectSound();
    ASSERT_OK(store_->RemoveVdi("a", false));
    ++round;
  } while (std::next_permutation(order.begin(), order.end()) && !HasFailure());
}

TEST_F(SealingTest, ASnapshotThatIsOpenIsReadOnWhileItIsSealedAndAfterItsRemoval) {
  const Id id = CreateWith("a", kOld);
  const Id s = Snapshot("a", "s");
  ASSERT_OK_AND_ASSIGN(const auto unsealed, store_->OpenSnapshot(id, s));
  Seal(id);
  ASSERT_OK_AND_ASSIGN(const auto sealed, store_->OpenSnapshot(id, s));
  ASSERT_OK(store_->RemoveSnapshot(id, "s"));
  EXPECT_TRUE(Read(*unsealed, 0, kOld.size()) == kOld);
  EXPECT_TRUE(Read(*sealed, 0, kOld.size()) == kOld);
}

// A write at each of three moments of a seal: while it stores, publishes, and pins its maps.
TEST_F(SealingTest, AGuestWritesOnWhileItsSnapshotsAreSealed) {
  struct Moment {
    Call call;
    const char* path;
  };
  const Id id = CreateWith("a", kOld);
  const Id s = Snapshot("a", "0");
  VdiHandle guest = OpenVdi(id);
  std::string expected = kOld;
  uint64_t round = 0;
  for (const Moment moment : {Moment{Call::kOpen, "/tmp/"}, Moment{Call::kLink, "/packs/"},
                              Moment{Call::kRename, "/gc/pins/"}}) {
    SCOPED_TRACE(moment.path);
    const std::string part = PatternOf(20 + round, 2 * kBlockBytes);
    const std::string before = expected;
    Within(
        moment.call, moment.path, [&] { EXPECT_OK(store_->SealVdi(id, false)); },
        [&] { ASSERT_OK(guest->Write(0, AsBytes(part))); });
    expected = With(expected, 0, part);
    EXPECT_TRUE(Read(*guest, 0, expected.size()) == expected);
    EXPECT_TRUE(SnapshotContent(id, s) == kOld);
    EXPECT_TRUE(SnapshotContent(id, Record(id, std::to_string(round)).id) == before);
    Snapshot("a", std::to_string(++round));
  }
  ASSERT_OK(guest.Close());
  Reopen();
  EXPECT_TRUE(Content(id) == expected);
  ExpectSound();
}

TEST_F(SealingTest, ASnapshotThatIsRemovedWhileItIsSealedIsGone) {
  const Id id = CreateWith("a", kOld);
  Snapshot("a", "s");
  const std::string changed = PatternOf(5, kOld.size());
  WriteBlocks(id, 0, changed);
  Snapshot("a", "t");
  Within(
      Call::kLink, "/packs/", [&] { EXPECT_OK(store_->SealVdi(id, false)); },
      [&] { ASSERT_OK(store_->RemoveSnapshot(id, "s")); });
  EXPECT_ERROR(kNotFound, store_->FindSnapshot(id, "s"));
  EXPECT_TRUE(SnapshotContent(id, Record(id, "t").id) == changed);
  Seal(id);
  EXPECT_TRUE(SnapshotContent(id, Record(id, "t").id) == changed);
  EXPECT_TRUE(Content(id) == changed);
  ExpectSound();
}

TEST_F(SealingTest, WhatAnotherHostOwnsIsNotSealed) {
  const Id id = CreateWith("a", kOld);
  const std::unique_ptr<Store> other = OpenAs(2);
  ASSERT_OK_AND_ASSIGN(VdiHandle theirs, other->OpenVdi(id, Access::kReadWrite));
  EXPECT_ERROR(kBusy, store_->SealVdi(id, true));
  ASSERT_OK(theirs.Close());
  EXPECT_OK(store_->SealVdi(id, true));
  EXPECT_TRUE(Content(id) == kOld);
}

TEST_F(SealingTest, AnotherHostReadsWhatWasSealed) {
  const Id id = CreateWith("a", kOld);
  const Id s = Snapshot("a", "s");
  const std::unique_ptr<Store> other = OpenAs(2);
  ASSERT_OK_AND_ASSIGN(const auto before, other->OpenSnapshot(id, s));
  Seal(id);
  ASSERT_OK_AND_ASSIGN(const auto after, other->OpenSnapshot(id, s));
  EXPECT_TRUE(Read(*after, 0, kOld.size()) == kOld);
  EXPECT_TRUE(Read(*before, 0, kOld.size()) == kOld);
  ASSERT_OK_AND_ASSIGN(VdiHandle reader, other->OpenVdi(id, Access::kRead));
  EXPECT_TRUE(Read(*reader, 0, kOld.size()) == kOld);
}

// With room for a little more in each round, the seal fails until it succeeds, and nothing else
// changes.
TEST_F(SealingTest, AFullStoreHarmsNothingAndTheSealWorksLater) {
  const Id id = CreateWith("a", kOld);
  const Id s = Snapshot("a", "s");
  const std::string changed = PatternOf(5, kOld.size());
  WriteBlocks(id, 0, changed);
  bool done = false;
  for (uint64_t room = 0; !done && room < 4 << 20; room += 24 << 10) {
    SCOPED_TRACE(room);
    fs_.SetCapacity(fs_.used_bytes() + room);
    const Result<SealCounts> sealed = store_->SealVdi(id, false);
    done = sealed.has_value();
    if (!done) {
      EXPECT_ERROR(kNoSpace, sealed);
    }
    fs_.SetCapacity(~uint64_t{0});
    ASSERT_TRUE(SnapshotContent(id, s) == kOld);
    ASSERT_TRUE(Content(id) == changed);
    Reopen();
    ASSERT_TRUE(SnapshotContent(id, s) == kOld);
    ASSERT_TRUE(Content(id) == changed);
    VdiHandle owner = OpenVdi(id);
    ASSERT_OK(owner.Close());
    ExpectSound();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_TRUE(done);
  EXPECT_EQ(LayerFiles(id).size(), 1u);
}

// --- importing ------------------------------------------------------------------------------------

class ImportTest : public SealedWorld {};

TEST_F(ImportTest, WhatIsImportedIsReadAndCanBeWritten) {
  std::string content = kOld;
  std::fill_n(content.begin() + 4 * kBlockBytes, 4 * kBlockBytes, '\0');
  ASSERT_OK_AND_ASSIGN(const Id id, Import("a", content));
  EXPECT_TRUE(Content(id) == content);
  EXPECT_EQ(LayerFiles(id).size(), 1u);
  {
    VdiHandle handle = OpenVdi(id);
    EXPECT_EQ(handle->data_blocks(), kBlocks - 4);
    ASSERT_OK(handle.Close());
  }
  WriteBlocks(id, 5, "hello");
  EXPECT_TRUE(Content(id) == With(content, 5, "hello"));
  Reopen();
  EXPECT_TRUE(Content(id) == With(content, 5, "hello"));
  ExpectSound();
}

TEST_F(ImportTest, ItsDigestIsThatOfTheSameContentMadeOtherwise) {
  const Id a = CreateWith("a", kOld);
  Snapshot("a", "s");
  Seal(a);
  ASSERT_OK_AND_ASSIGN(const Id b, Import("b", kOld));
  Snapshot("b", "s");
  EXPECT_EQ(Record(b, "s").digest, Record(a, "s").digest);
}

TEST_F(ImportTest, SizesAreRoundedUpToSectorsAndToWhatIsAskedFor) {
  ASSERT_OK_AND_ASSIGN(const Id odd, Import("odd", kOld.substr(0, 5000)));
  std::string expected = kOld.substr(0, 5000);
  expected.resize(5120, '\0');
  EXPECT_TRUE(Content(odd) == expected);
  ASSERT_OK_AND_ASSIGN(const Id longer, Import("longer", "x", 1 << 20));
  EXPECT_EQ(Content(longer).size(), size_t{1} << 20);
  ASSERT_OK_AND_ASSIGN(const Id empty, Import("empty", ""));
  EXPECT_EQ(Content(empty), "");
  ExpectSound();
}

TEST_F(ImportTest, ATakenNameAndAFailingSourceLeaveNothing) {
  CreateWith("a", kOld);
  EXPECT_ERROR(kExists, Import("a", kOld));
  int calls = 0;
  EXPECT_ERROR(kIo, store_->ImportVdi("b", 0, Attributes(),
                                      [&](std::span<std::byte> buffer) -> Result<size_t> {
                                        if (++calls > 1) return Fail(ErrorCode::kIo, "torn tape");
                                        std::fill(buffer.begin(), buffer.end(), std::byte{7});
                                        return buffer.size();
                                      }));
  EXPECT_ERROR(kNotFound, store_->Lookup("b"));
  EXPECT_TRUE(Packs().empty());
  ExpectSound();
}

TEST_F(ImportTest, AFullStoreRefusesItAndIsNotHarmed) {
  const Id a = CreateWith("a", kOld);
  bool done = false;
  for (uint64_t room = 0; !done && room < 4 << 20; room += 48 << 10) {
    SCOPED_TRACE(room);
    fs_.SetCapacity(fs_.used_bytes() + room);
    const Result<Id> made = Import("b", PatternOf(8, kOld.size()));
    done = made.has_value();
    if (!done) {
      EXPECT_ERROR(kNoSpace, made);
      EXPECT_ERROR(kNotFound, store_->Lookup("b"));
    }
    fs_.SetCapacity(~uint64_t{0});
    EXPECT_TRUE(Content(a) == kOld);
    Reopen();
    ExpectSound();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_TRUE(done);
}

TEST_F(ImportTest, WhatAnotherHostHasStoredSinceIsSharedToo) {
  const TemporaryDirectory state;
  StoreOptions options = TestOptions();
  options.state_dir = state.path();
  ASSERT_OK_AND_ASSIGN(store_, Store::Open(fs_, "/store", TestHost(1), options));
  ASSERT_OK(Import("first", PatternOf(1, 64 * kBlockBytes)));  // opens the index
  const std::string content = PatternOf(2, 1024 * kBlockBytes);
  std::unique_ptr<Store> mine = std::move(store_);
  store_ = OpenAs(2);
  ASSERT_OK(Import("theirs", content));
  store_ = std::move(mine);
  const uint64_t before = fs_.used_bytes();
  ASSERT_OK_AND_ASSIGN(const Id ours, Import("ours", content));
  EXPECT_LT(fs_.used_bytes() - before, content.size() / 4);
  EXPECT_TRUE(Content(ours) == content);
}

// The database says that it is sealed, what everybody else reads does not: the pin has to.
TEST_F(SealingTest, WhatACrashKeptFromBeingPublishedIsNotCollectedByAnotherHost) {
  const Id a = CreateWith("a", kOld);
  const Id s = Snapshot("a", "s");
  Reopen();
  ASSERT_OK(fs_.SyncDirectory("/"));
  Fault stop;
  stop.mode = FaultMode::kCrash;
  stop.only_call = Call::kRename;
  stop.only_path_part = "published.db";
  fs_.Plan(stop);
  EXPECT_FALSE(store_->SealVdi(a, /*with_head=*/false));
  ASSERT_TRUE(fs_.stopped());
  store_.reset();
  fs_.Crash(CrashMode::kLoseAll);
  {
    const std::unique_ptr<Store> elsewhere = OpenAs(2);
    CollectOptions now;
    now.grace = std::chrono::seconds(0);
    ASSERT_OK(elsewhere->Collect(now));
    ASSERT_OK(elsewhere->Collect(now));
  }
  store_ = OpenAs(1);
  EXPECT_TRUE(SnapshotContent(a, s) == kOld);
  EXPECT_FALSE(Record(a, "s").digest.IsNull()) << "the seal had not been committed";
  ExpectSound();
}

// Once it has been let go; but what was never snapshotted stays the plain file that it is, and so does
// what a guest has again.
TEST_F(SealingTest, WhatAnIdleVdiHoldsIsSealedByItself) {
  const uint64_t blocks = kMinIdleBlocks + 8;
  const std::string first = PatternOf(1, blocks * kBlockBytes);
  const std::string second = PatternOf(2, blocks * kBlockBytes);
  const Id plain = CreateWith("plain", first);
  const Id idle = CreateWith("idle", first);
  const Id busy = CreateWith("busy", first);
  const Id small = CreateWith("small", first);
  for (const char* name : {"idle", "busy", "small"}) Snapshot(name, "s");
  StoreOptions options = TestOptions();
  options.seals_in_background = true;
  options.seal_delay = options.idle_seal_delay = std::chrono::milliseconds(0);
  store_.reset();
  ASSERT_OK_AND_ASSIGN(store_, Store::Open(fs_, "/store", TestHost(1), options));
  VdiHandle guest = OpenVdi(busy);
  ASSERT_OK(guest->Write(0, AsBytes(second)));
  WriteBlocks(small, 0, second.substr(0, 8 * kBlockBytes));
  WriteBlocks(plain, 0, second);
  WriteBlocks(idle, 0, second);
  const auto head_blocks = [&](const Id& id) {
    const Result<VdiInfo> info = store_->Describe(id);
    EXPECT_OK(info);
    return info ? info->unique_blocks : 0;
  };
  for (int n = 0; n < 1000 && head_blocks(idle) > 0; ++n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(head_blocks(idle), 0u);
  EXPECT_EQ(head_blocks(busy), blocks);
  EXPECT_EQ(head_blocks(small), 8u);
  EXPECT_EQ(head_blocks(plain), blocks);
  EXPECT_TRUE(Content(idle) == second);
  EXPECT_TRUE(Read(*guest, 0, second.size()) == second);
  guest = VdiHandle();
  Reopen();
  EXPECT_TRUE(Content(idle) == second);
  EXPECT_TRUE(SnapshotContent(idle, Record(idle, "s").id) == first);
}

TEST_F(SealingTest, ASnapshotSealsFirstIfTooManyLayersWaitForThat) {
  const Id a = Create("a", 8);
  VdiHandle guest = OpenVdi(a);
  const auto frozen = [&] {
    uint64_t count = 0;
    for (const std::string& file : LayerFiles(a)) count += file.find(".owned") == std::string::npos;
    return count - 1;  // one is the head's
  };
  std::string expected = std::string(8 * kBlockBytes, '\0');
  for (uint64_t n = 0; n <= kMaxUnsealedLayers; ++n) {
    const std::string block = PatternOf(n, kBlockBytes);
    ASSERT_OK(guest->Write(n % 8 * kBlockBytes, AsBytes(block)));
    expected.replace(n % 8 * kBlockBytes, kBlockBytes, block);
    EXPECT_EQ(frozen(), n);
    ASSERT_OK(store_->CreateSnapshots({{"a", "s" + std::to_string(n)}}));
  }
  EXPECT_EQ(frozen(), 1u);
  EXPECT_TRUE(Read(*guest, 0, expected.size()) == expected);
  ASSERT_OK(guest.Close());
  ExpectSound();
}

}  // namespace
}  // namespace quoin

#include "blockstore/layers/layer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/block.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/simulated_file_system.h"

namespace quoin {
namespace {

constexpr uint64_t kTiB = uint64_t{1} << 40;
constexpr uint64_t kMiB = uint64_t{1} << 20;

class LayerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(fs_.MakeDirectory("/layers"));
    ASSERT_OK(fs_.MakeDirectory("/clone"));
    ASSERT_OK(fs_.SyncDirectory("/"));
  }

  std::unique_ptr<Layer> Create(uint64_t size_bytes) {
    return OrAbort(Layer::Create(fs_, at_, size_bytes));
  }

  std::unique_ptr<Layer> OrAbort(Result<std::unique_ptr<Layer>> layer) {
    EXPECT_OK(layer);
    if (!layer) std::abort();
    return std::move(*layer);
  }

  // Opens the layer with data recorded in these blocks.
  Result<std::unique_ptr<Layer>> Open(uint64_t size_bytes, uint64_t first, uint64_t count,
                                      Layer::Role role = Layer::Role::kHead) {
    auto ownership = std::make_unique<OwnershipSet>();
    if (count > 0) ownership->Set(first, count, BlockState::kData);
    return Layer::Open(fs_, at_, size_bytes, std::move(ownership), role);
  }

  static Result<std::string> Read(const Layer& layer, uint64_t offset, size_t length) {
    std::string bytes(length, '\xee');
    QUOIN_TRY(layer.Read(offset, std::as_writable_bytes(std::span(bytes))));
    return bytes;
  }

  uint64_t SizeOf(const std::string& path) {
    const auto facts = fs_.Facts(path);
    EXPECT_OK(facts);
    return facts ? facts->size_bytes : 0;
  }

  bool Exists(const std::string& path) { return PathExists(fs_, path).value_or(false); }

  SimulatedFileSystem fs_;
  const Layer::Location at_{"/layers", "7-2"};
};

TEST_F(LayerTest, FilesAreNamedAfterTheLayer) {
  EXPECT_EQ(Layer::SegmentPath(at_, 0), "/layers/7-2");
  EXPECT_EQ(Layer::SegmentPath(at_, 31), "/layers/7-2.31");
  EXPECT_EQ(Layer::OwnershipPath(at_), "/layers/7-2.owned");
  EXPECT_EQ(Layer::NameOfFile("7-2"), "7-2");
  EXPECT_EQ(Layer::NameOfFile("7-2.31"), "7-2");
  EXPECT_EQ(Layer::NameOfFile("7-2.owned"), "7-2");
}

TEST_F(LayerTest, ANewLayerIsASparseFileOfItsSize) {
  const auto layer = Create(20 * kMiB);
  EXPECT_TRUE(layer->ownership().empty());
  EXPECT_EQ(layer->size_bytes(), 20 * kMiB);
  EXPECT_EQ(SizeOf("/layers/7-2"), 20 * kMiB);
  EXPECT_EQ(fs_.used_bytes(), 0u);
  ASSERT_OK_AND_ASSIGN(const FileIdentity identity, layer->Identity());
  ASSERT_OK_AND_ASSIGN(const FileFacts facts, fs_.Facts("/layers/7-2"));
  EXPECT_EQ(identity, facts.identity);
}

TEST_F(LayerTest, CreationNeverTakesAnExistingFile) {
  { const auto layer = Create(kMiB); }
  EXPECT_ERROR(kExists, Layer::Create(fs_, at_, kMiB));
}

TEST_F(LayerTest, ALayerOfNoBytesCanBe) {
  const auto layer = Create(0);
  ASSERT_OK(layer->Resize(kMiB));
  ASSERT_OK(layer->Write(0, AsBytes("x")));
  EXPECT_EQ(Read(*layer, 0, 1).value_or(""), "x");
}

TEST_F(LayerTest, WhatIsWrittenIsRead) {
  const auto layer = Create(kMiB);
  ASSERT_OK(layer->Write(12'345, AsBytes(PatternOf(1, 100'000))));
  EXPECT_EQ(Read(*layer, 12'345, 100'000).value_or(""), PatternOf(1, 100'000));
  EXPECT_EQ(Read(*layer, 12'344, 2).value_or(""), std::string(1, '\0') + PatternOf(1, 1));
}

TEST_F(LayerTest, BeyondTheEndThereAreZeros) {
  const uint64_t size = kMiB + kSectorBytes;  // ends within a block
  const auto layer = Create(size);
  ASSERT_OK(layer->Write(kMiB, AsBytes(PatternOf(1, kSectorBytes))));
  EXPECT_EQ(Read(*layer, kMiB, kBlockBytes).value_or(""),
            PatternOf(1, kSectorBytes) + std::string(kBlockBytes - kSectorBytes, '\0'));
  EXPECT_EQ(Read(*layer, 5 * kMiB, 10).value_or(""), std::string(10, '\0'));
}

TEST_F(LayerTest, HolesGiveSpaceBackAndOtherStorageDoesNotMind) {
  const auto layer = Create(kMiB);
  ASSERT_OK(layer->Write(0, AsBytes(PatternOf(1, 4 * kBlockBytes))));
  ASSERT_OK(layer->PunchHole(kBlockBytes, 2 * kBlockBytes));
  EXPECT_EQ(fs_.used_bytes(), 2 * kBlockBytes);
  fs_.SetPunchingSupported(false);
  ASSERT_OK(layer->PunchHole(0, kBlockBytes));
  ASSERT_OK(layer->PunchHole(0, kBlockBytes));
  EXPECT_EQ(fs_.used_bytes(), 2 * kBlockBytes);
  EXPECT_EQ(fs_.count(Call::kPunchHole), 2u) << "refused once, it is not asked again";
}

TEST_F(LayerTest, OtherFailuresToPunchAreErrors) {
  const auto layer = Create(kMiB);
  fs_.FailAfter(1, FaultMode::kErrorOnce, ErrorCode::kIo);
  EXPECT_ERROR(kIo, layer->PunchHole(0, kBlockBytes));
}

TEST_F(LayerTest, EachFileHolds8TiBAndIsMadeWhenFirstWritten) {
  const auto layer = Create(kMaxVdiBytes);
  EXPECT_EQ(SizeOf("/layers/7-2"), 8 * kTiB);
  EXPECT_FALSE(Exists("/layers/7-2.1"));
  ASSERT_OK(layer->Write(kMaxVdiBytes - kBlockBytes, AsBytes(PatternOf(1, kBlockBytes))));
  EXPECT_TRUE(Exists("/layers/7-2.31"));
  EXPECT_FALSE(Exists("/layers/7-2.30"));
  ASSERT_OK(layer->Write(8 * kTiB - 1'000, AsBytes(PatternOf(2, 3'000))));  // across the border
  EXPECT_EQ(SizeOf("/layers/7-2.1"), 8 * kTiB);
  EXPECT_EQ(Read(*layer, 8 * kTiB - 1'000, 3'000).value_or(""), PatternOf(2, 3'000));
  EXPECT_EQ(Read(*layer, kMaxVdiBytes - kBlockBytes, kBlockBytes).value_or(""),
            PatternOf(1, kBlockBytes));
  ASSERT_OK(layer->PunchHole(0, kMaxVdiBytes));
  EXPECT_EQ(fs_.used_bytes(), 0u);
}

TEST_F(LayerTest, ManyThreadsMakeOneFile) {
  const auto layer = Create(16 * kTiB);
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&layer, i] {
      EXPECT_OK(layer->Write(8 * kTiB + i * kBlockBytes, AsBytes(PatternOf(i, kBlockBytes))));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(Read(*layer, 8 * kTiB + i * kBlockBytes, kBlockBytes).value_or(""),
              PatternOf(i, kBlockBytes));
  }
}

TEST_F(LayerTest, AReopenedLayerReadsAllItsFiles) {
  {
    const auto layer = Create(16 * kTiB);
    ASSERT_OK(layer->Write(8 * kTiB - kBlockBytes, AsBytes(PatternOf(1, 2 * kBlockBytes))));
  }
  const uint64_t first = 8 * kTiB / kBlockBytes - 1;
  ASSERT_OK_AND_ASSIGN(const auto layer, Open(16 * kTiB, first, 2, Layer::Role::kFrozen));
  EXPECT_EQ(Read(*layer, first * kBlockBytes, 2 * kBlockBytes).value_or(""),
            PatternOf(1, 2 * kBlockBytes));
  EXPECT_FALSE(layer->Write(0, AsBytes("frozen")));
}

TEST_F(LayerTest, AMissingFileIsDamage) {
  EXPECT_ERROR(kCorrupt, Open(kMiB, 0, 0));
  { const auto layer = Create(16 * kTiB); }
  EXPECT_OK(Open(16 * kTiB, 0, 0));  // no data recorded in the second file: it need not be there
  EXPECT_ERROR(kCorrupt, Open(16 * kTiB, 8 * kTiB / kBlockBytes, 1));
}

TEST_F(LayerTest, AFileThatEndsBeforeItsLastDataIsDamage) {
  { const auto layer = Create(kMiB); }
  ASSERT_OK_AND_ASSIGN(auto file, fs_.Open("/layers/7-2", {Access::kReadWrite, Creation::kNever}));
  ASSERT_OK(file->Truncate(10 * kBlockBytes - 1));
  file.reset();
  EXPECT_ERROR(kCorrupt, Open(kMiB, 9, 1, Layer::Role::kFrozen));
  const auto refused = Open(kMiB, 9, 1);
  ASSERT_ERROR(kCorrupt, refused);
  EXPECT_FALSE(refused.error().next.empty());
  EXPECT_EQ(SizeOf("/layers/7-2"), 10 * kBlockBytes - 1) << "the evidence is left alone";
  EXPECT_OK(Open(kMiB, 8, 1, Layer::Role::kFrozen));
}

TEST_F(LayerTest, TheLastBlockMayEndWithTheLayer) {
  const uint64_t size = kMiB + kSectorBytes;
  { const auto layer = Create(size); }
  EXPECT_OK(Open(size, kMiB / kBlockBytes, 1));
}

TEST_F(LayerTest, AHeadGetsTheSizeThatWasRecorded) {
  { const auto layer = Create(kMiB); }
  ASSERT_OK_AND_ASSIGN(const auto layer, Open(3 * kMiB, 0, 1));
  EXPECT_EQ(SizeOf("/layers/7-2"), 3 * kMiB);
}

TEST_F(LayerTest, DataThatIsGoneIsAnErrorNeverZeros) {
  const auto layer = Create(kMiB);
  ASSERT_OK(layer->Write(0, AsBytes(PatternOf(1, kMiB))));
  ASSERT_OK_AND_ASSIGN(auto file, fs_.Open("/layers/7-2", {Access::kReadWrite, Creation::kNever}));
  ASSERT_OK(file->Truncate(10'000));
  EXPECT_OK(Read(*layer, 0, 10'000));
  EXPECT_ERROR(kCorrupt, Read(*layer, 8'192, 4'096));
  EXPECT_ERROR(kCorrupt, Read(*layer, 500'000, 1));
}

TEST_F(LayerTest, AHeadIsLockedOnTheFilesThatItWrites) {
  const auto layer = Create(16 * kTiB);
  ASSERT_OK(layer->Write(8 * kTiB, AsBytes("x")));
  for (const char* path : {"/layers/7-2", "/layers/7-2.1"}) {
    ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open(path, {}));
    EXPECT_TRUE(file->IsLockedElsewhere().value_or(false)) << path;
  }
  EXPECT_ERROR(kBusy, Open(16 * kTiB, 0, 0));
  EXPECT_OK(Open(16 * kTiB, 0, 0, Layer::Role::kFrozen));
}

TEST_F(LayerTest, AnOpenRefusedForItsLockChangesNothing) {
  const auto layer = Create(kMiB);
  EXPECT_ERROR(kBusy, Open(2 * kMiB, 0, 0));
  EXPECT_EQ(SizeOf("/layers/7-2"), kMiB);
}

TEST_F(LayerTest, AFrozenLayerIsUnlockedAndStillRead) {
  const auto layer = Create(16 * kTiB);
  ASSERT_OK(layer->Write(8 * kTiB, AsBytes("x")));
  ASSERT_OK(layer->Freeze());
  for (const char* path : {"/layers/7-2", "/layers/7-2.1"}) {
    ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open(path, {}));
    EXPECT_FALSE(file->IsLockedElsewhere().value_or(true)) << path;
  }
  EXPECT_EQ(Read(*layer, 8 * kTiB, 1).value_or(""), "x");
}

TEST_F(LayerTest, ResizingCutsAndGrowsEveryFile) {
  const auto layer = Create(12 * kTiB);
  ASSERT_OK(layer->Write(0, AsBytes("a")));
  ASSERT_OK(layer->Write(10 * kTiB, AsBytes("b")));
  ASSERT_OK(layer->Resize(20 * kTiB));
  EXPECT_EQ(SizeOf("/layers/7-2.1"), 8 * kTiB);
  ASSERT_OK(layer->Resize(kMiB));
  EXPECT_EQ(SizeOf("/layers/7-2"), kMiB);
  EXPECT_EQ(SizeOf("/layers/7-2.1"), 0u);
  ASSERT_OK(layer->Resize(12 * kTiB));
  EXPECT_EQ(Read(*layer, 0, 1).value_or(""), "a");
  EXPECT_EQ(Read(*layer, 10 * kTiB, 1).value_or(""), std::string(1, '\0'));
}

TEST_F(LayerTest, AFileLeftByAShrinkIsTakenAgainWhenTheLayerHasGrown) {
  {
    const auto layer = Create(16 * kTiB);
    ASSERT_OK(layer->Write(8 * kTiB, AsBytes("cut off")));
    ASSERT_OK(layer->Resize(kMiB));
  }
  ASSERT_OK_AND_ASSIGN(const auto layer, Open(kMiB, 0, 0));
  ASSERT_OK(layer->Resize(16 * kTiB));
  ASSERT_OK(layer->Write(8 * kTiB + kBlockBytes, AsBytes("new")));
  EXPECT_EQ(Read(*layer, 8 * kTiB + kBlockBytes, 3).value_or(""), "new");
  EXPECT_EQ(Read(*layer, 8 * kTiB, 7).value_or(""), std::string(7, '\0'));
}

TEST_F(LayerTest, LinksShareTheBytesAndOutliveTheOriginal) {
  auto layer = Create(16 * kTiB);
  ASSERT_OK(layer->Write(0, AsBytes("first")));
  ASSERT_OK(layer->Write(8 * kTiB, AsBytes("second")));
  layer->ownership().Set(0, 1, BlockState::kData);
  layer->ownership().Set(8 * kTiB / kBlockBytes, 1, BlockState::kData);
  ASSERT_OK(layer->Sync());
  ASSERT_OK(layer->Freeze());
  ASSERT_OK(
      ReplaceFile(fs_, Layer::OwnershipPath(at_), "/layers/tmp", layer->ownership().Encode()));
  const Layer::Location copy{"/clone", "1-1"};
  ASSERT_OK(Layer::LinkFiles(fs_, at_, copy));
  ASSERT_OK(fs_.SyncDirectory("/clone"));
  EXPECT_ERROR(kExists, Layer::LinkFiles(fs_, at_, copy));
  layer.reset();
  ASSERT_OK(Layer::RemoveFiles(fs_, at_));
  ASSERT_OK(fs_.SyncDirectory("/layers"));
  fs_.Crash();
  ASSERT_OK_AND_ASSIGN(const auto left, fs_.List("/layers"));
  EXPECT_TRUE(left.empty());
  ASSERT_OK_AND_ASSIGN(const std::string owned, ReadWholeFile(fs_, "/clone/1-1.owned", kMiB));
  ASSERT_OK_AND_ASSIGN(auto ownership, OwnershipSet::Decode(owned));
  ASSERT_OK_AND_ASSIGN(const auto clone,
                       Layer::Open(fs_, copy, 16 * kTiB, std::move(ownership), Layer::Role::kFrozen));
  EXPECT_EQ(Read(*clone, 0, 5).value_or(""), "first");
  EXPECT_EQ(Read(*clone, 8 * kTiB, 6).value_or(""), "second");
}

TEST_F(LayerTest, RemovalTakesWhatIsThere) {
  ASSERT_OK(Layer::RemoveFiles(fs_, at_));  // nothing
  { ASSERT_OK(Create(kMaxVdiBytes)->Write(kMaxVdiBytes - kBlockBytes, AsBytes("x"))); }
  ASSERT_OK(Layer::RemoveFiles(fs_, at_));
  ASSERT_OK_AND_ASSIGN(const auto left, fs_.List("/layers"));
  EXPECT_TRUE(left.empty());
  EXPECT_EQ(fs_.open_handles(), 0u);
}

TEST_F(LayerTest, SyncedDataSurvivesACrashUnsyncedMayNot) {
  const auto layer = Create(16 * kTiB);
  ASSERT_OK(layer->Write(0, AsBytes(PatternOf(1, 2 * kBlockBytes))));
  ASSERT_OK(layer->Write(8 * kTiB, AsBytes(PatternOf(2, kBlockBytes))));
  ASSERT_OK(layer->Sync());
  ASSERT_OK(layer->Write(0, AsBytes(PatternOf(3, kBlockBytes))));
  fs_.Crash();
  EXPECT_ERROR(kIo, layer->Write(0, AsBytes("zombie")));
  ASSERT_OK_AND_ASSIGN(const auto reopened, Open(16 * kTiB, 0, 2));
  EXPECT_EQ(Read(*reopened, 0, 2 * kBlockBytes).value_or(""), PatternOf(1, 2 * kBlockBytes));
  EXPECT_EQ(Read(*reopened, 8 * kTiB, kBlockBytes).value_or(""), PatternOf(2, kBlockBytes));
}

TEST_F(LayerTest, AFileMadeAfterASyncIsDurableWithTheNext) {
  const auto layer = Create(16 * kTiB);
  ASSERT_OK(layer->Sync());
  const uint64_t before = fs_.count(Call::kSyncDirectory);
  ASSERT_OK(layer->Sync());
  EXPECT_EQ(fs_.count(Call::kSyncDirectory), before) << "no new file, no sync of the folder";
  ASSERT_OK(layer->Write(8 * kTiB, AsBytes(PatternOf(2, kBlockBytes))));
  ASSERT_OK(layer->Sync());
  fs_.Crash();
  ASSERT_OK_AND_ASSIGN(const auto reopened, Open(16 * kTiB, 8 * kTiB / kBlockBytes, 1));
  EXPECT_EQ(Read(*reopened, 8 * kTiB, kBlockBytes).value_or(""), PatternOf(2, kBlockBytes));
}

TEST_F(LayerTest, AFolderThatCouldNotBeSyncedIsSyncedTheNextTime) {
  const auto layer = Create(kMiB);
  ASSERT_OK(layer->Write(0, AsBytes("x")));
  fs_.Plan({.at = 1, .code = ErrorCode::kIo, .only_call = Call::kSyncDirectory});
  EXPECT_ERROR(kIo, layer->Sync());
  ASSERT_OK(layer->Sync());
  fs_.Crash();
  EXPECT_TRUE(Exists("/layers/7-2"));
}

TEST_F(LayerTest, AFullStoreRefusesAWriteAndHarmsNothing) {
  fs_.SetCapacity(2 * kBlockBytes);
  const auto layer = Create(kMiB);
  ASSERT_OK(layer->Write(0, AsBytes(PatternOf(1, 2 * kBlockBytes))));
  EXPECT_ERROR(kNoSpace, layer->Write(100'000, AsBytes("no room")));
  EXPECT_OK(layer->Sync());
  fs_.SetCapacity(100 * kBlockBytes);
  ASSERT_OK(layer->Write(100'000, AsBytes("room")));
  EXPECT_EQ(Read(*layer, 0, 2 * kBlockBytes).value_or(""), PatternOf(1, 2 * kBlockBytes));
  EXPECT_EQ(Read(*layer, 100'000, 4).value_or(""), "room");
}

// Whatever step the machine stops at, data whose sync returned is there.
TEST_F(LayerTest, ACrashAtAnyStepKeepsWhatWasSynced) {
  bool finished = false;
  for (uint64_t step = 1; !finished; ++step) {
    ASSERT_LT(step, 50u);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SimulatedFileSystem fs;
      ASSERT_OK(fs.MakeDirectory("/layers"));
      ASSERT_OK(fs.SyncDirectory("/"));
      fs.FailAfter(step, FaultMode::kCrash);
      int synced = 0;
      const auto act = [&]() -> Status {
        QUOIN_ASSIGN(const auto layer, Layer::Create(fs, at_, 16 * kTiB));
        for (uint64_t i = 0; i < 3; ++i) {
          QUOIN_TRY(layer->Write(i * 4 * kTiB, AsBytes(PatternOf(i, kBlockBytes))));
          QUOIN_TRY(layer->Sync());
          ++synced;
        }
        return {};
      };
      const Status status = act();
      finished = status.has_value();
      fs.Crash(seed == 0 ? CrashMode::kLoseAll : CrashMode::kRandom, seed);
      auto ownership = std::make_unique<OwnershipSet>();
      for (int i = 0; i < synced; ++i) {
        ownership->Set(static_cast<uint64_t>(i) * 4 * kTiB / kBlockBytes, 1, BlockState::kData);
      }
      if (synced == 0) continue;  // the layer itself may be absent
      ASSERT_OK_AND_ASSIGN(const auto layer, Layer::Open(fs, at_, 16 * kTiB, std::move(ownership),
                                                         Layer::Role::kHead));
      for (int i = 0; i < synced; ++i) {
        const auto place = static_cast<uint64_t>(i);
        ASSERT_EQ(Read(*layer, place * 4 * kTiB, kBlockBytes).value_or(""),
                  PatternOf(place, kBlockBytes));
      }
    }
  }
}

}  // namespace
}  // namespace quoin

#include "blockstore/packs/pack_appender.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/sample_packs.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

std::vector<std::byte> MustRead(PackStore& store, const SlotLocation& first, uint32_t count) {
  std::vector<std::byte> bytes(count * kBlockBytes);
  EXPECT_OK(store.ReadBlocks(first, count, 0, bytes));
  return bytes;
}

class PackAppenderTest : public ::testing::TestWithParam<size_t> {
 protected:
  PackAppenderOptions Options() { return SampleOptions("/tmp", GetParam()); }

  std::vector<DirectoryEntry> Temporaries() {
    return sample_.file_system.List("/tmp").value_or(std::vector<DirectoryEntry>{{"?"}});
  }

  SamplePackStore sample_;
};

TEST_P(PackAppenderTest, WhatIsAddedIsReadAfterFinish) {
  PackAppender appender(sample_.store, Options());
  struct Added {
    SlotLocation at;
    uint64_t first;
    uint32_t count;
  };
  std::vector<Added> added;
  uint64_t next = 0;
  for (const uint32_t count : {1u, 3u, 16u, 17u, 5u, 100u, 1u}) {
    ASSERT_OK_AND_ASSIGN(const SlotLocation at, AddSampleBlocks(appender, next, count));
    EXPECT_EQ(at.slot, next);
    added.push_back({at, next, count});
    next += count;
  }
  const std::string record = PatternOf(1, 100'000);
  ASSERT_OK_AND_ASSIGN(const SlotLocation record_at,
                       appender.AddRecord(RecordKind::kMapNode, record));
  EXPECT_EQ(record_at.slot, next);
  ASSERT_OK_AND_ASSIGN(const SlotLocation last, AddSampleBlocks(appender, 500, 2));
  EXPECT_EQ(last.slot, next + 1);
  EXPECT_ERROR(kNotFound, sample_.store.Get(record_at.pack)) << "not before Finish";

  std::map<SlotLocation, Digest> told;
  ASSERT_OK_AND_ASSIGN(
      const std::vector<PublishedPack> packs,
      appender.Finish([&](const SlotLocation& first, std::span<const Digest> digests) {
        for (uint32_t i = 0; i < digests.size(); ++i) {
          told[{first.pack, first.slot + i}] = digests[i];
        }
      }));
  ASSERT_EQ(packs.size(), 1u);
  EXPECT_EQ(packs[0].slots, next + 3);
  EXPECT_TRUE(Temporaries().empty());

  for (const Added& a : added) {
    EXPECT_EQ(MustRead(sample_.store, a.at, a.count), SampleBlocks(a.first, a.count));
    const std::vector<Digest> digests = DigestsOfBlocks(SampleBlocks(a.first, a.count));
    for (uint32_t i = 0; i < a.count; ++i) EXPECT_EQ((told[{a.at.pack, a.at.slot + i}]), digests[i]);
  }
  EXPECT_EQ(told.size(), next + 2) << "the record's digest is none of a block";
  EXPECT_EQ(MustRead(sample_.store, last, 2), SampleBlocks(500, 2));
  ASSERT_OK_AND_ASSIGN(const auto read, sample_.store.ReadRecord(RecordKind::kMapNode, record_at));
  EXPECT_EQ(*read, record);
  ASSERT_OK_AND_ASSIGN(const auto pack, sample_.store.Get(packs[0].id));
  EXPECT_EQ(pack->file_bytes(), packs[0].file_bytes);
  EXPECT_EQ(pack->frames().size(), 9u + 1u + 1u) << "small additions share frames";
}

TEST_P(PackAppenderTest, EveryCodecIsReadBack) {
  for (const Compression codec : {Compression::kNone, Compression::kLz4, Compression::kZstd}) {
    PackAppenderOptions options = Options();
    options.compression = codec;
    PackAppender appender(sample_.store, std::move(options));
    ASSERT_OK_AND_ASSIGN(const SlotLocation at, AddSampleBlocks(appender, 0, 50));
    ASSERT_OK_AND_ASSIGN(const std::vector<PublishedPack> packs, appender.Finish());
    EXPECT_EQ(packs[0].file_bytes < 50 * kBlockBytes, codec != Compression::kNone);
    EXPECT_EQ(MustRead(sample_.store, at, 50), SampleBlocks(0, 50));
  }
}

TEST_P(PackAppenderTest, APackThatWouldPassItsLimitIsClosedBeforeAndAnAdditionNeverSplit) {
  PackAppenderOptions options = Options();
  options.max_pack_bytes = 1 << 20;
  PackAppender appender(sample_.store, std::move(options));
  std::vector<SlotLocation> places;
  for (uint64_t i = 0; i < 60; ++i) {
    ASSERT_OK_AND_ASSIGN(const SlotLocation at, AddSampleBlocks(appender, i * 20, 20));
    places.push_back(at);
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<PublishedPack> packs, appender.Finish());
  EXPECT_GT(packs.size(), 2u);
  EXPECT_LT(packs.size(), 30u);
  for (const PublishedPack& pack : packs) EXPECT_LE(pack.file_bytes, 1u << 20);
  ASSERT_OK_AND_ASSIGN(const std::vector<Id> listed, sample_.store.List());
  EXPECT_EQ(listed.size(), packs.size());
  for (uint64_t i = 0; i < places.size(); ++i) {
    EXPECT_EQ(MustRead(sample_.store, places[i], 20), SampleBlocks(i * 20, 20));
  }
  EXPECT_TRUE(Temporaries().empty());
}

TEST_P(PackAppenderTest, AnAdditionLargerThanTheLimitHasAPackToItself) {
  PackAppenderOptions options = Options();
  options.max_pack_bytes = 1;
  PackAppender appender(sample_.store, std::move(options));
  ASSERT_OK(AddSampleBlocks(appender, 0, 30));
  ASSERT_OK_AND_ASSIGN(const SlotLocation at, AddSampleBlocks(appender, 30, 30));
  EXPECT_EQ(at.slot, 0u);
  ASSERT_OK_AND_ASSIGN(const std::vector<PublishedPack> packs, appender.Finish());
  EXPECT_EQ(packs.size(), 2u);
}

TEST_P(PackAppenderTest, NothingAddedMakesNothing) {
  PackAppender appender(sample_.store, Options());
  ASSERT_OK_AND_ASSIGN(const std::vector<PublishedPack> packs, appender.Finish());
  EXPECT_TRUE(packs.empty());
  EXPECT_TRUE(Temporaries().empty());
}

TEST_P(PackAppenderTest, WhatMakesNoSenseIsRefusedAndHarmsNothing) {
  PackAppender appender(sample_.store, Options());
  const std::vector<std::byte> blocks = SampleBlocks(0, 2);
  const std::vector<Digest> digests = DigestsOfBlocks(blocks);
  EXPECT_ERROR(kInvalid, appender.AddBlocks({}, {}));
  EXPECT_ERROR(kInvalid, appender.AddBlocks(blocks, std::span(digests).first(1)));
  EXPECT_ERROR(kInvalid, appender.AddBlocks(std::span(blocks).first(100), std::span(digests)));
  const std::vector<Digest> many(kMaxBlocksPerAddition + 1);
  EXPECT_ERROR(kInvalid,
               appender.AddBlocks(std::vector<std::byte>(many.size() * kBlockBytes), many));
  EXPECT_ERROR(kInvalid, appender.AddRecord(RecordKind::kRoot, ""));
  EXPECT_ERROR(kTooLarge,
               appender.AddRecord(RecordKind::kRoot, std::string(kMaxRecordBytes + 1, 'x')));
  ASSERT_OK_AND_ASSIGN(const SlotLocation at, appender.AddBlocks(blocks, digests));
  ASSERT_OK_AND_ASSIGN(const SlotLocation longest,
                       appender.AddRecord(RecordKind::kRoot, std::string(kMaxRecordBytes, 'x')));
  ASSERT_OK(appender.Finish());
  EXPECT_ERROR(kInvalid, appender.Finish());
  EXPECT_ERROR(kInvalid, appender.AddBlocks(blocks, digests));
  EXPECT_EQ(MustRead(sample_.store, at, 2), blocks);
  EXPECT_OK(sample_.store.ReadRecord(RecordKind::kRoot, longest));
}

TEST_P(PackAppenderTest, AnAbandonedAppenderLeavesNothing) {
  {
    PackAppender appender(sample_.store, Options());
    ASSERT_OK(AddSampleBlocks(appender, 0, 300));
  }
  EXPECT_TRUE(Temporaries().empty());
  ASSERT_OK_AND_ASSIGN(const std::vector<Id> listed, sample_.store.List());
  EXPECT_TRUE(listed.empty());
  EXPECT_EQ(sample_.file_system.open_handles(), 0u);
}

TEST_P(PackAppenderTest, AFullStoreFailsThisAndAllThatFollowsAndGivesTheSpaceBack) {
  const uint64_t used = sample_.file_system.used_bytes();
  sample_.file_system.SetCapacity(used + (1 << 20));
  PackAppenderOptions options = Options();
  options.compression = Compression::kNone;
  PackAppender appender(sample_.store, std::move(options));
  Result<SlotLocation> added = SlotLocation();
  for (uint64_t i = 0; i < 40 && added; ++i) added = AddSampleBlocks(appender, i * 64, 64);
  EXPECT_ERROR(kNoSpace, added);
  EXPECT_ERROR(kNoSpace, AddSampleBlocks(appender, 0, 1));
  EXPECT_ERROR(kNoSpace, appender.AddRecord(RecordKind::kRoot, "x"));
  EXPECT_ERROR(kNoSpace, appender.Finish());
  EXPECT_TRUE(Temporaries().empty());
}

TEST_P(PackAppenderTest, AnErrorAtAnyStepIsReportedAndLeavesNoTemporary) {
  for (uint64_t step = 1;; ++step) {
    SCOPED_TRACE(step);
    SamplePackStore sample;
    sample.file_system.FailAfter(step, FaultMode::kErrorOnce, ErrorCode::kNoSpace);
    const uint64_t before = sample.file_system.steps();
    Result<std::vector<PublishedPack>> finished = std::vector<PublishedPack>();
    {
      PackAppender appender(sample.store, Options());
      (void)AddSampleBlocks(appender, 0, 40);
      finished = appender.Finish();
    }
    const uint64_t steps = sample.file_system.steps() - before;
    sample.file_system.ClearFaults();
    if (steps < step) {
      EXPECT_OK(finished);
      break;
    }
    // Only the removal of the temporary name may fail unseen.
    const auto left = sample.file_system.List("/tmp").value();
    if (finished) {
      EXPECT_EQ(left.size(), 1u);
    } else {
      EXPECT_ERROR(kNoSpace, finished);
      EXPECT_TRUE(left.empty());
    }
    EXPECT_EQ(sample.file_system.open_handles(), 0u);
  }
}

TEST_P(PackAppenderTest, ManyThreadsAddAtOnce) {
  constexpr uint64_t kThreads = 3;
  constexpr uint64_t kRounds = 100;
  PackAppenderOptions options = Options();
  options.max_pack_bytes = 2 << 20;
  PackAppender appender(sample_.store, std::move(options));
  std::vector<std::vector<SlotLocation>> places(kThreads);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kRounds; ++i) {
        const uint64_t first = (t * kRounds + i) * 8;
        const Result<SlotLocation> at = AddSampleBlocks(appender, first, 1 + i % 8);
        ASSERT_OK(at);
        places[t].push_back(*at);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK(appender.Finish());
  for (uint64_t t = 0; t < kThreads; ++t) {
    for (uint64_t i = 0; i < kRounds; ++i) {
      const auto count = static_cast<uint32_t>(1 + i % 8);
      EXPECT_EQ(MustRead(sample_.store, places[t][i], count),
                SampleBlocks((t * kRounds + i) * 8, count));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Workers, PackAppenderTest, ::testing::Values(0, 1, 3));

TEST(PackAppenderCrashTest, ACrashAtAnyStepLeavesWholePacksOrNone) {
  for (const CrashMode mode : {CrashMode::kLoseAll, CrashMode::kRandom, CrashMode::kProcessOnly}) {
    bool done = false;
    for (uint64_t step = 1; !done; ++step) {
      for (uint64_t seed = 0; seed < 4; ++seed) {
        SCOPED_TRACE(testing::Message() << "step " << step << " seed " << seed);
        SamplePackStore sample;
        sample.file_system.FailAfter(step, FaultMode::kCrash);
        Result<std::vector<PublishedPack>> finished = std::vector<PublishedPack>();
        {
          PackAppenderOptions options = SampleOptions("/tmp");
          options.max_pack_bytes = 100'000;
          PackAppender appender(sample.store, std::move(options));
          (void)AddSampleBlocks(appender, 0, 20);
          (void)AddSampleBlocks(appender, 20, 20);
          finished = appender.Finish();
        }
        done = !sample.file_system.stopped();
        sample.file_system.Crash(mode, seed);
        PackStore after(sample.file_system, "/packs", sample.cache);
        ASSERT_OK_AND_ASSIGN(const std::vector<Id> listed, after.List());
        if (finished) {
          ASSERT_EQ(listed.size(), 2u);
        }
        for (const Id& id : listed) {
          ASSERT_OK_AND_ASSIGN(const auto pack, after.Get(id));
          EXPECT_TRUE(pack->is_intact());
          const std::vector<std::byte> bytes = MustRead(after, {id, 0}, 20);
          EXPECT_TRUE(bytes == SampleBlocks(0, 20) || bytes == SampleBlocks(20, 20));
        }
      }
    }
  }
}

}  // namespace
}  // namespace quoin

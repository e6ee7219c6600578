#include "blockstore/packs/pack_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/sample_packs.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

// A published pack of sample blocks, from `first` on.
Id MakePack(PackStore& store, uint64_t first, uint64_t count,
            Compression codec = Compression::kLz4) {
  PackAppenderOptions options = SampleOptions("/tmp");
  options.compression = codec;
  PackAppender appender(store, std::move(options));
  EXPECT_OK(AddSampleBlocks(appender, first, count));
  return appender.Finish().value()[0].id;
}

std::vector<std::byte> Part(uint64_t first_block, uint64_t offset, size_t length) {
  const std::vector<std::byte> blocks =
      SampleBlocks(first_block, (offset + length) / kBlockBytes + 1);
  const auto begin = blocks.begin() + static_cast<std::ptrdiff_t>(offset);
  return {begin, begin + static_cast<std::ptrdiff_t>(length)};
}

// Flips a byte in the payload of the frame that holds the slot, at its middle.
void Damage(SamplePackStore& sample, const SlotLocation& at, uint64_t in_frame) {
  const auto pack = Pack::Open(sample.file_system, at.pack, sample.store.PathOf(at.pack)).value();
  const FrameEntry& frame = pack->frames()[*pack->FrameOf(at.slot)];
  const auto file = sample.file_system.Open(pack->path(), {Access::kReadWrite}).value();
  std::vector<std::byte> byte(1);
  ASSERT_OK(file->Read(frame.payload_offset() + in_frame, byte));
  byte[0] ^= std::byte{0x80};
  ASSERT_OK(file->Write(frame.payload_offset() + in_frame, byte));
}

class PackStoreTest : public ::testing::Test {
 protected:
  SamplePackStore sample_;
  PackStore& store_ = sample_.store;
};

TEST_F(PackStoreTest, AnyPartOfARunIsRead) {
  std::mt19937_64 random(DrawSeed());
  const Id id = MakePack(store_, 0, 200);
  for (int i = 0; i < 500; ++i) {
    const auto slot = static_cast<uint32_t>(random() % 190);
    const auto count = static_cast<uint32_t>(1 + random() % (200 - slot));
    const uint64_t offset = random() % (count * kBlockBytes);
    const size_t length = random() % (count * kBlockBytes - offset) + 1;
    std::vector<std::byte> out(length);
    ASSERT_OK(store_.ReadBlocks({id, slot}, count, offset, out));
    ASSERT_EQ(out, Part(slot, offset, length));
  }
  EXPECT_GT(sample_.cache.counters().hits, 0u);
}

TEST_F(PackStoreTest, BytesPastTheRunAreInvalidAndSlotsThatAreNotThereCorrupt) {
  const Id id = MakePack(store_, 0, 4);
  std::vector<std::byte> out(kBlockBytes);
  EXPECT_ERROR(kInvalid, store_.ReadBlocks({id, 0}, 1, 1, out));
  EXPECT_ERROR(kInvalid, store_.ReadBlocks({id, 0}, 1, UINT64_MAX, out));
  EXPECT_ERROR(kCorrupt, store_.ReadBlocks({id, 4}, 1, 0, out));
  EXPECT_ERROR(kCorrupt, store_.ReadBlocks({id, UINT32_MAX}, 10, 5 * kBlockBytes, out));
  EXPECT_ERROR(kCorrupt, store_.ReadBlocks({Id::Random(), 0}, 1, 0, out)) << "never ENOENT";
  EXPECT_OK(store_.ReadBlocks({id, 0}, 4, 0, std::span<std::byte>()));
}

TEST_F(PackStoreTest, RecordsAreOfTheirKind) {
  PackAppender appender(store_, SampleOptions("/tmp"));
  ASSERT_OK_AND_ASSIGN(const SlotLocation at, appender.AddRecord(RecordKind::kRoot, "root"));
  ASSERT_OK_AND_ASSIGN(const SlotLocation block, AddSampleBlocks(appender, 0, 1));
  ASSERT_OK(appender.Finish());
  ASSERT_OK_AND_ASSIGN(const auto record, store_.ReadRecord(RecordKind::kRoot, at));
  EXPECT_EQ(*record, "root");
  EXPECT_ERROR(kCorrupt, store_.ReadRecord(RecordKind::kMapNode, at));
  EXPECT_ERROR(kCorrupt, store_.ReadRecord(RecordKind::kRoot, block));
  EXPECT_ERROR(kNotFound, store_.ReadRecord(RecordKind::kRoot, {at.pack, 9}));
  EXPECT_ERROR(kNotFound, store_.ReadRecord(RecordKind::kRoot, {Id::Random(), 0}));
  std::vector<std::byte> out(kBlockBytes);
  EXPECT_ERROR(kCorrupt, store_.ReadBlocks(at, 1, 0, out)) << "a record is no block";
  Damage(sample_, at, 0);
  EXPECT_ERROR(kCorrupt, store_.ReadRecord(RecordKind::kRoot, at));
}

TEST_F(PackStoreTest, DigestsOfAnyRunOfSlots) {
  const Id id = MakePack(store_, 0, 40);
  ASSERT_OK_AND_ASSIGN(const std::vector<Digest> digests, store_.DigestsOf(id, 10, 100));
  const std::vector<Digest> expected = DigestsOfBlocks(SampleBlocks(10, 30));
  ASSERT_EQ(digests.size(), 100u);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), digests.begin()));
  for (size_t i = 30; i < 100; ++i) EXPECT_TRUE(digests[i].IsNull());
  EXPECT_ERROR(kInvalid, store_.DigestsOf(id, 1, kMaxPackSlots));
  EXPECT_ERROR(kInvalid, store_.DigestsOf(id, UINT32_MAX, 2));
  EXPECT_ERROR(kNotFound, store_.DigestsOf(Id::Random(), 0, 1));
}

TEST_F(PackStoreTest, OnlySoManyPacksStayOpen) {
  std::vector<Id> ids;
  for (uint64_t i = 0; i < 20; ++i) ids.push_back(MakePack(store_, i * 4, 4));
  std::vector<std::byte> out(kBlockBytes);
  for (int round = 0; round < 3; ++round) {
    for (uint64_t i = 0; i < ids.size(); ++i) {
      ASSERT_OK(store_.ReadBlocks({ids[i], 1}, 1, 0, out));
      EXPECT_EQ(out, SampleBlock(i * 4 + 1));
    }
  }
  EXPECT_LE(sample_.file_system.open_handles(), 8u);
}

TEST_F(PackStoreTest, ListsPacksAndPassesOverWhatIsNone) {
  std::set<Id> ids;
  for (uint64_t i = 0; i < 5; ++i) ids.insert(MakePack(store_, i, 1));
  const std::string folder = store_.PathOf(*ids.begin()).substr(0, 9);
  for (const std::string& name : {folder + "/notes", folder + "/" + std::string(32, 'g'),
                                  std::string("/packs/lost+found")}) {
    ASSERT_OK(sample_.file_system.Open(name, {Access::kReadWrite, Creation::kExclusive, 0600}));
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<Id> listed, store_.List());
  EXPECT_EQ(std::vector<Id>(ids.begin(), ids.end()), listed);
}

TEST_F(PackStoreTest, ARemovedPackIsGone) {
  const Id id = MakePack(store_, 0, 4);
  std::vector<std::byte> out(kBlockBytes);
  ASSERT_OK(store_.ReadBlocks({id, 0}, 1, 0, out));
  ASSERT_OK(store_.Remove(id));
  EXPECT_ERROR(kNotFound, store_.Remove(id));
  EXPECT_ERROR(kNotFound, store_.Get(id));
  EXPECT_EQ(sample_.cache.counters().bytes, 0u);
  EXPECT_EQ(sample_.file_system.open_handles(), 0u);
  sample_.file_system.Crash();
  EXPECT_ERROR(kNotFound, sample_.file_system.Facts(store_.PathOf(id)));
}

TEST_F(PackStoreTest, ADamagedBlockFailsAloneAndIsReadFromACopyOnceThereIsOne) {
  const Id id = MakePack(store_, 0, 16, Compression::kNone);
  const Id copy = MakePack(store_, 0, 16);
  Damage(sample_, {id, 5}, 5 * kBlockBytes + 100);
  std::vector<std::byte> out(kBlockBytes);
  for (uint32_t slot = 0; slot < 16; ++slot) {
    if (slot == 5) {
      const Status status = store_.ReadBlocks({id, slot}, 1, 0, out);
      ASSERT_ERROR(kCorrupt, status);
      EXPECT_NE(status.error().what.find(id.ToString()), std::string::npos);
      EXPECT_NE(status.error().what.find("slot 5"), std::string::npos);
    } else {
      ASSERT_OK(store_.ReadBlocks({id, slot}, 1, 0, out));
      EXPECT_EQ(out, SampleBlock(slot));
    }
  }
  const Digest wanted = DigestOf(SampleBlock(5));
  std::vector<SlotLocation> answer{{copy, 6}};  // another block: never to be taken for the copy
  store_.SetHealer([&](const Digest& digest, const SlotLocation& damaged) {
    EXPECT_EQ(digest, wanted);
    EXPECT_EQ(damaged, (SlotLocation{id, 5}));
    return answer;
  });
  EXPECT_ERROR(kCorrupt, store_.ReadBlocks({id, 5}, 1, 0, out));
  answer.push_back({copy, 5});  // what is no copy is passed over
  std::vector<std::byte> run(3 * kBlockBytes);
  ASSERT_OK(store_.ReadBlocks({id, 4}, 4, 100, run));
  EXPECT_EQ(run, Part(4, 100, run.size()));
  answer = {{Id::Random(), 5}};
  EXPECT_ERROR(kCorrupt, store_.ReadBlocks({id, 5}, 1, 0, out));
}

TEST_F(PackStoreTest, AFailedReadIsTriedOnceMoreWithThePackOpenedAnew) {
  const Id id = MakePack(store_, 0, 40);
  ASSERT_OK(store_.Get(id));
  Fault fault;
  fault.only_call = Call::kRead;
  fault.code = ErrorCode::kLostOwnership;  // how storage says that a descriptor is stale
  sample_.file_system.Plan(fault);
  std::vector<std::byte> out(kBlockBytes);
  ASSERT_OK(store_.ReadBlocks({id, 3}, 1, 0, out));
  EXPECT_EQ(out, SampleBlock(3));
}

TEST_F(PackStoreTest, RewritingRemovesDeadFramesAndKeepsTheNumbersOfSlots) {
  const Id id = MakePack(store_, 0, 64);
  ASSERT_OK_AND_ASSIGN(const auto old_pack, store_.Get(id));
  const auto live = [](uint32_t slot) { return slot == 20 || slot == 63; };
  ASSERT_OK_AND_ASSIGN(const PackStore::Rewritten rewritten, store_.Rewrite(id, live, "/tmp/x"));
  EXPECT_TRUE(rewritten.written);
  EXPECT_EQ(rewritten.frames_removed, 2u);
  EXPECT_LT(rewritten.bytes_after, rewritten.bytes_before);
  ASSERT_OK_AND_ASSIGN(const FileFacts facts, sample_.file_system.Facts(store_.PathOf(id)));
  EXPECT_EQ(facts.size_bytes, rewritten.bytes_after);
  EXPECT_ERROR(kNotFound, sample_.file_system.Facts("/tmp/x"));

  ASSERT_OK_AND_ASSIGN(const auto pack, store_.Get(id));
  EXPECT_NE(pack, old_pack);
  EXPECT_EQ(pack->slots(), 32u);
  std::vector<std::byte> out(kBlockBytes);
  for (uint32_t slot = 0; slot < 64; ++slot) {
    const bool kept = (slot >= 16 && slot < 32) || slot >= 48;
    EXPECT_EQ(pack->FrameOf(slot).has_value(), kept);
    if (!kept) continue;
    ASSERT_OK(store_.ReadBlocks({id, slot}, 1, 0, out));
    EXPECT_EQ(out, SampleBlock(slot));
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<Digest> digests, store_.DigestsOf(id, 0, 64));
  EXPECT_TRUE(digests[15].IsNull());
  EXPECT_EQ(digests[16], DigestOf(SampleBlock(16)));
  EXPECT_EQ(digests[63], DigestOf(SampleBlock(63)));

  // Whoever held the old pack finishes on it.
  std::vector<std::byte> frame(kMaxBlockFrameBytes);
  ASSERT_OK(old_pack->ReadFrame(0, frame));
  EXPECT_TRUE(std::equal(frame.begin(), frame.begin() + kBlockBytes, SampleBlock(0).begin()));

  ASSERT_OK_AND_ASSIGN(const PackStore::Rewritten again, store_.Rewrite(id, live, "/tmp/x"));
  EXPECT_FALSE(again.written);
  ASSERT_OK(store_.Rewrite(id, [](uint32_t) { return false; }, "/tmp/x"));
  ASSERT_OK_AND_ASSIGN(const auto empty, store_.Get(id));
  EXPECT_EQ(empty->slots(), 0u);
}

TEST_F(PackStoreTest, RewritingCopiesDamageAsDamageAndMendsATableButNeverLosesWhatItCannotSee) {
  const auto all = [](uint32_t) { return true; };
  const Id id = MakePack(store_, 0, 48, Compression::kNone);
  Damage(sample_, {id, 5}, 5 * kBlockBytes);
  ASSERT_OK(store_.Rewrite(id, [](uint32_t slot) { return slot < 20; }, "/tmp/x"));
  std::vector<std::byte> out(kBlockBytes);
  EXPECT_ERROR(kCorrupt, store_.ReadBlocks({id, 5}, 1, 0, out));
  ASSERT_OK(store_.ReadBlocks({id, 4}, 1, 0, out));
  EXPECT_EQ(out, SampleBlock(4));

  const Id table = MakePack(store_, 100, 48);
  {
    ASSERT_OK_AND_ASSIGN(const auto pack, store_.Get(table));
    ASSERT_OK_AND_ASSIGN(const auto file,
                         sample_.file_system.Open(pack->path(), {Access::kReadWrite}));
    ASSERT_OK(file->Write(pack->frames().back().payload_end() + 3, AsBytes("!")));
  }
  ASSERT_OK_AND_ASSIGN(const PackStore::Rewritten mended, store_.Rewrite(table, all, "/tmp/x"));
  EXPECT_TRUE(mended.written);
  ASSERT_OK_AND_ASSIGN(const auto pack, store_.Get(table));
  EXPECT_TRUE(pack->is_intact());
  EXPECT_EQ(pack->slots(), 48u);

  ASSERT_OK_AND_ASSIGN(const auto file,
                       sample_.file_system.Open(pack->path(), {Access::kReadWrite}));
  ASSERT_OK(file->Truncate(pack->file_bytes() - 1));
  EXPECT_ERROR(kCorrupt, store_.Rewrite(table, all, "/tmp/x"));
}

TEST_F(PackStoreTest, AnErrorAtAnyStepOfRewritingLeavesAWholePackAndNoTemporary) {
  for (uint64_t step = 1;; ++step) {
    SCOPED_TRACE(step);
    SamplePackStore sample;
    const Id id = MakePack(sample.store, 0, 48);
    sample.file_system.FailAfter(step, FaultMode::kErrorOnce, ErrorCode::kNoSpace);
    const auto live = [](uint32_t slot) { return slot > 20; };
    const auto rewritten = sample.store.Rewrite(id, live, "/tmp/x");
    sample.file_system.ClearFaults();
    EXPECT_ERROR(kNotFound, sample.file_system.Facts("/tmp/x"));
    std::vector<std::byte> out(kBlockBytes);
    ASSERT_OK(sample.store.ReadBlocks({id, 40}, 1, 0, out));
    EXPECT_EQ(out, SampleBlock(40));
    if (rewritten) break;
    EXPECT_ERROR(kNoSpace, rewritten);
  }
}

TEST(PackStoreCrashTest, ACrashAtAnyStepOfRewritingLeavesTheOldPackOrTheNewOne) {
  std::set<uint32_t> seen;
  for (const CrashMode mode : {CrashMode::kLoseAll, CrashMode::kRandom, CrashMode::kProcessOnly}) {
    bool done = false;
    for (uint64_t step = 1; !done; ++step) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        SCOPED_TRACE(testing::Message() << "step " << step << " seed " << seed);
        SamplePackStore sample;
        const Id id = MakePack(sample.store, 0, 48);
        sample.file_system.FailAfter(step, FaultMode::kCrash);
        const auto rewritten =
            sample.store.Rewrite(id, [](uint32_t slot) { return slot > 20; }, "/tmp/x");
        done = !sample.file_system.stopped();
        sample.file_system.Crash(mode, seed);
        FrameCache cache(0);
        PackStore after(sample.file_system, "/packs", cache);
        ASSERT_OK_AND_ASSIGN(const auto pack, after.Get(id));
        EXPECT_TRUE(pack->is_intact());
        EXPECT_TRUE(pack->slots() == 32 || (pack->slots() == 48 && !rewritten));
        seen.insert(pack->slots());
        std::vector<std::byte> out(32 * kBlockBytes);
        ASSERT_OK(after.ReadBlocks({id, 16}, 32, 0, out));
        EXPECT_EQ(out, SampleBlocks(16, 32));
      }
    }
  }
  EXPECT_EQ(seen.size(), 2u);
}

TEST_F(PackStoreTest, ReadersNeverNoticeARewrite) {
  const Id id = MakePack(store_, 0, 256);
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (uint32_t t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      std::vector<std::byte> out(kBlockBytes);
      for (uint32_t i = 0; !stop; ++i) {
        const uint32_t slot = (t + i) % 8 + 200;
        ASSERT_OK(store_.ReadBlocks({id, slot}, 1, 0, out));
        ASSERT_EQ(out, SampleBlock(slot));
      }
    });
  }
  for (uint32_t dead = 16; dead < 200; dead += 16) {
    const auto rewritten =
        store_.Rewrite(id, [dead](uint32_t slot) { return slot >= dead; }, "/tmp/x");
    EXPECT_OK(rewritten);
    sample_.cache.Forget(id);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace quoin

// What is read of packs that are whole, and of packs with every sort of damage.
#include "blockstore/packs/pack.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>

#include "blockstore/packs/pack_scan.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/sample_packs.h"

namespace quoin {
namespace {

constexpr uint32_t kSlots = 4;  // a frame of two blocks, a record, a frame of one block

// Bytes of a pack file and what each slot holds.
struct SamplePack {
  Id id;
  std::string path;
  std::vector<std::byte> bytes;
  std::map<uint32_t, std::vector<std::byte>> slots;
};

class PackTest : public ::testing::TestWithParam<Compression> {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);  // each sort of damage is a line
    PackAppenderOptions options = SampleOptions("/tmp");
    options.compression = GetParam();
    PackAppender appender(sample_.store, std::move(options));
    ASSERT_OK(AddSampleBlocks(appender, 0, 2));
    const std::string record = PatternOf(5, 200) + std::string(200, 'r');
    ASSERT_OK_AND_ASSIGN(const SlotLocation at, appender.AddRecord(RecordKind::kRoot, record));
    ASSERT_OK(AddSampleBlocks(appender, 2, 1));  // one that does not compress
    ASSERT_OK(appender.Finish());
    pack_.id = at.pack;
    pack_.path = sample_.store.PathOf(at.pack);
    pack_.slots[0] = SampleBlock(0);
    pack_.slots[1] = SampleBlock(1);
    pack_.slots[3] = SampleBlock(2);
    const auto record_bytes = AsBytes(record);
    pack_.slots[at.slot].assign(record_bytes.begin(), record_bytes.end());
    ASSERT_OK_AND_ASSIGN(const auto file, sample_.file_system.Open(pack_.path, {}));
    ASSERT_OK_AND_ASSIGN(const FileFacts facts, file->Facts());
    pack_.bytes.resize(facts.size_bytes);
    ASSERT_OK(file->Read(0, pack_.bytes));
  }

  void TearDown() override { spdlog::set_level(spdlog::level::info); }

  // Opens a pack of these bytes.
  Result<std::shared_ptr<const Pack>> OpenBytes(std::span<const std::byte> bytes) {
    (void)damaged_.Remove("/pack");
    QUOIN_ASSIGN(const auto file,
                 damaged_.Open("/pack", {Access::kReadWrite, Creation::kExclusive, 0600}));
    QUOIN_TRY(file->Write(0, bytes));
    return Pack::Open(damaged_, pack_.id, "/pack");
  }

  // Reads all frames; every slot that is not called damaged must be right. Returns how many slots
  // were read.
  size_t CheckedSlots(const Pack& pack) {
    size_t good = 0;
    for (size_t i = 0; i < pack.frames().size(); ++i) {
      const FrameEntry& frame = pack.frames()[i];
      std::vector<std::byte> raw(frame.raw_bytes());
      const Result<SlotMask> damaged = pack.ReadFrame(i, raw);
      EXPECT_OK(damaged);
      if (!damaged) continue;
      for (uint32_t n = 0; n < frame.slots(); ++n) {
        if ((*damaged >> n & 1) != 0) continue;
        const std::vector<std::byte>& expected = pack_.slots.at(frame.first_slot() + n);
        const auto begin = raw.begin() + static_cast<std::ptrdiff_t>(n * kBlockBytes);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), begin))
            << "slot " << frame.first_slot() + n;
        ++good;
      }
    }
    return good;
  }

  SamplePackStore sample_;
  SimulatedFileSystem damaged_;
  SamplePack pack_;
};

TEST_P(PackTest, EverySlotIsFoundAndRight) {
  ASSERT_OK_AND_ASSIGN(const auto pack, OpenBytes(pack_.bytes));
  EXPECT_TRUE(pack->is_intact());
  EXPECT_TRUE(pack->is_complete());
  EXPECT_EQ(pack->slots(), kSlots);
  EXPECT_EQ(CheckedSlots(*pack), kSlots);
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    ASSERT_TRUE(pack->FrameOf(slot));
    EXPECT_TRUE(pack->frames()[*pack->FrameOf(slot)].Holds(slot));
  }
  EXPECT_FALSE(pack->FrameOf(kSlots));
  EXPECT_FALSE(pack->FrameOf(UINT32_MAX));
}

TEST_P(PackTest, DigestsAreThoseOfTheSlotsAndCanBeDropped) {
  ASSERT_OK_AND_ASSIGN(const auto pack, OpenBytes(pack_.bytes));
  for (int round = 0; round < 2; ++round) {
    ASSERT_OK_AND_ASSIGN(const auto digests, pack->Digests());
    ASSERT_EQ(digests->all().size(), kSlots);
    for (const auto& [slot, bytes] : pack_.slots) {
      EXPECT_EQ(digests->all()[slot], DigestOf(bytes)) << slot;
    }
    pack->DropDigests();
  }
}

TEST_P(PackTest, AFlippedByteAnywhereFailsTheSlotsConcernedAndNoOther) {
  ASSERT_OK_AND_ASSIGN(const auto whole, OpenBytes(pack_.bytes));
  for (size_t at = 0; at < pack_.bytes.size(); ++at) {
    SCOPED_TRACE(testing::Message() << "byte " << at);
    std::vector<std::byte> bytes = pack_.bytes;
    bytes[at] ^= std::byte{0x10};
    ASSERT_OK_AND_ASSIGN(const auto pack, OpenBytes(bytes));
    const size_t good = CheckedSlots(*pack);
    const auto hit = std::find_if(
        whole->frames().begin(), whole->frames().end(), [at](const FrameEntry& frame) {
          return at >= frame.payload_offset() && at < frame.payload_end();
        });
    if (hit == whole->frames().end()) {
      EXPECT_EQ(good, kSlots) << "only headers or tables were hit";
    } else if (hit->codec() == Compression::kNone) {
      EXPECT_EQ(good, kSlots - 1) << "one slot was hit";
    } else {
      EXPECT_GE(good, kSlots - hit->slots());
    }
    ASSERT_OK_AND_ASSIGN(const auto digests, pack->Digests());
    if (hit == whole->frames().end()) {
      for (const auto& [slot, content] : pack_.slots) {
        ASSERT_EQ(digests->all()[slot], DigestOf(content)) << slot;
      }
    }
  }
}

TEST_P(PackTest, TruncatedAnywhereItIsReadAsFarAsFramesAreWhole) {
  ASSERT_OK_AND_ASSIGN(const auto whole, OpenBytes(pack_.bytes));
  for (size_t length = 0; length < pack_.bytes.size(); ++length) {
    SCOPED_TRACE(testing::Message() << "cut to " << length);
    const auto pack = OpenBytes(std::span(pack_.bytes).first(length));
    if (length < kPackHeaderBytes) {
      EXPECT_ERROR(kCorrupt, pack);
      continue;
    }
    ASSERT_OK(pack);
    EXPECT_FALSE((*pack)->is_complete());
    size_t expected = 0;
    for (const FrameEntry& frame : whole->frames()) {
      if (frame.payload_end() <= length) expected += frame.slots();
    }
    EXPECT_EQ(CheckedSlots(**pack), expected);
    ASSERT_OK_AND_ASSIGN(const auto digests, (*pack)->Digests());
    EXPECT_EQ(digests->all().size(), expected);
  }
}

TEST_P(PackTest, AFileThatIsNotThatPackIsRefused) {
  EXPECT_ERROR(kCorrupt, OpenBytes(std::vector<std::byte>(10'000)));
  EXPECT_ERROR(kCorrupt, OpenBytes({}));
  EXPECT_ERROR(kNotFound, Pack::Open(damaged_, pack_.id, "/other"));
  const Id right = pack_.id;
  pack_.id = Id::Random();
  EXPECT_ERROR(kCorrupt, OpenBytes(pack_.bytes));
  pack_.id = right;
}

TEST_P(PackTest, ReadingFailsWhenTheStorageDoes) {
  ASSERT_OK_AND_ASSIGN(const auto pack, OpenBytes(pack_.bytes));
  Fault fault;
  fault.only_call = Call::kRead;
  damaged_.Plan(fault);
  std::vector<std::byte> raw(pack->frames()[0].raw_bytes());
  EXPECT_ERROR(kIo, pack->ReadFrame(0, raw));
  ASSERT_OK(pack->ReadFrame(0, raw));
  damaged_.Plan(fault);
  EXPECT_ERROR(kIo, Pack::Open(damaged_, pack_.id, "/pack"));
}

TEST_P(PackTest, ScanningFindsAllFramesBetweenRubbish) {
  ASSERT_OK_AND_ASSIGN(const auto whole, OpenBytes(pack_.bytes));
  std::vector<std::byte> bytes(pack_.bytes.begin(), pack_.bytes.begin() + kPackHeaderBytes);
  const std::string rubbish = "qnframe\nqnfrqnframe" + PatternOf(3, 2'000'000) + "qnframe\n";
  for (const FrameEntry& frame : whole->frames()) {
    const auto text = AsBytes(rubbish);
    bytes.insert(bytes.end(), text.begin(), text.end());
    const auto begin = pack_.bytes.begin() + static_cast<std::ptrdiff_t>(frame.payload_offset());
    bytes.insert(bytes.end(), begin - kFrameHeaderBytes, begin + frame.stored_bytes());
  }
  const auto tail = AsBytes(rubbish);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  ASSERT_OK_AND_ASSIGN(const auto pack, OpenBytes(bytes));
  EXPECT_EQ(CheckedSlots(*pack), kSlots);
}

INSTANTIATE_TEST_SUITE_P(Codecs, PackTest,
                         ::testing::Values(Compression::kNone, Compression::kLz4,
                                           Compression::kZstd),
                         [](const auto& test) { return std::string(ToWord(test.param)); });

}  // namespace
}  // namespace quoin

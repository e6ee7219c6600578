#include "blockstore/packs/pack_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

constexpr uint64_t kFileBytes = 1 << 20;

FrameEntry::Fields BlockFields(uint32_t first_slot, uint8_t slots, uint64_t offset) {
  FrameEntry::Fields fields;
  fields.payload_offset = offset;
  fields.first_slot = first_slot;
  fields.slots = slots;
  fields.raw_bytes = slots * kBlockBytes;
  fields.stored_bytes = fields.raw_bytes / 2;
  fields.codec = Compression::kLz4;
  fields.checksum = 0x0123456789abcdef;
  return fields;
}

FrameEntry MustMake(const FrameEntry::Fields& fields) {
  return FrameEntry::Make(fields, kFileBytes).value();
}

// The end of a pack with these frames, decoded again from a file that is `table_offset` longer.
Result<std::vector<FrameEntry>> EncodeAndDecode(const Id& id, std::span<const FrameEntry> frames,
                                                uint64_t table_offset) {
  size_t slots = 0;
  for (const FrameEntry& frame : frames) slots += frame.slots();
  const std::vector<Digest> digests(slots);
  const std::vector<std::byte> end = EncodePackEnd(id, frames, digests, table_offset);
  const auto bytes = std::span(end);
  QUOIN_ASSIGN(const PackTrailer trailer, DecodePackTrailer(bytes.last<kPackTrailerBytes>(), id,
                                                            table_offset + end.size()));
  QUOIN_TRY(DecodeSlotDigests(bytes.subspan(trailer.digests_offset - table_offset,
                                            slots * Digest::kBytes),
                              trailer));
  return DecodeFrameTable(bytes.first(frames.size() * kTableEntryBytes), trailer);
}

TEST(FrameEntryTest, KeepsEveryFieldUpToItsLimit) {
  FrameEntry::Fields record;
  record.payload_offset = kMaxPackFileBytes - kMaxRecordBytes;
  record.first_slot = kMaxPackSlots - 1;
  record.slots = 1;
  record.raw_bytes = record.stored_bytes = kMaxRecordBytes;
  record.kind = static_cast<FrameKind>(kMaxFrameKind);
  record.checksum = UINT64_MAX;
  ASSERT_OK_AND_ASSIGN(const FrameEntry frame, FrameEntry::Make(record, kMaxPackFileBytes));
  EXPECT_EQ(frame.raw_bytes(), kMaxRecordBytes);
  EXPECT_EQ(frame.end_slot(), kMaxPackSlots);
  EXPECT_EQ(frame.payload_end(), kMaxPackFileBytes);
  EXPECT_EQ(static_cast<int>(frame.kind()), kMaxFrameKind);
  EXPECT_EQ(frame.checksum(), UINT64_MAX);
  EXPECT_EQ(frame.fields().payload_offset, record.payload_offset);
  EXPECT_EQ(MustMake(BlockFields(7, 16, 80)).slots(), 16u);
}

TEST(FrameEntryTest, WhatCannotBeAFrameIsCorrupt) {
  const auto refused = [](auto change) {
    FrameEntry::Fields fields = BlockFields(0, 4, 80);
    change(fields);
    EXPECT_ERROR(kCorrupt, FrameEntry::Make(fields, kFileBytes));
  };
  refused([](auto& f) { f.slots = 0; });
  refused([](auto& f) { f.slots = 17; });
  refused([](auto& f) { f.first_slot = kMaxPackSlots - 3; });
  refused([](auto& f) { f.first_slot = UINT32_MAX; });
  refused([](auto& f) { f.raw_bytes -= 1; });
  refused([](auto& f) { f.raw_bytes = 0; });
  refused([](auto& f) { f.stored_bytes = 0; });
  refused([](auto& f) { f.stored_bytes = f.raw_bytes; });
  refused([](auto& f) { f.codec = Compression::kNone; });
  refused([](auto& f) { f.codec = static_cast<Compression>(3); });
  refused([](auto& f) { f.kind = static_cast<FrameKind>(32); });
  refused([](auto& f) { f.kind = FrameKindOf(RecordKind::kRoot); });  // of several slots
  refused([](auto& f) { f.payload_offset = 79; });
  refused([](auto& f) { f.payload_offset = kFileBytes - f.stored_bytes + 1; });
  refused([](auto& f) { f.payload_offset = UINT64_MAX; });
  refused([](auto& f) {
    f.kind = FrameKindOf(RecordKind::kRoot);
    f.slots = 1;
    f.raw_bytes = kMaxRecordBytes + 1;
  });
}

TEST(PackHeaderTest, IsOfThatPackOnly) {
  const Id id = Id::Random();
  PackHeaderBytes bytes = EncodePackHeader(id);
  EXPECT_OK(DecodePackHeader(bytes, id));
  EXPECT_ERROR(kCorrupt, DecodePackHeader(bytes, Id::Random()));
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] ^= std::byte{1};
    EXPECT_ERROR(kCorrupt, DecodePackHeader(bytes, id));
    bytes[i] ^= std::byte{1};
  }
}

TEST(PackHeaderTest, ANewerVersionIsNamedAsSuch) {
  const Id id = Id::Random();
  PackHeaderBytes bytes = EncodePackHeader(id);
  bytes[12] = std::byte{2};
  const uint64_t checksum = PackChecksum(std::span(bytes).first(32));
  for (size_t i = 0; i < 8; ++i) bytes[32 + i] = static_cast<std::byte>(checksum >> (8 * i));
  EXPECT_ERROR(kNewerFormat, DecodePackHeader(bytes, id));
}

TEST(FrameHeaderTest, IsReadBackForItsPackOnlyAndEveryFlippedBitShows) {
  const Id id = Id::Random();
  const FrameEntry frame = MustMake(BlockFields(30, 5, 5'000));
  FrameHeaderBytes bytes;
  EncodeFrameHeader(id, frame, bytes);
  ASSERT_OK_AND_ASSIGN(const FrameEntry read,
                       DecodeFrameHeader(bytes, id, 5'000 - kFrameHeaderBytes, kFileBytes));
  EXPECT_EQ(read.first_slot(), 30u);
  EXPECT_EQ(read.payload_offset(), 5'000u);
  EXPECT_EQ(read.checksum(), frame.checksum());
  EXPECT_ERROR(kCorrupt, DecodeFrameHeader(bytes, Id::Random(), 4'960, kFileBytes));
  EXPECT_ERROR(kCorrupt, DecodeFrameHeader(bytes, id, UINT64_MAX - 10, kFileBytes));
  EXPECT_ERROR(kCorrupt, DecodeFrameHeader(bytes, id, 4'960, 5'000 + frame.stored_bytes() - 1));
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_ERROR(kCorrupt, DecodeFrameHeader(bytes, id, 4'960, kFileBytes));
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(FrameTableTest, IsReadBack) {
  const Id id = Id::Random();
  const std::vector<FrameEntry> frames = {MustMake(BlockFields(0, 16, 50'000)),
                                          MustMake(BlockFields(16, 1, 80)),
                                          MustMake(BlockFields(40, 2, 90'000))};
  ASSERT_OK_AND_ASSIGN(const std::vector<FrameEntry> read, EncodeAndDecode(id, frames, 200'000));
  ASSERT_EQ(read.size(), 3u);
  EXPECT_EQ(read[0].payload_offset(), 50'000u);
  EXPECT_EQ(read[2].first_slot(), 40u);
  EXPECT_OK(EncodeAndDecode(id, {}, kPackHeaderBytes)) << "a pack may be empty";
}

TEST(FrameTableTest, OrderOverlapAndPlaceAreChecked) {
  const Id id = Id::Random();
  const FrameEntry first = MustMake(BlockFields(0, 16, 80));
  const auto refused = [&](const FrameEntry::Fields& second, uint64_t table_offset) {
    const std::vector<FrameEntry> frames = {first, MustMake(second)};
    EXPECT_ERROR(kCorrupt, EncodeAndDecode(id, frames, table_offset));
  };
  EXPECT_OK(EncodeAndDecode(id, std::vector{first, MustMake(BlockFields(16, 4, 33'000))}, 50'000));
  refused(BlockFields(15, 4, 33'000), 50'000);   // a slot twice
  refused(BlockFields(0, 16, 33'000), 80'000);   // all of them twice
  refused(BlockFields(16, 4, 32'800), 50'000);   // begins in the other's payload
  refused(BlockFields(16, 4, 32'880), 50'000);   // no room for its header
  refused(BlockFields(16, 4, 45'000), 50'000);   // ends in the table
}

TEST(PackTrailerTest, CountsAndOffsetsMustAddUp) {
  const Id id = Id::Random();
  const std::vector<FrameEntry> frames = {MustMake(BlockFields(0, 16, 80))};
  const std::vector<Digest> digests(16);
  const std::vector<std::byte> end = EncodePackEnd(id, frames, digests, 40'000);
  const uint64_t file_bytes = 40'000 + end.size();
  std::array<std::byte, kPackTrailerBytes> good;
  std::copy(end.end() - kPackTrailerBytes, end.end(), good.begin());
  ASSERT_OK(DecodePackTrailer(good, id, file_bytes));
  for (const uint64_t other : {uint64_t{0}, file_bytes - 1, file_bytes + 1, UINT64_MAX}) {
    EXPECT_ERROR(kCorrupt, DecodePackTrailer(good, id, other));
  }
  EXPECT_ERROR(kCorrupt, DecodePackTrailer(good, Id::Random(), file_bytes));
  // Every byte wrong, with a checksum that is right all the same: an error, or a trailer that
  // still fits the file.
  for (size_t i = 8; i < kPackTrailerBytes - 8; ++i) {
    for (const uint8_t value : {0, 1, 0x7f, 0xff}) {
      auto bad = good;
      bad[i] = std::byte{value};
      const uint64_t checksum = PackChecksum(std::span(bad).first(kPackTrailerBytes - 8));
      for (size_t b = 0; b < 8; ++b) {
        bad[kPackTrailerBytes - 8 + b] = static_cast<std::byte>(checksum >> (8 * b));
      }
      const Result<PackTrailer> trailer = DecodePackTrailer(bad, id, file_bytes);
      if (!trailer) continue;
      EXPECT_EQ(trailer->frames, 1u);
      EXPECT_EQ(trailer->slots, 16u);
      EXPECT_EQ(trailer->table_offset, 40'000u);
    }
  }
}

TEST(FrameTableTest, AnyTableWithARightChecksumIsRefusedOrConsistent) {
  std::mt19937_64 random(DrawSeed());
  const std::vector<FrameEntry> frames = {MustMake(BlockFields(0, 16, 80)),
                                          MustMake(BlockFields(16, 4, 33'000))};
  const std::vector<std::byte> end =
      EncodePackEnd(Id(), frames, std::vector<Digest>(20), 50'000);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> table(end.begin(), end.begin() + 2 * kTableEntryBytes);
    for (uint64_t n = 1 + random() % 3; n > 0; --n) {
      table[random() % table.size()] = static_cast<std::byte>(random() % 3 == 0 ? random() : n);
    }
    PackTrailer trailer;
    trailer.frames = 2;
    trailer.slots = 20;
    trailer.raw_bytes = 20 * kBlockBytes;
    trailer.table_offset = 50'000;
    trailer.table_checksum = PackChecksum(table);
    const Result<std::vector<FrameEntry>> read = DecodeFrameTable(table, trailer);
    if (!read) {
      ASSERT_ERROR(kCorrupt, read);
      continue;
    }
    for (const FrameEntry& frame : *read) ASSERT_LE(frame.payload_end(), 50'000u);
    ASSERT_GE((*read)[1].first_slot(), (*read)[0].end_slot());
  }
}

}  // namespace
}  // namespace quoin

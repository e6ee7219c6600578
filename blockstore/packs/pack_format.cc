#include "blockstore/packs/pack_format.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace quoin {
namespace {

constexpr std::string_view kPackMagic = "quoin-pack\r\n";
constexpr std::string_view kFrameMagicText = "qnframe\n";
constexpr std::string_view kTrailerMagic = "qnpkend\n";
constexpr size_t kHeaderChecksumAt = kPackHeaderBytes - 8;
constexpr size_t kFrameChecksumAt = kFrameHeaderBytes - 8;
constexpr size_t kTrailerChecksumAt = kPackTrailerBytes - 8;

// Writes values one after another, numbers little-endian.
class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> out) : out_(out) {}
  template <typename Number>
  void Put(Number value) {
    for (size_t i = 0; i < sizeof(Number); ++i) {
      out_[at_++] = static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i));
    }
  }
  void Put(std::string_view text) { Copy(text.data(), text.size()); }
  void Put(const Id& id) { Copy(id.bytes().data(), Id::kBytes); }
  void Put(const Digest& digest) { Copy(digest.bytes.data(), Digest::kBytes); }

 private:
  void Copy(const void* from, size_t length) {
    std::memcpy(out_.subspan(at_, length).data(), from, length);
    at_ += length;
  }

  const std::span<std::byte> out_;
  size_t at_ = 0;
};

// The other way. Reads only what its caller knows to be there.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <typename Number>
  Number Get() {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(Number); ++i) {
      value |= std::to_integer<uint64_t>(bytes_[at_++]) << (8 * i);
    }
    return static_cast<Number>(value);
  }
  bool Matches(std::string_view text) {
    const bool same = std::memcmp(bytes_.subspan(at_, text.size()).data(), text.data(),
                                  text.size()) == 0;
    at_ += text.size();
    return same;
  }
  Id GetId() {
    std::array<uint8_t, Id::kBytes> bytes;
    Copy(bytes.data(), bytes.size());
    return Id::FromBytes(bytes);
  }
  Digest GetDigest() {
    Digest digest;
    Copy(digest.bytes.data(), Digest::kBytes);
    return digest;
  }

 private:
  void Copy(void* to, size_t length) {
    std::memcpy(to, bytes_.subspan(at_, length).data(), length);
    at_ += length;
  }

  const std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

Failure Corrupt(std::string what) { return Fail(ErrorCode::kCorrupt, std::move(what)); }

bool ChecksumMatches(std::span<const std::byte> bytes, size_t checksum_at) {
  ByteReader reader(bytes.subspan(checksum_at));
  return reader.Get<uint64_t>() == PackChecksum(bytes.first(checksum_at));
}

// The checksum of a frame header covers the pack's id, which the header does not repeat: a header
// of another pack, copied into a block of this one, is never taken for one of this pack's.
uint64_t FrameHeaderChecksum(std::span<const std::byte> header, const Id& pack) {
  std::array<std::byte, kFrameChecksumAt + Id::kBytes> covered;
  std::memcpy(covered.data(), header.data(), kFrameChecksumAt);
  std::memcpy(covered.data() + kFrameChecksumAt, pack.bytes().data(), Id::kBytes);
  return PackChecksum(covered);
}

Status CheckFrameFields(const FrameEntry::Fields& f, uint64_t file_bytes) {
  if (f.slots < 1 || f.slots > kMaxFrameSlots || f.first_slot > kMaxPackSlots - f.slots) {
    return Corrupt(fmt::format("a frame of {} slots from slot {} on", f.slots, f.first_slot));
  }
  if (static_cast<uint8_t>(f.kind) > kMaxFrameKind ||
      static_cast<uint8_t>(f.codec) > kLastCompression) {
    return Corrupt(fmt::format("a frame of unknown kind {} or codec {}",
                               static_cast<int>(f.kind), static_cast<int>(f.codec)));
  }
  const bool raw_fits = f.kind == FrameKind::kBlocks
                            ? f.raw_bytes == f.slots * kBlockBytes
                            : f.slots == 1 && f.raw_bytes >= 1 && f.raw_bytes <= kMaxRecordBytes;
  const bool stored_fits = f.codec == Compression::kNone
                               ? f.stored_bytes == f.raw_bytes
                               : f.stored_bytes >= 1 && f.stored_bytes < f.raw_bytes;
  if (!raw_fits || !stored_fits) {
    return Corrupt(fmt::format("a frame of {} bytes stored as {}", f.raw_bytes, f.stored_bytes));
  }
  if (file_bytes > kMaxPackFileBytes ||
      f.payload_offset < kPackHeaderBytes + kFrameHeaderBytes || f.payload_offset > file_bytes ||
      f.stored_bytes > file_bytes - f.payload_offset) {
    return Corrupt(fmt::format("a frame of {} bytes at {} of {}", f.stored_bytes, f.payload_offset,
                               file_bytes));
  }
  return {};
}

Status CheckNoOverlap(std::vector<FrameEntry> frames) {
  std::sort(frames.begin(), frames.end(), [](const FrameEntry& a, const FrameEntry& b) {
    return a.payload_offset() < b.payload_offset();
  });
  uint64_t end = kPackHeaderBytes;
  for (const FrameEntry& frame : frames) {
    if (frame.payload_offset() < end + kFrameHeaderBytes) {
      return Corrupt(fmt::format("two frames overlap at {}", frame.payload_offset()));
    }
    end = frame.payload_end();
  }
  return {};
}

}  // namespace

FrameEntry::FrameEntry(const Fields& fields)
    : payload_offset_(static_cast<uint32_t>(fields.payload_offset)),
      stored_bytes_(fields.stored_bytes),
      first_slot_(fields.first_slot),
      raw_less_one_((fields.raw_bytes - 1) & 0xfffff),
      slots_less_one_((fields.slots - 1u) & 0xf),
      codec_(static_cast<uint32_t>(fields.codec) & 0x7),
      kind_(static_cast<uint32_t>(fields.kind) & 0x1f),
      checksum_(fields.checksum) {}

Result<FrameEntry> FrameEntry::Make(const Fields& fields, uint64_t file_bytes) {
  static_assert(kMaxRecordBytes <= 1 << 20 && kMaxBlockFrameBytes <= 1 << 20);
  QUOIN_TRY(CheckFrameFields(fields, file_bytes));
  return FrameEntry(fields);
}

FrameEntry::Fields FrameEntry::fields() const {
  return {payload_offset(), stored_bytes(), raw_bytes(),
          first_slot(),     static_cast<uint8_t>(slots()), kind(),
          codec(),          checksum()};
}

uint64_t PackChecksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

PackHeaderBytes EncodePackHeader(const Id& pack) {
  PackHeaderBytes bytes;
  ByteWriter writer(bytes);
  writer.Put(kPackMagic);
  writer.Put(kPackVersion);
  writer.Put(pack);
  writer.Put(PackChecksum(std::span(bytes).first(kHeaderChecksumAt)));
  return bytes;
}

Status DecodePackHeader(std::span<const std::byte, kPackHeaderBytes> bytes, const Id& pack) {
  ByteReader reader(bytes);
  if (!reader.Matches(kPackMagic)) return Corrupt("it does not begin like a pack");
  if (!ChecksumMatches(bytes, kHeaderChecksumAt)) {
    return Corrupt("the header does not match its checksum");
  }
  const auto version = reader.Get<uint32_t>();
  if (version > kPackVersion) {
    return Fail(ErrorCode::kNewerFormat, fmt::format("version {} of packs is newer than {}",
                                                     version, kPackVersion));
  }
  if (version != kPackVersion) return Corrupt(fmt::format("no version {} of packs", version));
  const Id found = reader.GetId();
  if (found != pack) return Corrupt(fmt::format("it is pack {}", found.ToString()));
  return {};
}

std::span<const std::byte> FrameMagic() {
  return std::as_bytes(std::span(kFrameMagicText.data(), kFrameMagicText.size()));
}

void EncodeFrameHeader(const Id& pack, const FrameEntry& frame,
                       std::span<std::byte, kFrameHeaderBytes> out) {
  ByteWriter writer(out);
  writer.Put(kFrameMagicText);
  writer.Put(static_cast<uint8_t>(frame.kind()));
  writer.Put(static_cast<uint8_t>(frame.codec()));
  writer.Put(static_cast<uint8_t>(frame.slots()));
  writer.Put(uint8_t{0});
  writer.Put(frame.first_slot());
  writer.Put(frame.raw_bytes());
  writer.Put(frame.stored_bytes());
  writer.Put(frame.checksum());
  writer.Put(FrameHeaderChecksum(out, pack));
}

Result<FrameEntry> DecodeFrameHeader(std::span<const std::byte, kFrameHeaderBytes> bytes,
                                     const Id& pack, uint64_t offset, uint64_t file_bytes) {
  ByteReader reader(bytes);
  if (!reader.Matches(kFrameMagicText)) return Corrupt("no frame begins here");
  FrameEntry::Fields fields;
  fields.kind = static_cast<FrameKind>(reader.Get<uint8_t>());
  fields.codec = static_cast<Compression>(reader.Get<uint8_t>());
  fields.slots = reader.Get<uint8_t>();
  const auto zero = reader.Get<uint8_t>();
  fields.first_slot = reader.Get<uint32_t>();
  fields.raw_bytes = reader.Get<uint32_t>();
  fields.stored_bytes = reader.Get<uint32_t>();
  fields.checksum = reader.Get<uint64_t>();
  if (reader.Get<uint64_t>() != FrameHeaderChecksum(bytes, pack) || zero != 0) {
    return Corrupt("a frame header does not match its checksum");
  }
  if (offset > kMaxPackFileBytes) return Corrupt("a frame lies beyond the longest pack");
  fields.payload_offset = offset + kFrameHeaderBytes;
  return FrameEntry::Make(fields, file_bytes);
}

std::vector<std::byte> EncodePackEnd(const Id& pack, std::span<const FrameEntry> frames,
                                     std::span<const Digest> digests, uint64_t table_offset) {
  const size_t table_bytes = frames.size() * kTableEntryBytes;
  const size_t digests_bytes = digests.size() * Digest::kBytes;
  std::vector<std::byte> bytes(table_bytes + digests_bytes + kPackTrailerBytes);
  const auto table = std::span(bytes).first(table_bytes);
  const auto digest_rows = std::span(bytes).subspan(table_bytes, digests_bytes);
  const auto trailer = std::span(bytes).last(kPackTrailerBytes);

  uint64_t raw_bytes = 0;
  size_t slots = 0;
  ByteWriter table_writer(table);
  for (const FrameEntry& frame : frames) {
    table_writer.Put(frame.payload_offset());
    table_writer.Put(frame.stored_bytes());
    table_writer.Put(frame.raw_bytes());
    table_writer.Put(frame.first_slot());
    table_writer.Put(static_cast<uint8_t>(frame.slots()));
    table_writer.Put(static_cast<uint8_t>(frame.kind()));
    table_writer.Put(static_cast<uint8_t>(frame.codec()));
    table_writer.Put(uint8_t{0});
    table_writer.Put(frame.checksum());
    raw_bytes += frame.raw_bytes();
    slots += frame.slots();
  }
  if (slots != digests.size()) std::abort();
  ByteWriter digest_writer(digest_rows);
  for (const Digest& digest : digests) digest_writer.Put(digest);

  ByteWriter writer(trailer);
  writer.Put(kTrailerMagic);
  writer.Put(kPackVersion);
  writer.Put(static_cast<uint32_t>(frames.size()));
  writer.Put(pack);
  writer.Put(table_offset);
  writer.Put(table_offset + table_bytes);
  writer.Put(raw_bytes);
  writer.Put(static_cast<uint32_t>(digests.size()));
  writer.Put(uint32_t{0});
  writer.Put(PackChecksum(table));
  writer.Put(PackChecksum(digest_rows));
  writer.Put(PackChecksum(trailer.first(kTrailerChecksumAt)));
  return bytes;
}

Result<PackTrailer> DecodePackTrailer(std::span<const std::byte, kPackTrailerBytes> bytes,
                                      const Id& pack, uint64_t file_bytes) {
  ByteReader reader(bytes);
  if (!reader.Matches(kTrailerMagic)) return Corrupt("it does not end like a pack");
  if (!ChecksumMatches(bytes, kTrailerChecksumAt)) {
    return Corrupt("the trailer does not match its checksum");
  }
  const auto version = reader.Get<uint32_t>();
  if (version > kPackVersion) {
    return Fail(ErrorCode::kNewerFormat, fmt::format("version {} of packs is newer than {}",
                                                     version, kPackVersion));
  }
  PackTrailer trailer;
  trailer.frames = reader.Get<uint32_t>();
  const Id found = reader.GetId();
  trailer.table_offset = reader.Get<uint64_t>();
  trailer.digests_offset = reader.Get<uint64_t>();
  trailer.raw_bytes = reader.Get<uint64_t>();
  trailer.slots = reader.Get<uint32_t>();
  const auto zero = reader.Get<uint32_t>();
  trailer.table_checksum = reader.Get<uint64_t>();
  trailer.digests_checksum = reader.Get<uint64_t>();
  if (version != kPackVersion || zero != 0) {
    return Corrupt(fmt::format("no version {} of packs", version));
  }
  if (found != pack) return Corrupt(fmt::format("it is the end of pack {}", found.ToString()));
  if (file_bytes > kMaxPackFileBytes || trailer.slots > kMaxPackSlots ||
      trailer.frames > trailer.slots || trailer.table_offset < kPackHeaderBytes ||
      trailer.table_offset > file_bytes) {
    return Corrupt(fmt::format("a table of {} frames and {} slots at {} of {}", trailer.frames,
                               trailer.slots, trailer.table_offset, file_bytes));
  }
  // None of these can overflow: all three are bounded by now.
  const uint64_t digests = trailer.table_offset + uint64_t{trailer.frames} * kTableEntryBytes;
  const uint64_t end = digests + uint64_t{trailer.slots} * Digest::kBytes;
  if (trailer.digests_offset != digests || end + kPackTrailerBytes != file_bytes) {
    return Corrupt(fmt::format("tables that do not fill the file: {} of {} bytes",
                               end + kPackTrailerBytes, file_bytes));
  }
  return trailer;
}

Result<std::vector<FrameEntry>> DecodeFrameTable(std::span<const std::byte> bytes,
                                                 const PackTrailer& trailer) {
  if (bytes.size() != uint64_t{trailer.frames} * kTableEntryBytes ||
      PackChecksum(bytes) != trailer.table_checksum) {
    return Corrupt("the frame table does not match its checksum");
  }
  std::vector<FrameEntry> frames;
  frames.reserve(trailer.frames);
  ByteReader reader(bytes);
  uint64_t slots = 0;
  uint64_t raw_bytes = 0;
  for (uint32_t i = 0; i < trailer.frames; ++i) {
    FrameEntry::Fields fields;
    fields.payload_offset = reader.Get<uint64_t>();
    fields.stored_bytes = reader.Get<uint32_t>();
    fields.raw_bytes = reader.Get<uint32_t>();
    fields.first_slot = reader.Get<uint32_t>();
    fields.slots = reader.Get<uint8_t>();
    fields.kind = static_cast<FrameKind>(reader.Get<uint8_t>());
    fields.codec = static_cast<Compression>(reader.Get<uint8_t>());
    const auto zero = reader.Get<uint8_t>();
    fields.checksum = reader.Get<uint64_t>();
    if (zero != 0) return Corrupt("the frame table holds what this version does not know");
    QUOIN_ASSIGN(const FrameEntry frame, FrameEntry::Make(fields, trailer.table_offset));
    if (!frames.empty() && frame.first_slot() < frames.back().end_slot()) {
      return Corrupt(fmt::format("frames out of order at slot {}", frame.first_slot()));
    }
    slots += frame.slots();
    raw_bytes += frame.raw_bytes();
    frames.push_back(frame);
  }
  if (slots != trailer.slots || raw_bytes != trailer.raw_bytes) {
    return Corrupt(fmt::format("a table of {} slots, but {} in the trailer", slots, trailer.slots));
  }
  QUOIN_TRY(CheckNoOverlap(frames));
  return frames;
}

Result<std::vector<Digest>> DecodeSlotDigests(std::span<const std::byte> bytes,
                                              const PackTrailer& trailer) {
  if (bytes.size() != uint64_t{trailer.slots} * Digest::kBytes ||
      PackChecksum(bytes) != trailer.digests_checksum) {
    return Corrupt("the digests do not match their checksum");
  }
  std::vector<Digest> digests;
  digests.reserve(trailer.slots);
  ByteReader reader(bytes);
  for (uint32_t i = 0; i < trailer.slots; ++i) digests.push_back(reader.GetDigest());
  return digests;
}

}  // namespace quoin

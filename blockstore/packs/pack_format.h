// The parts of a pack as bytes, and back. The format is described byte by byte in
// blockstore/README.md. Pure functions: no I/O, no state.
//
// Decoders are total: any bytes give an error or a structure that is consistent in itself and with
// the sizes passed in. They allocate in proportion to their input.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/digest.h"
#include "blockstore/base/error.h"
#include "blockstore/base/id.h"
#include "blockstore/packs/compression.h"
#include "blockstore/packs/records.h"

namespace quoin {

// Frozen: on disk.
inline constexpr uint32_t kPackVersion = 1;
inline constexpr size_t kPackHeaderBytes = 40;
inline constexpr size_t kFrameHeaderBytes = 40;
inline constexpr size_t kTableEntryBytes = 32;
inline constexpr size_t kPackTrailerBytes = 88;
inline constexpr uint32_t kMaxFrameSlots = 16;
inline constexpr uint32_t kMaxPackSlots = 1 << 17;  // 512 MiB of blocks, 4 MiB of digests
inline constexpr uint32_t kMaxBlockFrameBytes = kMaxFrameSlots * kBlockBytes;
// No file of more bytes is a pack; so offsets fit 32 bits in memory.
inline constexpr uint64_t kMaxPackFileBytes = uint64_t{1} << 30;

// Not part of the format: a pack is closed before its file would pass this.
inline constexpr uint64_t kMaxPackBytes = uint64_t{256} << 20;

// What a frame holds: blocks, or one record of the kind of the same number.
enum class FrameKind : uint8_t { kBlocks = 0 };
inline constexpr uint8_t kMaxFrameKind = 31;

constexpr FrameKind FrameKindOf(RecordKind kind) {
  return static_cast<FrameKind>(static_cast<uint8_t>(kind));
}

// Where a frame's payload lies and what it holds. A pack keeps one of these in memory for each
// frame, so it is packed into 24 bytes.
class FrameEntry {
 public:
  struct Fields {
    uint64_t payload_offset = 0;
    uint32_t stored_bytes = 0;
    uint32_t raw_bytes = 0;
    uint32_t first_slot = 0;
    uint8_t slots = 0;
    FrameKind kind = FrameKind::kBlocks;
    Compression codec = Compression::kNone;
    uint64_t checksum = 0;  // XXH3-64 of the stored payload
  };

  // kCorrupt unless the fields are those of a frame that may exist: limits of the sizes and slots,
  // sizes that fit the kind and the codec, a payload behind the headers and within `file_bytes`.
  static Result<FrameEntry> Make(const Fields& fields, uint64_t file_bytes);

  uint64_t payload_offset() const { return payload_offset_; }
  uint64_t payload_end() const { return uint64_t{payload_offset_} + stored_bytes_; }
  uint32_t stored_bytes() const { return stored_bytes_; }
  uint32_t raw_bytes() const { return raw_less_one_ + 1; }
  uint32_t first_slot() const { return first_slot_; }
  uint32_t slots() const { return slots_less_one_ + 1; }
  uint32_t end_slot() const { return first_slot_ + slots(); }
  FrameKind kind() const { return static_cast<FrameKind>(kind_); }
  bool holds_blocks() const { return kind() == FrameKind::kBlocks; }
  Compression codec() const { return static_cast<Compression>(codec_); }
  uint64_t checksum() const { return checksum_; }
  bool Holds(uint32_t slot) const { return slot >= first_slot_ && slot < end_slot(); }
  Fields fields() const;

 private:
  explicit FrameEntry(const Fields& fields);

  uint32_t payload_offset_;
  uint32_t stored_bytes_;
  uint32_t first_slot_;
  uint32_t raw_less_one_ : 20;
  uint32_t slots_less_one_ : 4;
  uint32_t codec_ : 3;
  uint32_t kind_ : 5;
  uint64_t checksum_;
};
static_assert(sizeof(FrameEntry) == 24);

struct PackTrailer {
  uint32_t frames = 0;
  uint32_t slots = 0;  // held, so the number of digests; after compaction less than the last slot
  uint64_t raw_bytes = 0;
  uint64_t table_offset = 0;
  uint64_t digests_offset = 0;
  uint64_t table_checksum = 0;
  uint64_t digests_checksum = 0;
};

// XXH3-64, as all checksums of a pack but the digests.
uint64_t PackChecksum(std::span<const std::byte> bytes);

using PackHeaderBytes = std::array<std::byte, kPackHeaderBytes>;
using FrameHeaderBytes = std::array<std::byte, kFrameHeaderBytes>;

PackHeaderBytes EncodePackHeader(const Id& pack);
// kCorrupt if this is not the header of that pack; kNewerFormat.
Status DecodePackHeader(std::span<const std::byte, kPackHeaderBytes> bytes, const Id& pack);

// What every frame header begins with: scanning looks for it.
std::span<const std::byte> FrameMagic();
void EncodeFrameHeader(const Id& pack, const FrameEntry& frame,
                       std::span<std::byte, kFrameHeaderBytes> out);
// Of the frame header at `offset` of a file of `file_bytes`.
Result<FrameEntry> DecodeFrameHeader(std::span<const std::byte, kFrameHeaderBytes> bytes,
                                     const Id& pack, uint64_t offset, uint64_t file_bytes);

// Everything behind the frames: table, digests, trailer. `frames` are in the order of their slots,
// `digests` one for each of these slots; they are written at `table_offset`.
std::vector<std::byte> EncodePackEnd(const Id& pack, std::span<const FrameEntry> frames,
                                     std::span<const Digest> digests, uint64_t table_offset);
// The trailer is the last bytes of a file of `file_bytes`. kCorrupt, kNewerFormat.
Result<PackTrailer> DecodePackTrailer(std::span<const std::byte, kPackTrailerBytes> bytes,
                                      const Id& pack, uint64_t file_bytes);
// kCorrupt unless the table matches its checksum and the trailer's counts, slots rise, and no two
// payloads overlap.
Result<std::vector<FrameEntry>> DecodeFrameTable(std::span<const std::byte> bytes,
                                                 const PackTrailer& trailer);
Result<std::vector<Digest>> DecodeSlotDigests(std::span<const std::byte> bytes,
                                              const PackTrailer& trailer);

}  // namespace quoin

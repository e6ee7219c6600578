// The end of a pack, table, digests and trailer, with checksums made right where the trailer says that
// the parts are: whatever it holds, decoding gives an error or frames that fit the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "tests/fuzz/pack_samples.h"

using namespace quoin;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kPackTrailerBytes + 1) return 0;
  // The first byte says how long the frames before the end are.
  const uint64_t before = kPackHeaderBytes + uint64_t{data[0]} * 1024;
  std::vector<std::byte> end(reinterpret_cast<const std::byte*>(data) + 1,
                             reinterpret_cast<const std::byte*>(data) + size);
  const auto bytes = std::span(end);
  const auto trailer_bytes = bytes.last<kPackTrailerBytes>();
  PutChecksum(trailer_bytes.first(kPackTrailerBytes - 8),
              trailer_bytes.data() + kPackTrailerBytes - 8);
  Result<PackTrailer> trailer =
      DecodePackTrailer(trailer_bytes, FuzzedPack(), before + end.size());
  if (!trailer) return 0;
  if (trailer->table_offset < before) return 0;
  const auto table = bytes.subspan(trailer->table_offset - before,
                                   trailer->digests_offset - trailer->table_offset);
  const auto digests =
      bytes.subspan(trailer->digests_offset - before, trailer->slots * Digest::kBytes);
  trailer->table_checksum = PackChecksum(table);
  trailer->digests_checksum = PackChecksum(digests);
  if (!DecodeSlotDigests(digests, *trailer)) std::abort();
  const Result<std::vector<FrameEntry>> frames = DecodeFrameTable(table, *trailer);
  if (!frames) return 0;
  uint32_t slots = 0;
  uint32_t end_slot = 0;
  for (const FrameEntry& frame : *frames) {
    if (frame.first_slot() < end_slot || frame.payload_end() > trailer->table_offset) std::abort();
    end_slot = frame.end_slot();
    slots += frame.slots();
  }
  if (slots != trailer->slots || end_slot > kMaxPackSlots) std::abort();
  return 0;
}

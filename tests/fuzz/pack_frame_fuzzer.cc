// A frame: header, with its checksum made right, and payload. Decompressing what it claims stays within
// the sizes, whatever the payload holds.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "blockstore/packs/compression.h"
#include "tests/fuzz/pack_samples.h"

using namespace quoin;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kFrameHeaderBytes) return 0;
  std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data),
                               reinterpret_cast<const std::byte*>(data) + size);
  MendFrameHeader(bytes.data());
  const Result<FrameEntry> frame =
      DecodeFrameHeader(std::span(bytes).first<kFrameHeaderBytes>(), FuzzedPack(), kPackHeaderBytes,
                        kPackHeaderBytes + size);
  if (!frame) return 0;
  // Allocations of exactly these sizes, so that the sanitizer sees each byte beyond.
  const auto begin = bytes.begin() + kFrameHeaderBytes;
  const std::vector<std::byte> stored(begin, begin + frame->stored_bytes());
  std::vector<std::byte> raw(frame->raw_bytes());
  (void)Decompress(frame->codec(), stored, raw);
  return 0;
}

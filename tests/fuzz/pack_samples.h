// What the fuzzers of packs and their corpus agree on: one pack id, and checksums that are made right, so
// that a change goes past them to what they guard.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "blockstore/packs/pack_format.h"

namespace quoin {

inline Id FuzzedPack() {
  std::array<uint8_t, Id::kBytes> bytes;
  bytes.fill(0x5a);
  return Id::FromBytes(bytes);
}

inline void PutChecksum(std::span<const std::byte> covered, std::byte* at) {
  const uint64_t checksum = PackChecksum(covered);
  for (size_t i = 0; i < 8; ++i) at[i] = static_cast<std::byte>(checksum >> (8 * i));
}

// The checksum of a frame header, which covers the pack's id too.
inline void MendFrameHeader(std::byte* header) {
  std::array<std::byte, kFrameHeaderBytes - 8 + Id::kBytes> covered;
  std::memcpy(covered.data(), header, kFrameHeaderBytes - 8);
  std::memcpy(covered.data() + kFrameHeaderBytes - 8, FuzzedPack().bytes().data(), Id::kBytes);
  PutChecksum(covered, header + kFrameHeaderBytes - 8);
}

}  // namespace quoin

// SHA-256 digests: what a block, a map's node and a whole content are known by. Thread-safe.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace quoin {

struct Digest {
  static constexpr size_t kBytes = 32;
  std::array<uint8_t, kBytes> bytes{};  // all zero: no digest

  auto operator<=>(const Digest&) const = default;
  bool IsNull() const { return *this == Digest(); }
  // The first eight bytes as a little-endian number: evenly spread, so fit for sampling and hashing.
  uint64_t Prefix() const {
    uint64_t prefix = 0;
    std::memcpy(&prefix, bytes.data(), sizeof prefix);
    return prefix;
  }
  std::string ToHex() const;  // 64 lower-case digits
};

struct DigestHash {
  size_t operator()(const Digest& digest) const { return digest.Prefix(); }
};

// SHA-256 of the bytes. Never fails: aborts if OpenSSL has no SHA-256.
Digest DigestOf(std::span<const std::byte> bytes);

}  // namespace quoin

// Bytes for tests, in the shapes that the seam takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "blockstore/base/file_system.h"

namespace quoin {

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// `length` bytes that depend on the seed and on their place: a shifted or mixed-up copy differs.
inline std::string PatternOf(uint64_t seed, size_t length) {
  std::string bytes(length, '\0');
  uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
  for (char& byte : bytes) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    byte = static_cast<char>(x >> 32 | 1);  // never zero, unlike a hole
  }
  return bytes;
}

// Up to `length` bytes at `offset`.
inline Result<std::string> ReadText(File& file, uint64_t offset, size_t length) {
  std::string text(length, '\xee');
  QUOIN_ASSIGN(const size_t done, file.Read(offset, std::as_writable_bytes(std::span(text))));
  text.resize(done);
  return text;
}

}  // namespace quoin

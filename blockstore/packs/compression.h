// How a frame's bytes are made smaller. Thread-safe; contexts are kept per thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "blockstore/base/error.h"

namespace quoin {

// Frozen: on disk.
enum class Compression : uint8_t {
  kNone = 0,
  kLz4 = 1,
  kZstd = 2,  // level 3
};
inline constexpr uint8_t kLastCompression = static_cast<uint8_t>(Compression::kZstd);

// Writes the compressed form of `raw` to the front of `out`, which has room for at least as many
// bytes. Returns how many they are, or nothing if it does not pay: if less than 1/16 is saved, the
// bytes are better stored as they are. Never pays with kNone.
std::optional<size_t> Compress(Compression codec, std::span<const std::byte> raw,
                               std::span<std::byte> out);

// Fills `raw` exactly; kCorrupt if `stored` is not the compressed form of so many bytes. Never reads
// or writes outside the two, whatever `stored` holds. On an error `raw` holds what could be made of
// the beginning, and anything after that.
Status Decompress(Compression codec, std::span<const std::byte> stored, std::span<std::byte> raw);

// "none", "lz4", "zstd".
std::string_view ToWord(Compression codec);
std::optional<Compression> CompressionFromWord(std::string_view word);

}  // namespace quoin

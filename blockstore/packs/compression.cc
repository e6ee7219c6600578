#include "blockstore/packs/compression.h"

#include <fmt/format.h>
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace quoin {
namespace {

constexpr int kZstdLevel = 3;
constexpr size_t kLeastSavedPart = 16;  // one sixteenth

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// Making a context costs more than compressing a frame.
ZSTD_CCtx* CompressionContext() {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  if (context == nullptr) std::abort();  // no memory
  return context.get();
}

ZSTD_DCtx* DecompressionContext() {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (context == nullptr) std::abort();
  return context.get();
}

const char* Chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}
char* Chars(std::span<std::byte> bytes) { return reinterpret_cast<char*>(bytes.data()); }

bool FillsExactly(Compression codec, std::span<const std::byte> stored, std::span<std::byte> raw) {
  switch (codec) {
    case Compression::kNone:
      std::memcpy(raw.data(), stored.data(), std::min(stored.size(), raw.size()));
      return stored.size() == raw.size();
    case Compression::kLz4:
      return stored.size() <= LZ4_MAX_INPUT_SIZE && raw.size() <= LZ4_MAX_INPUT_SIZE &&
             LZ4_decompress_safe(Chars(stored), Chars(raw), static_cast<int>(stored.size()),
                                 static_cast<int>(raw.size())) == static_cast<int>(raw.size());
    case Compression::kZstd:
      return ZSTD_decompressDCtx(DecompressionContext(), raw.data(), raw.size(), stored.data(),
                                 stored.size()) == raw.size();
  }
  return false;
}

}  // namespace

std::optional<size_t> Compress(Compression codec, std::span<const std::byte> raw,
                               std::span<std::byte> out) {
  if (out.size() < raw.size()) std::abort();
  // Both libraries stop as soon as they would pass this limit, which spares them most of the work
  // on bytes that do not compress.
  const size_t limit = raw.size() - raw.size() / kLeastSavedPart - (raw.size() % kLeastSavedPart != 0);
  switch (codec) {
    case Compression::kNone:
      break;
    case Compression::kLz4: {
      if (raw.size() > LZ4_MAX_INPUT_SIZE) break;
      const int stored = LZ4_compress_default(Chars(raw), Chars(out), static_cast<int>(raw.size()),
                                              static_cast<int>(limit));
      if (stored > 0) return static_cast<size_t>(stored);
      break;
    }
    case Compression::kZstd: {
      const size_t stored = ZSTD_compressCCtx(CompressionContext(), out.data(), limit, raw.data(),
                                              raw.size(), kZstdLevel);
      if (ZSTD_isError(stored) == 0) return stored;
      break;
    }
  }
  return std::nullopt;
}

Status Decompress(Compression codec, std::span<const std::byte> stored, std::span<std::byte> raw) {
  if (FillsExactly(codec, stored, raw)) return {};
  return Fail(ErrorCode::kCorrupt,
              fmt::format("{} bytes of {} do not hold {} bytes", stored.size(), ToWord(codec),
                          raw.size()));
}

std::string_view ToWord(Compression codec) {
  switch (codec) {
    case Compression::kNone:
      return "none";
    case Compression::kLz4:
      return "lz4";
    case Compression::kZstd:
      return "zstd";
  }
  return "unknown";
}

std::optional<Compression> CompressionFromWord(std::string_view word) {
  for (const Compression codec : {Compression::kNone, Compression::kLz4, Compression::kZstd}) {
    if (word == ToWord(codec)) return codec;
  }
  return std::nullopt;
}

}  // namespace quoin

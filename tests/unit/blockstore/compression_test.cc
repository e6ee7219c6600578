#include "blockstore/packs/compression.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/support/result_matchers.h"
#include "tests/support/sample_packs.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

class CodecTest : public ::testing::TestWithParam<Compression> {};

TEST_P(CodecTest, WhatIsCompressedIsDecompressed) {
  for (const size_t length : {100u, 4096u, 65536u, 1u << 20}) {
    std::vector<std::byte> raw(length);
    for (size_t i = 0; i < length; ++i) raw[i] = static_cast<std::byte>(i / 40);
    std::vector<std::byte> stored(length);
    const std::optional<size_t> size = Compress(GetParam(), raw, stored);
    ASSERT_TRUE(size);
    EXPECT_LT(*size, length);
    std::vector<std::byte> back(length, std::byte{0xee});
    ASSERT_OK(Decompress(GetParam(), std::span(stored).first(*size), back));
    EXPECT_EQ(back, raw);
  }
}

TEST_P(CodecTest, BytesThatDoNotCompressDoNotPay) {
  const std::vector<std::byte> raw = SampleBlock(2);
  std::vector<std::byte> out(raw.size());
  EXPECT_FALSE(Compress(GetParam(), raw, out));
  EXPECT_FALSE(Compress(GetParam(), std::span(raw).first(1), out));
  EXPECT_FALSE(Compress(GetParam(), {}, out));
}

TEST_P(CodecTest, SavingLessThanASixteenthDoesNotPay) {
  // Random bytes with a tail of zeros that grows until it pays.
  std::optional<size_t> size;
  for (size_t zeros = 0; !size; zeros += 8) {
    std::vector<std::byte> raw = SampleBlock(2);
    ASSERT_LT(zeros, raw.size());
    std::fill(raw.end() - static_cast<std::ptrdiff_t>(zeros), raw.end(), std::byte{0});
    std::vector<std::byte> out(raw.size());
    size = Compress(GetParam(), raw, out);
    if (size) {
      EXPECT_LE(*size, raw.size() - raw.size() / 16);
      EXPECT_GT(zeros, raw.size() / 16);
    }
  }
}

TEST_P(CodecTest, AnotherLengthThanTheRawOneIsCorrupt) {
  const std::vector<std::byte> raw = SampleBlock(0);
  std::vector<std::byte> stored(raw.size());
  const std::optional<size_t> size = Compress(GetParam(), raw, stored);
  ASSERT_TRUE(size);
  for (const size_t length : {raw.size() - 1, raw.size() + 1, size_t{1}, 2 * raw.size()}) {
    std::vector<std::byte> back(length);
    EXPECT_ERROR(kCorrupt, Decompress(GetParam(), std::span(stored).first(*size), back));
  }
  for (size_t cut = 0; cut < *size; ++cut) {
    std::vector<std::byte> back(raw.size());
    EXPECT_ERROR(kCorrupt, Decompress(GetParam(), std::span(stored).first(cut), back));
  }
}

TEST_P(CodecTest, AnyBytesAreDecompressedOrRefused) {
  std::mt19937_64 random(DrawSeed());
  const std::vector<std::byte> raw = SampleBlock(1);
  std::vector<std::byte> stored(raw.size());
  const size_t size = Compress(GetParam(), raw, stored).value();
  for (int i = 0; i < 2000; ++i) {
    // Exact allocations, so that the address sanitizer sees each byte beyond.
    std::vector<std::byte> bad(stored.begin(), stored.begin() + static_cast<std::ptrdiff_t>(size));
    for (uint64_t n = random() % 4; n > 0; --n) {
      bad[random() % bad.size()] = static_cast<std::byte>(random());
    }
    std::vector<std::byte> back(1 + random() % (2 * raw.size()));
    const Status status = Decompress(GetParam(), bad, back);
    if (!status) {
      ASSERT_ERROR(kCorrupt, status);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, CodecTest,
                         ::testing::Values(Compression::kLz4, Compression::kZstd));

TEST(CompressionTest, StoredBytesAreTheRawOnesOrCorrupt) {
  const std::vector<std::byte> raw = SampleBlock(7);
  std::vector<std::byte> back(raw.size());
  EXPECT_FALSE(Compress(Compression::kNone, raw, back));
  ASSERT_OK(Decompress(Compression::kNone, raw, back));
  EXPECT_EQ(back, raw);
  back.resize(raw.size() - 1);
  EXPECT_ERROR(kCorrupt, Decompress(Compression::kNone, raw, back));
}

TEST(CompressionTest, WordsNameTheCodecs) {
  for (const Compression codec : {Compression::kNone, Compression::kLz4, Compression::kZstd}) {
    EXPECT_EQ(CompressionFromWord(ToWord(codec)), codec);
  }
  EXPECT_EQ(ToWord(Compression::kZstd), "zstd");
  EXPECT_FALSE(CompressionFromWord("LZ4"));
  EXPECT_FALSE(CompressionFromWord(""));
}

}  // namespace
}  // namespace quoin

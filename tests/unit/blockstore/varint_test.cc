#include "blockstore/base/varint.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

namespace quoin {
namespace {

using namespace std::string_literals;

TEST(VarintTest, NumbersComeBack) {
  for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128},
                               uint64_t{16'383}, uint64_t{16'384}, ~uint64_t{0}}) {
    std::string bytes;
    PutVarint(bytes, value);
    VarintReader reader(bytes);
    EXPECT_EQ(reader.Next(), value);
    EXPECT_TRUE(reader.at_end());
  }
}

TEST(VarintTest, NumbersInAnotherFormAreRefused) {
  for (const std::string& bytes : {""s, "\x80"s, "\x80\x00"s, "\x81\x80\x00"s,
                                   std::string(9, '\xff') + "\x02", std::string(20, '\xff')}) {
    EXPECT_EQ(VarintReader(bytes).Next(), std::nullopt);
  }
}

TEST(VarintTest, BytesAreTakenWhole) {
  VarintReader reader("abc");
  EXPECT_EQ(reader.NextBytes(2), "ab");
  EXPECT_EQ(reader.remaining_bytes(), 1u);
  EXPECT_EQ(reader.NextBytes(2), std::nullopt);
  EXPECT_EQ(reader.NextBytes(1), "c");
  EXPECT_TRUE(reader.at_end());
}

TEST(VarintTest, SignedNumbersNearZeroAreSmall) {
  EXPECT_EQ(ToZigzag(0), 0u);
  EXPECT_EQ(ToZigzag(-1), 1u);
  EXPECT_EQ(ToZigzag(1), 2u);
  for (const int64_t value :
       {int64_t{0}, int64_t{-1}, int64_t{1}, int64_t{-4'294'967'296},
        std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    EXPECT_EQ(FromZigzag(ToZigzag(value)), value);
  }
}

}  // namespace
}  // namespace quoin

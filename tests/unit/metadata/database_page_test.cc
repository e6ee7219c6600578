#include "metadata/database_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace quoin {
namespace {

using Page = std::array<std::byte, kDatabasePageBytes>;

Page SamplePage() {
  Page page;
  for (size_t i = 0; i < page.size(); ++i) page[i] = static_cast<std::byte>(i * 7);
  return page;
}

TEST(DatabasePageTest, AStampedPageIsIntactAndOnlyItsLastBytesChanged) {
  Page page = SamplePage();
  EXPECT_FALSE(PageIsIntact(page, 3));
  StampPage(page, 3);
  EXPECT_TRUE(PageIsIntact(page, 3));
  const Page before = SamplePage();
  EXPECT_TRUE(std::equal(page.begin(), page.end() - kPageChecksumBytes, before.begin()));
}

TEST(DatabasePageTest, EveryFlippedBitIsNoticed) {
  Page page = SamplePage();
  StampPage(page, 3);
  for (size_t bit = 0; bit < page.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1 << (bit % 8));
    page[bit / 8] ^= mask;
    EXPECT_FALSE(PageIsIntact(page, 3)) << "bit " << bit;
    page[bit / 8] ^= mask;
  }
  EXPECT_TRUE(PageIsIntact(page, 3));
}

TEST(DatabasePageTest, APageInAnothersPlaceIsNoticed) {
  Page page = SamplePage();
  StampPage(page, 3);
  for (const uint64_t other : {0u, 1u, 2u, 4u, 1000u}) EXPECT_FALSE(PageIsIntact(page, other));
}

TEST(DatabasePageTest, APageThatWasNeverWrittenIsIntact) {
  Page page{};
  EXPECT_TRUE(PageIsIntact(page, 0));
  EXPECT_TRUE(PageIsIntact(page, 7));
  page.back() = std::byte{1};
  EXPECT_FALSE(PageIsIntact(page, 7));
}

// Frozen: databases on disk have it.
TEST(DatabasePageTest, TheChecksumIsXxh3OfTheRestWithThePageNumberAsSeedInLittleEndian) {
  Page page = SamplePage();
  StampPage(page, 3);
  std::array<unsigned, kPageChecksumBytes> sum;
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] = std::to_integer<unsigned>(page[page.size() - kPageChecksumBytes + i]);
  }
  EXPECT_EQ(sum, (std::array<unsigned, kPageChecksumBytes>{47, 183, 167, 43, 166, 114, 166, 204}));
}

}  // namespace
}  // namespace quoin

#include "metadata/database_page.h"

#include <xxhash.h>

#include <algorithm>
#include <array>

namespace quoin {
namespace {

std::array<std::byte, kPageChecksumBytes> ChecksumOf(std::span<const std::byte> page,
                                                     uint64_t page_number) {
  uint64_t sum = XXH3_64bits_withSeed(page.data(), page.size() - kPageChecksumBytes, page_number);
  std::array<std::byte, kPageChecksumBytes> bytes;
  for (std::byte& byte : bytes) {  // little-endian on every machine
    byte = static_cast<std::byte>(sum & 0xff);
    sum >>= 8;
  }
  return bytes;
}

}  // namespace

void StampPage(std::span<std::byte> page, uint64_t page_number) {
  const auto sum = ChecksumOf(page, page_number);
  std::copy(sum.begin(), sum.end(), page.last(kPageChecksumBytes).begin());
}

bool PageIsIntact(std::span<const std::byte> page, uint64_t page_number) {
  const auto sum = ChecksumOf(page, page_number);
  if (std::equal(sum.begin(), sum.end(), page.last(kPageChecksumBytes).begin())) return true;
  return std::all_of(page.begin(), page.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace quoin

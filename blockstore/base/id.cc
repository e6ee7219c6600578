#include "blockstore/base/id.h"

#include <openssl/rand.h>

#include <cstdlib>

namespace quoin {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

}  // namespace

Id Id::Random() {
  Id id;
  if (RAND_bytes(id.bytes_.data(), static_cast<int>(id.bytes_.size())) != 1) std::abort();
  return id;
}

std::optional<Id> Id::Parse(std::string_view text) {
  Id id;
  if (text.size() != 2 * id.bytes_.size()) return std::nullopt;
  for (size_t i = 0; i < id.bytes_.size(); ++i) {
    const size_t high = kDigits.find(text[2 * i]);
    const size_t low = kDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    id.bytes_[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return id;
}

std::string Id::ToString() const {
  std::string text;
  text.reserve(2 * bytes_.size());
  for (const uint8_t byte : bytes_) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

uint64_t Id::Prefix() const {
  uint64_t prefix = 0;
  for (size_t i = 0; i < 8; ++i) prefix = prefix << 8 | bytes_[i];
  return prefix;
}

}  // namespace quoin

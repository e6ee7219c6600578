// Numbers in as few bytes as they need: LEB128, seven bits a byte, the lowest first. A number has
// exactly one form: a reader refuses one that is longer than needed, so that equal content has
// equal bytes. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quoin {

inline void PutVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Signed numbers near zero as small unsigned ones: 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
constexpr uint64_t ToZigzag(int64_t value) {
  return static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t FromZigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1 ^ (~(value & 1) + 1));
}

// Takes an encoding apart from the front. Never reads beyond the bytes, whatever they hold.
class VarintReader {
 public:
  explicit VarintReader(std::string_view bytes) : bytes_(bytes) {}
  bool at_end() const { return at_ == bytes_.size(); }
  size_t remaining_bytes() const { return bytes_.size() - at_; }

  // Nothing if the bytes end too early, or hold no number of 64 bits in its shortest form.
  std::optional<uint64_t> Next() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at_ < bytes_.size(); shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      if (shift == 63 && byte > 1) return std::nullopt;
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift > 0) return std::nullopt;
        return value;
      }
    }
    return std::nullopt;
  }

  // Exactly `count` bytes as they are.
  std::optional<std::string_view> NextBytes(size_t count) {
    if (count > remaining_bytes()) return std::nullopt;
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }

 private:
  const std::string_view bytes_;
  size_t at_ = 0;
};

}  // namespace quoin

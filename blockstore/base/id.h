// 128-bit random identities of stores, VDIs, snapshots, hosts and sessions, written as 32 lower-case
// hexadecimal digits.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace quoin {

class Id {
 public:
  constexpr Id() = default;  // all zero: no object

  static Id Random();  // from the system's random source; aborts if there is none
  static std::optional<Id> Parse(std::string_view text);

  // The sixteen bytes as formats on disk hold them.
  static constexpr size_t kBytes = 16;
  static constexpr Id FromBytes(const std::array<uint8_t, kBytes>& bytes) { return Id(bytes); }
  constexpr const std::array<uint8_t, kBytes>& bytes() const { return bytes_; }

  std::string ToString() const;
  bool IsNull() const { return *this == Id(); }

  // The first eight bytes as a number: what inode numbers are derived from.
  uint64_t Prefix() const;

  auto operator<=>(const Id&) const = default;

 private:
  explicit constexpr Id(const std::array<uint8_t, kBytes>& bytes) : bytes_(bytes) {}

  std::array<uint8_t, kBytes> bytes_{};
};

struct IdHash {
  size_t operator()(const Id& id) const { return static_cast<size_t>(id.Prefix()); }
};

}  // namespace quoin

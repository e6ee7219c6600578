#include "tools/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>
#include <ctime>
#include <limits>

#include "blockstore/base/block.h"

namespace quoin {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr const char* kSizeHint =
    "a size is a number of bytes, or a number with K, M, G or T (powers of 1024): 20G, 512MiB";

// The power of 1024 that a suffix means; -1 if it is none.
int PowerOf(std::string_view suffix) {
  if (suffix.empty() || suffix == "B" || suffix == "b") return 0;
  constexpr std::string_view kUnits = "KMGT";
  const char unit = suffix[0] >= 'a' ? static_cast<char>(suffix[0] - 'a' + 'A') : suffix[0];
  const size_t power = kUnits.find(unit);
  if (power == std::string_view::npos) return -1;
  const std::string_view rest = suffix.substr(1);
  if (!rest.empty() && rest != "iB" && rest != "ib") return -1;
  return static_cast<int>(power) + 1;
}

Failure TooLarge(std::string_view text) {
  return Fail(ErrorCode::kTooLarge,
              fmt::format("'{}' is more than 256 TiB, the largest size of a VDI", text), kSizeHint);
}

std::string FormatTime(const std::tm& time, const char* format) {
  std::array<char, 64> buffer{};
  const size_t length = std::strftime(buffer.data(), buffer.size(), format, &time);
  return std::string(buffer.data(), length);
}

}  // namespace

Result<uint64_t> ParseVdiSize(std::string_view text) {
  if (!text.empty() && text[0] == '-') {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is negative", text), kSizeHint);
  }
  uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem == std::errc::result_out_of_range) return TooLarge(text);
  const std::string_view suffix =
      text.substr(static_cast<size_t>(end - text.data()), std::string_view::npos);
  const int power = PowerOf(suffix);
  if (problem != std::errc() || power < 0) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is no size", text), kSizeHint);
  }
  if (number > (std::numeric_limits<uint64_t>::max() >> (10 * power))) return TooLarge(text);
  const uint64_t bytes = number << (10 * power);
  if (bytes > kMaxVdiBytes) return TooLarge(text);
  if (bytes % kSectorBytes != 0) {
    return Fail(
        ErrorCode::kInvalid,
        fmt::format("{} bytes is no multiple of {} bytes, a disk's sector", bytes, kSectorBytes),
        fmt::format("the next larger size is {}", (bytes / kSectorBytes + 1) * kSectorBytes));
  }
  return bytes;
}

std::string FormatSize(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes >> (10 * (unit + 1)) != 0) ++unit;
  if (unit == 0) return fmt::format("{} B", bytes);
  const uint64_t one = uint64_t{1} << (10 * unit);
  // Tenths are cut, not rounded: a size is never shown as more than there is.
  const uint64_t tenths = (bytes % one) * 10 / one;
  if (tenths == 0) return fmt::format("{} {}", bytes / one, kUnits[unit]);
  return fmt::format("{}.{} {}", bytes / one, tenths, kUnits[unit]);
}

std::string FormatUtc(int64_t unix_ns) {
  int64_t nanoseconds = unix_ns % kNanosecondsPerSecond;
  int64_t seconds = unix_ns / kNanosecondsPerSecond;
  if (nanoseconds < 0) {
    nanoseconds += kNanosecondsPerSecond;
    --seconds;
  }
  std::string text = FormatUtcSeconds(seconds);
  text.pop_back();
  return fmt::format("{}.{:09}Z", text, nanoseconds);
}

std::string FormatUtcSeconds(int64_t unix_s) {
  const std::time_t seconds = unix_s;
  std::tm time{};
  gmtime_r(&seconds, &time);
  return FormatTime(time, "%Y-%m-%dT%H:%M:%SZ");
}

int64_t UnixNow() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

int64_t UnixNowSeconds() { return UnixNow() / kNanosecondsPerSecond; }

}  // namespace quoin

#include "tools/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tools/units.h"

namespace quoin {
namespace {

constexpr std::chrono::milliseconds kFirstAfter{500};
constexpr std::chrono::milliseconds kRedrawEvery{200};
constexpr std::chrono::seconds kLineEvery{10};
constexpr size_t kBarCells = 20;
constexpr long kMaxLineEvery_s = 86'400;

std::chrono::seconds LineEvery() {
  const char* const asked = std::getenv("QUOIN_PROGRESS_SECONDS");
  if (asked == nullptr || *asked == '\0') return kLineEvery;
  char* end = nullptr;
  const long seconds = std::strtol(asked, &end, 10);
  if (*end != '\0' || seconds < 0 || seconds > kMaxLineEvery_s) return kLineEvery;
  return std::chrono::seconds(seconds);
}

}  // namespace

std::string ProgressText(const std::string& title, uint64_t done_bytes, uint64_t all_bytes,
                         double seconds) {
  const double rate = seconds > 0 ? static_cast<double>(done_bytes) / seconds : 0;
  const std::string per_second = FormatSize(static_cast<uint64_t>(rate)) + "/s";
  if (all_bytes == 0) return fmt::format("{}  {}, {}", title, FormatSize(done_bytes), per_second);
  done_bytes = std::min(done_bytes, all_bytes);
  const double share = static_cast<double>(done_bytes) / static_cast<double>(all_bytes);
  const auto cells = static_cast<size_t>(share * kBarCells);
  std::string text = fmt::format("{}  [{}{}] {:3} %  {} of {}, {}", title, std::string(cells, '#'),
                                 std::string(kBarCells - cells, '-'), static_cast<int>(share * 100),
                                 FormatSize(done_bytes), FormatSize(all_bytes), per_second);
  if (rate > 0 && done_bytes < all_bytes) {
    text += fmt::format(", {:.0f} s left", static_cast<double>(all_bytes - done_bytes) / rate);
  }
  return text;
}

ProgressBar::ProgressBar(std::string title)
    : title_(std::move(title)),
      is_terminal_(isatty(STDERR_FILENO) == 1),
      line_every_(LineEvery()),
      begin_(Clock::now()),
      due_(begin_ + (is_terminal_ ? Clock::duration(kFirstAfter) : line_every_)) {}

void ProgressBar::Show(uint64_t done_bytes, uint64_t all_bytes) {
  const Clock::time_point now = Clock::now();
  const bool is_end = all_bytes > 0 && done_bytes >= all_bytes;
  if (now < due_ && !(is_end && has_begun_)) return;
  const std::string text = ProgressText(title_, done_bytes, all_bytes,
                                        std::chrono::duration<double>(now - begin_).count());
  if (is_terminal_) {
    due_ = now + kRedrawEvery;
    // What is left of a longer one before is covered with spaces.
    fmt::print(stderr, "\r{:<{}}", text, drawn_);
    drawn_ = text.size();
  } else {
    due_ = now + line_every_;
    has_begun_ = !is_end;
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
}

void ProgressBar::Clear() {
  if (drawn_ == 0) return;
  fmt::print(stderr, "\r{:<{}}\r", "", drawn_);
  std::fflush(stderr);
  drawn_ = 0;
}

}  // namespace quoin

// How far long work has come, on standard error: a bar that is drawn over and over on a terminal, a
// plain line elsewhere: every ten seconds, or as often as QUOIN_PROGRESS_SECONDS says (0: always), and at
// the end if there was one before. Work that is over soon shows nothing. One object for one piece of
// work; its calls come one after the other.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace quoin {

class ProgressBar {
 public:
  // `title` is the verb.
  explicit ProgressBar(std::string title);
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `all_bytes` is 0 where it is not known how much there is.
  void Show(uint64_t done_bytes, uint64_t all_bytes);
  // Takes the bar away, before anything else is printed.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;

  const std::string title_;
  const bool is_terminal_;
  const Clock::duration line_every_;
  const Clock::time_point begin_;
  Clock::time_point due_;  // when the next is drawn
  size_t drawn_ = 0;       // characters of the bar that is shown
  bool has_begun_ = false;  // a line has been printed, and not yet that of the end
};

// "seal  [######--------------]  31 %  1.2 GiB of 3.9 GiB, 410.2 MiB/s, 7 s left"
std::string ProgressText(const std::string& title, uint64_t done_bytes, uint64_t all_bytes,
                         double seconds);

}  // namespace quoin

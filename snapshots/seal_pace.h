// How a seal in the background keeps out of guests' way: while they ask for much it works a little and
// then rests for several times as long. One thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>

namespace quoin {

class SealPace {
 public:
  using Clock = std::chrono::steady_clock;
  // Guests that ask for more than this are busy.
  static constexpr double kBusyRequestsPerSecond = 100;
  // A rest is so many times as long as the work before it was, at most kMaxRest.
  static constexpr int kRestPerWork = 7;
  static constexpr std::chrono::milliseconds kMaxRest{500};

  // `requests` counts all requests of guests; it may fall when a VDI is let go.
  SealPace(std::function<uint64_t()> requests, Clock::time_point now)
      : requests_(std::move(requests)), seen_(requests_()), asked_at_(now), resumed_at_(now) {}

  // How long to rest now, between two pieces of work.
  Clock::duration RestAt(Clock::time_point now) {
    const uint64_t requests = requests_();
    const std::chrono::duration<double> since = now - asked_at_;
    const double rate =
        requests > seen_ ? static_cast<double>(requests - seen_) / std::max(since.count(), 1e-3) : 0;
    const Clock::duration worked = now - resumed_at_;
    seen_ = requests;
    asked_at_ = now;
    Clock::duration rest{0};
    if (rate > kBusyRequestsPerSecond) {
      rest = std::min<Clock::duration>(worked * kRestPerWork, kMaxRest);
    }
    resumed_at_ = now + rest;
    return rest;
  }

 private:
  const std::function<uint64_t()> requests_;
  uint64_t seen_;
  Clock::time_point asked_at_;
  Clock::time_point resumed_at_;
};

}  // namespace quoin

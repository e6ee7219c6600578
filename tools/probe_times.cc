#include "tools/probe_times.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxSamples = 200;
constexpr std::chrono::milliseconds kBudget{1500};

}  // namespace

std::optional<ProbeTimes> ProbeTimes::Take(const std::function<bool(int)>& act) {
  std::vector<double> times;
  const Clock::time_point end = Clock::now() + kBudget;
  for (int i = 0; i < kMaxSamples && (i == 0 || Clock::now() < end); ++i) {
    const Clock::time_point begin = Clock::now();
    if (!act(i)) return std::nullopt;
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  std::sort(times.begin(), times.end());
  return ProbeTimes(std::move(times));
}

double ProbeTimes::Microseconds(double share) const {
  const double rank = std::ceil(share * static_cast<double>(sorted_.size()));
  return sorted_[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

ProbeReport ProbeTimes::Report(const char* what) const {
  const double p50 = Microseconds(0.5);
  const double p99 = Microseconds(0.99);
  return ProbeOk(fmt::format("{}: {:.0f} µs (p50), {:.0f} µs (p99), {} times", what, p50, p99,
                             sorted_.size()),
                 {{"p50_microseconds", p50}, {"p99_microseconds", p99}});
}

}  // namespace quoin

// How long an act takes, again and again: what the probes of storage_probes.h measure. One thread.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "tools/storage_probes.h"

namespace quoin {

class ProbeTimes {
 public:
  // Does the act at most 200 times and at most for about a second and a half; it is told how often it was
  // done before. Nothing if it fails once, with its errno.
  static std::optional<ProbeTimes> Take(const std::function<bool(int)>& act);

  // So that this share of the times is no longer, in microseconds.
  double Microseconds(double share) const;
  // "<what>: 120 µs (p50), 340 µs (p99), 200 times", with the same as measurements.
  ProbeReport Report(const char* what) const;

 private:
  explicit ProbeTimes(std::vector<double> sorted) : sorted_(std::move(sorted)) {}

  std::vector<double> sorted_;  // not empty
};

}  // namespace quoin

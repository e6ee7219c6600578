// How long a file that a published state names may be missing before that counts as damage.
//
// The owner may have published a newer state and removed what only the older one named: then the newer
// one counts. A client of a network filesystem can go on showing the older one for as long as it keeps
// names and attributes, which is a second with GlusterFS's own client and with most others.
#pragma once

#include <chrono>

#include "blockstore/base/monotonic_clock.h"
#include "blockstore/base/error.h"

namespace quoin {

class PublishedPatience {
 public:
  explicit PublishedPatience(MonotonicClock& clock) : clock_(clock) {}

  // True if what is published is to be read once more; at once the first time, after pauses from then
  // on, which make 1.3 s in all.
  bool GoOn(const Error& error) {
    if (error.code != ErrorCode::kNotFound || pause_ > kLongestPause) return false;
    if (pause_.count() > 0) clock_.SleepFor(pause_);
    pause_ = pause_.count() == 0 ? kFirstPause : 2 * pause_;
    return true;
  }

 private:
  static constexpr std::chrono::milliseconds kFirstPause{10};
  static constexpr std::chrono::milliseconds kLongestPause{640};

  MonotonicClock& clock_;
  std::chrono::milliseconds pause_{0};
};

// What is recorded and nowhere to be found is no wrong name of the caller's.
inline Error AsDamage(Error error) {
  if (error.code != ErrorCode::kNotFound) return error;
  error.code = ErrorCode::kCorrupt;
  if (error.next.empty()) error.next = "quoin check tells what else is missing";
  return error;
}

}  // namespace quoin

// Time as quoin waits by it: leases, silent hosts, locks that are polled. A seam like that of the
// filesystem, so that a test can let hours pass in a moment, one thread at a time, and the same again.
//
// Of times of day, and of times that files have, it knows nothing. Thread-safe.
#pragma once

#include <chrono>

#include "blockstore/base/mutex.h"

namespace quoin {

class MonotonicClock {
 public:
  virtual ~MonotonicClock() = default;

  // Since some moment that stays the same; goes on while the machine sleeps.
  virtual std::chrono::nanoseconds Now() = 0;
  virtual void SleepFor(std::chrono::nanoseconds duration) = 0;
  // As Condition::WaitFor: returns with the mutex held again when it was notified (through this clock),
  // when the time is over, or for no reason.
  virtual void WaitFor(Condition& condition, Mutex& mutex, std::chrono::nanoseconds duration)
      QUOIN_REQUIRES(mutex) = 0;
  virtual void NotifyAll(Condition& condition) = 0;
};

// CLOCK_BOOTTIME and the threads' own waiting.
MonotonicClock& SystemClock();

}  // namespace quoin

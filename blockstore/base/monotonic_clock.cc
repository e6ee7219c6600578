#include "blockstore/base/monotonic_clock.h"

#include <time.h>

#include <thread>

namespace quoin {
namespace {

class BootClock final : public MonotonicClock {
 public:
  std::chrono::nanoseconds Now() override {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  }
  void SleepFor(std::chrono::nanoseconds duration) override {
    std::this_thread::sleep_for(duration);
  }
  void WaitFor(Condition& condition, Mutex& mutex, std::chrono::nanoseconds duration) override
      QUOIN_REQUIRES(mutex) {
    condition.WaitFor(mutex, duration);
  }
  void NotifyAll(Condition& condition) override { condition.NotifyAll(); }
};

}  // namespace

MonotonicClock& SystemClock() {
  static BootClock clock;
  return clock;
}

}  // namespace quoin

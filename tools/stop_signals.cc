#include "tools/stop_signals.h"

#include <ctime>
#include <utility>

namespace quoin {
namespace {

// How long the end of a watch may take to be noticed.
constexpr timespec kLookEvery{0, 50'000'000};

}  // namespace

StopSignals::StopSignals() {
  sigemptyset(&set_);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, number);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

StopSignals::Watch::Watch(const StopSignals& signals, std::function<void(int)> stop)
    : thread_([this, set = signals.set_, act = std::move(stop)] {
        while (!over_.load(std::memory_order_acquire)) {
          const int number = sigtimedwait(&set, nullptr, &kLookEvery);
          if (number > 0) {
            act(number);
            return;
          }
        }
      }) {}

StopSignals::Watch::~Watch() {
  over_.store(true, std::memory_order_release);
  thread_.join();
}

}  // namespace quoin

// SIGTERM, SIGINT and SIGHUP as a wish to stop: blocked in every thread, waited for by one. Made
// in main before the first thread; SIGPIPE is ignored as well.
#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>

namespace quoin {

class StopSignals {
 public:
  StopSignals();  // blocks them in this thread and in those that it starts

  // Calls `stop` from a thread of its own, once, with the first of the signals that comes while the
  // watch is alive.
  class Watch {
   public:
    Watch(const StopSignals& signals, std::function<void(int)> stop);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    std::atomic<bool> over_{false};
    std::thread thread_;
  };

 private:
  sigset_t set_;
};

}  // namespace quoin

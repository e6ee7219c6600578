// The daemon's end of the channel to its keeper (daemon_start.h). Owned by the daemon's main; Tell from one
// thread at a time, the rest as said.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "tools/json.h"
#include "tools/local_socket.h"

namespace quoin {

class KeeperChannel {
 public:
  KeeperChannel(int descriptor, int64_t keeper_pid);

  void Tell(const Json& message);
  // False if the keeper has ended, or wants something else. Before a Watch.
  bool WaitForGo();

  int64_t keeper_pid() const { return keeper_pid_; }
  // The keeper is there, as far as a Watch has seen. Any thread.
  bool is_open() const { return is_open_.load(std::memory_order_relaxed); }

  // Calls `leave` from a thread of its own when the keeper says so, once, while it is alive.
  class Watch {
   public:
    Watch(KeeperChannel& channel, std::function<void()> leave);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    void Run();

    KeeperChannel& channel_;
    const std::function<void()> leave_;
    const Descriptor stop_;  // an eventfd
    std::thread thread_;
  };

 private:
  const Descriptor socket_;
  const int64_t keeper_pid_;
  LineReceiver receiver_;
  std::atomic<bool> is_open_{true};
};

}  // namespace quoin

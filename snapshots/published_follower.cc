#include "snapshots/published_follower.h"

#include <utility>

namespace quoin {

PublishedFollower::PublishedFollower(std::chrono::milliseconds interval,
                                     std::function<void()> look)
    : interval_(interval), look_(std::move(look)), thread_([this] { Run(); }) {}

PublishedFollower::~PublishedFollower() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void PublishedFollower::Run() {
  for (;;) {
    {
      MutexLock lock(mutex_);
      const auto due = std::chrono::steady_clock::now() + interval_;
      while (!stopping_) {
        const auto left = due - std::chrono::steady_clock::now();
        if (left <= left.zero()) break;
        changed_.WaitFor(mutex_, left);
      }
      if (stopping_) return;
    }
    look_();
  }
}

}  // namespace quoin

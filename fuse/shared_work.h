// Many like things to do, by the thread that wants them done and by those of a lane as well: one more thread for
// what comes from memory, if that is much, and all of them once something has taken long, because what waits
// for the storage can wait for several at a time.
//
// Nobody waits for a thread to come and help: helpers that come late find nothing left. So it does no harm
// if the lane has none to spare.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "blockstore/base/mutex.h"
#include "fuse/blocking_lane.h"

namespace quoin {

class SharedWork {
 public:
  static constexpr std::chrono::microseconds kLong{100};
  // So many are worth waking one thread for in any case: 10,000 names were listed in 235 ms instead of 280.
  static constexpr size_t kMany = 64;

  // Calls `work` with each of 0 ... count - 1, once, from several threads at once; returns when all are done.
  // At most `max_helpers` jobs are posted to the lane. What `work` throws on the calling thread is passed on,
  // with the rest undone; what it throws elsewhere leaves that one undone.
  static void Run(BlockingLane& helpers, size_t max_helpers, size_t count,
                  std::function<void(size_t)> work) {
    const auto shared = std::make_shared<SharedWork>(count, std::move(work));
    const Ending ending(*shared);
    size_t called = 0;
    if (count >= kMany && max_helpers > 0) {
      helpers.Post([shared] { shared->Help(); });
      ++called;
    }
    for (size_t index = shared->next_++; index < count; index = shared->next_++) {
      const auto begin = std::chrono::steady_clock::now();
      shared->work_(index);
      if (called >= max_helpers || std::chrono::steady_clock::now() - begin < kLong) continue;
      for (; called < max_helpers; ++called) helpers.Post([shared] { shared->Help(); });
    }
  }

  SharedWork(size_t count, std::function<void(size_t)> work)
      : count_(count), work_(std::move(work)) {}

 private:
  // Counts a helper from before it takes anything to do.
  class Helping {
   public:
    explicit Helping(SharedWork& work) : work_(work) { work_.CountHelper(1); }
    ~Helping() { work_.CountHelper(-1); }
    Helping(const Helping&) = delete;
    Helping& operator=(const Helping&) = delete;

   private:
    SharedWork& work_;
  };

  // Nobody takes anything to do any more, and whoever has something has done it.
  class Ending {
   public:
    explicit Ending(SharedWork& work) : work_(work) {}
    ~Ending() {
      work_.next_ = work_.count_;
      work_.WaitForHelpers();
    }
    Ending(const Ending&) = delete;
    Ending& operator=(const Ending&) = delete;

   private:
    SharedWork& work_;
  };

  void Help() {
    const Helping helping(*this);
    for (size_t index = next_++; index < count_; index = next_++) work_(index);
  }

  void CountHelper(int change) {
    {
      MutexLock lock(mutex_);
      helping_ += change;
    }
    changed_.NotifyAll();
  }

  void WaitForHelpers() {
    MutexLock lock(mutex_);
    while (helping_ > 0) changed_.Wait(mutex_);
  }

  const size_t count_;
  const std::function<void(size_t)> work_;
  std::atomic<size_t> next_{0};
  Mutex mutex_{LockRank::kLeaf};
  Condition changed_;
  int helping_ QUOIN_GUARDED_BY(mutex_) = 0;
};

}  // namespace quoin

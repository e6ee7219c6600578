// Time of a simulated world in which real threads run one at a time: who sleeps by a VirtualClock sleeps
// until the driver of the world lets time pass, and the driver lets nothing else happen before all that
// runs has come to rest. So a run depends on what the driver decides, and not on how fast threads are.
//
// A Party is one process. Threads that its clock has never seen are not waited for, but for those that
// work for it between Enter and Leave. One driver; everything else from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>
#include <vector>

#include "blockstore/base/monotonic_clock.h"

namespace quoin::model {

class VirtualTime {
 public:
  struct Party {
    explicit Party(int rank) : number(rank) {}
    const int number;     // of two that wake at the same time the lower one is first
    int running = 0;      // threads that are neither asleep nor parked
    int waiting = 0;      // threads that are
    bool frozen = false;  // as by SIGSTOP: nothing of it wakes, and nobody waits for it
    uint64_t unparked = 0;  // how often
    std::atomic<uint64_t> progress = 0;  // grows while threads get on
  };

  VirtualTime() = default;
  VirtualTime(const VirtualTime&) = delete;
  VirtualTime& operator=(const VirtualTime&) = delete;

  void Add(Party& party);
  void Remove(Party& party);

  std::chrono::nanoseconds Now();

  // --- by the driver -------------------------------------------------------------------------
  // Returns when nothing runs that is not frozen.
  void Settle();
  // Everything is at rest: whoever is to wake first, at `end` at the latest, does. False if there is
  // nobody; then it is `end`.
  bool WakeNext(std::chrono::nanoseconds end);
  // The party has got work for its thread, which calls Begin and Leave.
  void Enter(Party& party);
  void SetFrozen(Party& party, bool frozen);
  // Lets all go on that are parked; they look for themselves whether they may.
  void Unpark(Party& party);
  // How often threads were taken to wait for each other because nothing came of them for a while; what
  // a seed means then depends on the machine.
  uint64_t guesses() const { return guesses_; }

  // --- by threads of the parties --------------------------------------------------------------
  void Begin(Party& party);  // this thread works for the party, which has entered
  void Leave(Party& party);
  // Until some other thread of the party sleeps: one that was just begun, and has not looked at the time.
  void AwaitSleeper(const Party& party);
  void Sleep(Party& party, std::chrono::nanoseconds duration, const Condition* condition,
             Mutex* mutex) QUOIN_NO_THREAD_SAFETY_ANALYSIS;
  void Notify(const Condition& condition);
  // Until Unpark is called, or has been since this number was asked for.
  uint64_t Unparked(const Party& party);
  void Park(Party& party, uint64_t unparked);

 private:
  struct Waiting {
    Party& party;
    int64_t wake_ns;             // kNever: parked
    const Condition* condition;  // null: only time wakes it
    uint64_t order;
    bool released = false;
    std::condition_variable wake;
  };
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  void Wait(std::unique_lock<std::mutex>& lock, Waiting& waiting, Mutex* mutex)
      QUOIN_NO_THREAD_SAFETY_ANALYSIS;
  void Release(size_t at);

  std::mutex mutex_;
  std::condition_variable at_rest_;
  int64_t now_ns_ = 1'000'000'000;
  uint64_t next_order_ = 0;
  std::vector<Party*> parties_;
  std::vector<Waiting*> waiting_;
  uint64_t guesses_ = 0;
};

// One process's clock.
class VirtualClock final : public MonotonicClock {
 public:
  VirtualClock(VirtualTime& time, VirtualTime::Party& party) : time_(time), party_(party) {}
  std::chrono::nanoseconds Now() override { return time_.Now(); }
  void SleepFor(std::chrono::nanoseconds duration) override {
    time_.Sleep(party_, duration, nullptr, nullptr);
  }
  void WaitFor(Condition& condition, Mutex& mutex, std::chrono::nanoseconds duration) override {
    time_.Sleep(party_, duration, &condition, &mutex);
  }
  void NotifyAll(Condition& condition) override { time_.Notify(condition); }

 private:
  VirtualTime& time_;
  VirtualTime::Party& party_;
};

}  // namespace quoin::model

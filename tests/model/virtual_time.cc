#include "tests/model/virtual_time.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <tuple>

namespace quoin::model {
namespace {

// A thread that waits for another one which waits in virtual time looks as if it ran.
constexpr std::chrono::milliseconds kGuessAfter{50};
constexpr std::chrono::seconds kGiveUpAfter{120};

// What this thread is counted in while it runs.
struct Counted {
  VirtualTime* time = nullptr;
  VirtualTime::Party* party = nullptr;
  ~Counted() {
    if (party != nullptr) time->Leave(*party);
  }
};
thread_local Counted counted;

}  // namespace

void VirtualTime::Add(Party& party) {
  const std::lock_guard lock(mutex_);
  parties_.push_back(&party);
}

void VirtualTime::Remove(Party& party) {
  const std::lock_guard lock(mutex_);
  std::erase(parties_, &party);
}

std::chrono::nanoseconds VirtualTime::Now() {
  const std::lock_guard lock(mutex_);
  return std::chrono::nanoseconds(now_ns_);
}

void VirtualTime::Settle() {
  std::unique_lock lock(mutex_);
  const auto is_at_rest = [](const Party* party) { return party->frozen || party->running == 0; };
  const auto all_rest = [&] { return std::all_of(parties_.begin(), parties_.end(), is_at_rest); };
  uint64_t seen = 0;
  for (int n = 0; !at_rest_.wait_for(lock, kGuessAfter, all_rest); ++n) {
    uint64_t progress = 0;
    bool may_be_blocked = true;
    for (const Party* party : parties_) {
      progress += party->progress;
      // One of them is the lease's, which waits for nobody.
      may_be_blocked = may_be_blocked && (is_at_rest(party) || party->waiting > 1);
    }
    if (n > 0 && may_be_blocked && progress == seen) {
      ++guesses_;
      return;
    }
    seen = progress;
    if (n * kGuessAfter > kGiveUpAfter) {
      std::fprintf(stderr, "the simulated hosts do not come to rest\n");
      std::abort();
    }
  }
}

bool VirtualTime::WakeNext(std::chrono::nanoseconds end) {
  const std::lock_guard lock(mutex_);
  size_t first = waiting_.size();
  for (size_t i = 0; i < waiting_.size(); ++i) {
    const Waiting& one = *waiting_[i];
    if (one.party.frozen || one.wake_ns > end.count()) continue;
    if (first == waiting_.size()) {
      first = i;
      continue;
    }
    const Waiting& best = *waiting_[first];
    if (std::tuple(one.wake_ns, one.party.number, one.order) <
        std::tuple(best.wake_ns, best.party.number, best.order)) {
      first = i;
    }
  }
  if (first == waiting_.size()) {
    now_ns_ = std::max(now_ns_, end.count());
    return false;
  }
  now_ns_ = std::max(now_ns_, waiting_[first]->wake_ns);
  Release(first);
  return true;
}

void VirtualTime::Enter(Party& party) {
  const std::lock_guard lock(mutex_);
  ++party.running;
}

void VirtualTime::Begin(Party& party) { counted.time = this, counted.party = &party; }

void VirtualTime::Leave(Party& party) {
  counted.party = nullptr;
  const std::lock_guard lock(mutex_);
  --party.running;
  ++party.progress;
  at_rest_.notify_all();
}

void VirtualTime::AwaitSleeper(const Party& party) {
  std::unique_lock lock(mutex_);
  at_rest_.wait(lock, [&] { return party.waiting > 0; });
}

void VirtualTime::SetFrozen(Party& party, bool frozen) {
  const std::lock_guard lock(mutex_);
  party.frozen = frozen;
  at_rest_.notify_all();
}

void VirtualTime::Release(size_t at) {
  Waiting& one = *waiting_[at];
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(at));
  one.released = true;
  ++one.party.running;
  --one.party.waiting;
  one.wake.notify_one();
}

void VirtualTime::Wait(std::unique_lock<std::mutex>& lock, Waiting& waiting, Mutex* mutex) {
  Party& party = waiting.party;
  if (counted.party == nullptr) {
    counted.time = this, counted.party = &party;  // a thread of whose start nobody was told
  } else {
    --party.running;
  }
  ++party.waiting;
  ++party.progress;
  waiting_.push_back(&waiting);
  at_rest_.notify_all();
  if (mutex != nullptr) mutex->unlock();
  waiting.wake.wait(lock, [&] { return waiting.released; });
  lock.unlock();
  if (mutex != nullptr) mutex->lock();
}

void VirtualTime::Sleep(Party& party, std::chrono::nanoseconds duration, const Condition* condition,
                        Mutex* mutex) {
  std::unique_lock lock(mutex_);
  Waiting waiting{party, now_ns_ + duration.count(), condition, next_order_++, false, {}};
  Wait(lock, waiting, mutex);
}

void VirtualTime::Notify(const Condition& condition) {
  const std::lock_guard lock(mutex_);
  for (size_t i = waiting_.size(); i > 0; --i) {
    if (waiting_[i - 1]->condition == &condition) Release(i - 1);
  }
}

uint64_t VirtualTime::Unparked(const Party& party) {
  const std::lock_guard lock(mutex_);
  return party.unparked;
}

void VirtualTime::Park(Party& party, uint64_t unparked) {
  std::unique_lock lock(mutex_);
  if (party.unparked != unparked) return;
  Waiting waiting{party, kNever, nullptr, next_order_++, false, {}};
  Wait(lock, waiting, nullptr);
}

void VirtualTime::Unpark(Party& party) {
  const std::lock_guard lock(mutex_);
  ++party.unparked;
  for (size_t i = waiting_.size(); i > 0; --i) {
    if (&waiting_[i - 1]->party == &party && waiting_[i - 1]->wake_ns == kNever) Release(i - 1);
  }
}

}  // namespace quoin::model

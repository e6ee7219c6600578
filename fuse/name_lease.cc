#include "fuse/name_lease.h"

#include <thread>

namespace quoin {

uint64_t NameLease::changes() const {
  MutexLock lock(mutex_);
  return changes_;
}

double NameLease::Grant(uint64_t changes) {
  MutexLock lock(mutex_);
  last_listing_ = Clock::now();
  if (changes != changes_) return 0;
  until_ = last_listing_ + kLength + kSlack;
  return std::chrono::duration<double>(kLength).count();
}

double NameLease::GrantOnTheWay(uint64_t changes) {
  const Clock::time_point now = Clock::now();
  MutexLock lock(mutex_);
  if (changes != changes_ || now - last_listing_ > kOnTheWay) return 0;
  until_ = now + kLength + kSlack;
  return std::chrono::duration<double>(kLength).count();
}

void NameLease::End() {
  Clock::time_point until;
  {
    MutexLock lock(mutex_);
    ++changes_;
    until = until_;
  }
  std::this_thread::sleep_until(until);
}

}  // namespace quoin

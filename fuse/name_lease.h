// For how long the kernel may use names that a listing has told it without asking again: so that the stat of
// each name that was just listed is no look-up, neither of the name nor of the folders on the way to it. One
// for vdis/ and one for snapshots/; owned by CacheNotifier; thread-safe.
//
// The kernel cannot be told to forget a name (CacheNotifier::DropName says why). So whoever changes one
// without the kernel's knowledge is not done before all that was told of it is over.
#pragma once

#include <chrono>
#include <cstdint>

#include "blockstore/base/mutex.h"

namespace quoin {

class NameLease {
 public:
  static constexpr std::chrono::milliseconds kLength{100};
  // The kernel counts from when the process that lists has a processor to take the answer.
  static constexpr std::chrono::milliseconds kSlack{50};
  // So long after a listing those who stat what was listed may still be on their way.
  static constexpr std::chrono::milliseconds kOnTheWay{1000};

  // How many changes there have been; to be asked before the names are looked at.
  uint64_t changes() const;
  // Seconds for which the kernel may use names that were looked at for a listing since then: none if one has
  // changed.
  double Grant(uint64_t changes);
  // The same of a folder that was looked up: none too if nothing has been listed just before.
  double GrantOnTheWay(uint64_t changes);
  // A name has changed: waits until nothing that was granted before is valid any more, at most for the
  // length and the slack.
  void End();

 private:
  using Clock = std::chrono::steady_clock;

  mutable Mutex mutex_{LockRank::kLeaf};
  uint64_t changes_ QUOIN_GUARDED_BY(mutex_) = 0;
  Clock::time_point until_ QUOIN_GUARDED_BY(mutex_);
  Clock::time_point last_listing_ QUOIN_GUARDED_BY(mutex_);
};

}  // namespace quoin

// Looks from time to time whether other owners have left something new of what this process has open
// for reading: who keeps a VDI open (a migration's waiting end, a monitor, a mapping) sees it without
// opening the VDI again. Owned by the Store; one thread, which waits for the storage only.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "blockstore/base/mutex.h"

namespace quoin {

// As late as an attribute that the kernel remembers.
inline constexpr std::chrono::milliseconds kFollowInterval{1000};

class PublishedFollower {
 public:
  // `look` is called every so often, by the follower's own thread, with no lock held.
  PublishedFollower(std::chrono::milliseconds interval, std::function<void()> look);
  ~PublishedFollower();  // after the look that is under way
  PublishedFollower(const PublishedFollower&) = delete;
  PublishedFollower& operator=(const PublishedFollower&) = delete;

 private:
  void Run();

  const std::chrono::milliseconds interval_;
  const std::function<void()> look_;
  Mutex mutex_{LockRank::kLeaf};
  Condition changed_;
  bool stopping_ QUOIN_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace quoin

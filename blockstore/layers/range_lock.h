// Exclusive locks on ranges of blocks of one VDI. Taken where a change must see a block's state
// stay put between looking and setting: the first write of a block, a partial write that is
// completed from below, a discard. Rewrites of blocks that the head owns take none.
#pragma once

#include <cstdint>
#include <vector>

#include "blockstore/base/mutex.h"

namespace quoin {

class RangeLock {
 public:
  // Holds [first, first + count) until destroyed. Ranges that overlap wait for each other, in no
  // particular order; a thread holds at most one.
  class Held {
   public:
    Held(RangeLock& owner, uint64_t first, uint64_t count);
    ~Held();
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    RangeLock& owner_;
    const uint64_t first_;
    const uint64_t end_;
  };

 private:
  struct Range {
    uint64_t first;
    uint64_t end;
  };

  Mutex mutex_{LockRank::kRangeLock};
  Condition released_;
  std::vector<Range> held_ QUOIN_GUARDED_BY(mutex_);
  int waiting_ QUOIN_GUARDED_BY(mutex_) = 0;
};

}  // namespace quoin

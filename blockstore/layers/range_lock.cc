#include "blockstore/layers/range_lock.h"

#include <algorithm>

namespace quoin {

RangeLock::Held::Held(RangeLock& owner, uint64_t first, uint64_t count)
    : owner_(owner), first_(first), end_(first + count) {
  MutexLock lock(owner_.mutex_);
  const auto overlaps = [this](const Range& range) {
    return range.first < end_ && first_ < range.end;
  };
  while (std::any_of(owner_.held_.begin(), owner_.held_.end(), overlaps)) {
    ++owner_.waiting_;
    owner_.released_.Wait(owner_.mutex_);
    --owner_.waiting_;
  }
  owner_.held_.push_back({first_, end_});
}

RangeLock::Held::~Held() {
  MutexLock lock(owner_.mutex_);
  const auto mine = std::find_if(
      owner_.held_.begin(), owner_.held_.end(),
      [this](const Range& range) { return range.first == first_ && range.end == end_; });
  *mine = owner_.held_.back();
  owner_.held_.pop_back();
  if (owner_.waiting_ > 0) owner_.released_.NotifyAll();
}

}  // namespace quoin

#include "snapshots/removal_estimate.h"

#include <algorithm>

#include "blockstore/base/block.h"

namespace quoin {

void RemovalEstimate::Count(const std::vector<LayerRecord>& layers, Clock::time_point now) {
  uint64_t blocks = 0;
  for (const LayerRecord& layer : layers) {
    if (layer.state == LayerState::kSealed) blocks = std::max(blocks, layer.map.data_blocks);
  }
  MutexLock lock(mutex_);
  ++seen_.removals;
  seen_.bytes_at_most += blocks * kBlockBytes;
  if (!seen_.first) seen_.first = now;
  last_ = now;
}

RemovalEstimate::Seen RemovalEstimate::Now() const {
  MutexLock lock(mutex_);
  return seen_;
}

void RemovalEstimate::Forget(const Seen& seen) {
  MutexLock lock(mutex_);
  // Two collections may have begun when the same was so.
  seen_.removals -= std::min(seen.removals, seen_.removals);
  seen_.bytes_at_most -= std::min(seen.bytes_at_most, seen_.bytes_at_most);
  // Later than the first of what is left, perhaps; by the length of a collection at most.
  seen_.first = seen_.removals == 0 ? std::nullopt : last_;
}

bool IsCollectionDue(const RemovalEstimate::Seen& removed, uint64_t pack_bytes,
                     const SpaceFacts& space, RemovalEstimate::Clock::time_point now) {
  if (removed.removals == 0) return false;
  if (removed.first && now - *removed.first >= kCollectAnywayAfter) return true;
  if (removed.bytes_at_most == 0) return false;  // nothing of it was in packs
  const bool is_short = space.available_bytes / kCollectAlwaysBelowPercent < space.total_bytes / 100;
  return is_short || removed.bytes_at_most / kCollectAtPercent >= pack_bytes / 100;
}

}  // namespace quoin

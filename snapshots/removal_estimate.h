// How much of what the packs hold may have become garbage through this process since its last
// collection, from what it removed: the reason to collect again. An upper bound, and cheap: what a
// removed map showed may be shown by others too, which only a walk through all of them could tell.
// Thread-safe; in memory only, so a process that starts knows of nothing that was removed before.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "metadata/vdi_records.h"

namespace quoin {

class RemovalEstimate {
 public:
  using Clock = std::chrono::steady_clock;
  struct Seen {
    uint64_t removals = 0;         // of snapshots and VDIs
    uint64_t bytes_at_most = 0;    // of blocks in packs
    std::optional<Clock::time_point> first;  // of these removals
  };

  // A snapshot or a VDI went, and these layers with it. Files of those that are not sealed are gone at
  // once; of sealed ones, which are states of one disk and mostly the same, the largest counts.
  void Count(const std::vector<LayerRecord>& layers, Clock::time_point now = Clock::now());
  Seen Now() const;
  // A collection that began when this was so has looked at all of it.
  void Forget(const Seen& seen);

 private:
  mutable Mutex mutex_{LockRank::kLeaf};
  Seen seen_ QUOIN_GUARDED_BY(mutex_);
  std::optional<Clock::time_point> last_ QUOIN_GUARDED_BY(mutex_);
};

// A collection reads every VDI's published.db and the map nodes of all, and makes sealers wait for
// a moment: it should be worth that. So much of what the packs take, and it may free a tenth of it...
inline constexpr uint64_t kCollectAtPercent = 10;
// ... with less than this of the storage available, every removal counts...
inline constexpr uint64_t kCollectAlwaysBelowPercent = 10;
// ... and whatever was removed does not stay for longer than this.
inline constexpr std::chrono::hours kCollectAnywayAfter{24};

// Whether to collect now, at `now`. `pack_bytes` is what all packs take.
bool IsCollectionDue(const RemovalEstimate::Seen& removed, uint64_t pack_bytes,
                     const SpaceFacts& space, RemovalEstimate::Clock::time_point now);

}  // namespace quoin

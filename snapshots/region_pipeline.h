// Reads and hashes the regions of a source with several threads, and hands them out in order.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "blockstore/base/mutex.h"
#include "snapshots/region_source.h"

namespace quoin {

class RegionPipeline {
 public:
  // Borrows the source, and the map that it lies over. `threads` > 0 read and hash ahead, each at most one region more than is
  // being taken; so (threads + 2) * 16 MiB are held at most.
  RegionPipeline(RegionSource& source, const Map& base, size_t threads);
  ~RegionPipeline();
  RegionPipeline(const RegionPipeline&) = delete;
  RegionPipeline& operator=(const RegionPipeline&) = delete;

  // The next region, with its bytes and digests; null after the last. After an error the pipeline
  // is of no more use. One thread.
  Result<std::unique_ptr<RegionWork>> Take() QUOIN_EXCLUDES(mutex_);

 private:
  struct Place {
    std::unique_ptr<RegionWork> work;
    std::optional<Error> error;
    bool done = false;
  };

  void Run() QUOIN_EXCLUDES(mutex_);
  // Begins the next region; null if there is none, or no more is wanted.
  std::shared_ptr<Place> Begin() QUOIN_EXCLUDES(mutex_);

  RegionSource& source_;
  const Map& base_;
  const size_t max_regions_;

  Mutex mutex_{LockRank::kSealPipeline};
  Condition changed_;
  std::deque<std::shared_ptr<Place>> places_ QUOIN_GUARDED_BY(mutex_);  // in order
  bool ended_ QUOIN_GUARDED_BY(mutex_) = false;     // the source has no more, or failed
  bool stopping_ QUOIN_GUARDED_BY(mutex_) = false;  // the pipeline is being destroyed
  std::vector<std::thread> threads_;
};

// Fills in the digests of a region that is loaded; blocks of zeros have a null digest.
void HashRegion(RegionWork& work);

// Makes this thread, and those that it starts from now on, give way to all others.
void GiveWay();

}  // namespace quoin

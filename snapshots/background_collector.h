// Collects garbage by itself: looks from time to time whether enough may have become garbage by what
// this process removed (removal_estimate.h), and finishes what an earlier collection of it declared
// dead.
// Owned by the Store; one thread.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "blockstore/base/mutex.h"
#include "snapshots/store.h"

namespace quoin {

struct StoreEnvironment;

// On average, between two looks.
inline constexpr std::chrono::minutes kCollectInterval{10};

class BackgroundCollector {
 public:
  BackgroundCollector(Store& store, StoreEnvironment& environment);
  ~BackgroundCollector();  // gives up what is under way
  BackgroundCollector(const BackgroundCollector&) = delete;
  BackgroundCollector& operator=(const BackgroundCollector&) = delete;

 private:
  void Run();
  bool IsDue();
  uint64_t PackBytes();
  static std::chrono::milliseconds Pause();

  Store& store_;
  StoreEnvironment& environment_;
  Mutex mutex_{LockRank::kLeaf};
  Condition changed_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace quoin

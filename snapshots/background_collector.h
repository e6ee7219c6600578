// Collects garbage by itself, from time to time, once this process has removed VDIs or snapshots.
// Owned by the Store; one thread.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "blockstore/base/mutex.h"
#include "snapshots/store.h"

namespace quoin {

struct StoreEnvironment;

// On average; a host collects only if it has removed something since.
inline constexpr std::chrono::minutes kCollectInterval{10};

class BackgroundCollector {
 public:
  BackgroundCollector(Store& store, StoreEnvironment& environment);
  ~BackgroundCollector();  // gives up what is under way
  BackgroundCollector(const BackgroundCollector&) = delete;
  BackgroundCollector& operator=(const BackgroundCollector&) = delete;

 private:
  void Run();
  static std::chrono::milliseconds Pause();

  Store& store_;
  StoreEnvironment& environment_;
  Mutex mutex_{LockRank::kLeaf};
  Condition changed_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace quoin

// One background thread that finishes frozen layers: writes their `.owned` files and publishes, so
// that a snapshot's caller need not wait for work that grows with the VDI. A queue of VDIs, each at
// most once; nothing is lost if the process dies, the next owner finishes. Without the thread each caller
// does its own part.
#pragma once

#include <deque>
#include <memory>
#include <thread>

#include "blockstore/base/mutex.h"

namespace quoin {

class Vdi;

class FrozenFinisher {
 public:
  explicit FrozenFinisher(bool in_background);
  ~FrozenFinisher() { Stop(); }
  FrozenFinisher(const FrozenFinisher&) = delete;
  FrozenFinisher& operator=(const FrozenFinisher&) = delete;

  // Without the thread the caller holds no lock.
  void Add(std::weak_ptr<Vdi> vdi);
  // Ends after the VDI under way; what is added afterwards is left to the next owner.
  void Stop();

 private:
  void Run();

  const bool in_background_;

  Mutex mutex_{LockRank::kLeaf};
  Condition changed_;
  std::deque<std::weak_ptr<Vdi>> queue_ QUOIN_GUARDED_BY(mutex_);
  bool stopping_ QUOIN_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace quoin

// One collection of garbage: finds what no VDI refers to, declares it dead, and removes it. One
// thread, one run; nothing of it is needed afterwards. It may run beside every other use of the
// store, on whatever hosts; a second collector is told kBusy. The order of its steps, and what a
// crash after each leaves, is in README.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "blockstore/packs/pack_store.h"
#include "metadata/collection_lock.h"
#include "snapshots/collect_report.h"
#include "snapshots/pack_marks.h"
#include "snapshots/store_roots.h"

namespace quoin {

struct StoreEnvironment;

class Collector {
 public:
  Collector(StoreEnvironment& environment, const CollectOptions& options);

  // kBusy if another collector is at work, or owners have committed for as long as it may wait.
  // kCorrupt and other errors if something that refers to packs cannot be read: nothing is removed
  // then. A store that is too full to rewrite packs is no error.
  Result<CollectReport> Run();
  // After a Run.
  const StoreRoots& roots() const { return roots_; }

 private:
  // Frames of which no slot is referred to.
  struct DeadFrame {
    uint32_t first_slot = 0;
    uint32_t end_slot = 0;
    uint32_t bytes = 0;
  };
  struct Garbage {
    Id pack;
    uint64_t file_bytes = 0;
    uint64_t frame_bytes = 0;  // of all frames
    uint64_t frames = 0;
    std::vector<DeadFrame> dead;

    bool IsWhole() const { return dead.size() == frames; }
    uint64_t DeadBytes() const;
  };

  Result<CollectReport> RunAlone();
  Status ListCandidates();
  Status MarkFrom(const std::vector<StoreRoots::Root>& roots);
  Status FindGarbage();
  Status LookInto(const Id& id);
  bool IsLiveRecord(const Id& pack, uint32_t slot);
  bool IsWorthIt(const Garbage& garbage) const;
  // What is garbage still, with what was marked since.
  void DropRevived();
  Status Declare();
  Status Sweep();
  // Without the frames that may not be removed yet.
  Garbage Removable(const Garbage& garbage) const;
  static void AddTo(const Garbage& garbage, DeadList& list);
  static bool Covers(const DeadList& list, const Garbage& garbage);
  void Count();
  Status CheckStopped() const;

  StoreEnvironment& environment_;
  const CollectOptions options_;
  CollectReport report_;
  // Of its own: a walk through everything would push out of the store's caches what guests need.
  FrameCache frames_{0};
  NodeCache nodes_{kWalkCacheBytes};
  PackStore packs_;
  StoreRoots roots_;
  PackMarks marks_;
  std::vector<Id> candidates_;
  std::vector<Garbage> garbage_;
  uint64_t generation_ = 0;
  int64_t now_ns_ = 0;  // by the storage's clock
  DeadList old_;        // declared longer ago than the grace
  bool all_removable_ = false;
};

}  // namespace quoin

// Seals frozen layers: reads them, stores what is new in packs, and has their owner swap them for a
// map. In the background after snapshots, or at once for whoever asks. Thread-safe.
//
// One seal at a time in a process. While it reads nothing is held: frozen layers do not change, and a
// VDI may be opened, snapshotted, let go and opened by another host meanwhile. To commit, the VDI is
// opened as its owner for a moment; if another host has it the work is thrown away, and that host
// seals. A crash leaves temporaries, or packs that nothing refers to.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "blockstore/base/mutex.h"
#include "snapshots/seal_job.h"
#include "snapshots/seal_plan.h"
#include "snapshots/store.h"

namespace quoin {

struct StoreEnvironment;

// A seal takes at most so many layers into its packs, so that many small snapshots share few packs.
inline constexpr size_t kMaxSealSteps = 32;
// With so many layers that wait to be sealed, the next snapshot waits for them.
inline constexpr uint64_t kMaxUnsealedLayers = 256;

class Sealer {
 public:
  // With `in_background` a thread seals what it is told of, `delay` after it was first told.
  Sealer(Store& store, StoreEnvironment& environment, bool in_background,
         std::chrono::milliseconds delay);
  ~Sealer();  // gives up what is under way
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;

  // The VDI has so many frozen layers, and perhaps something sealed without a root record. Records
  // alone can wait (StoreOptions::record_delay): they make a pack of their own, so the records of many
  // snapshots of a VDI that nobody writes should share one. Takes only a leaf's mutex.
  void Consider(const Id& vdi, uint64_t unsealed_layers, bool lacks_record)
      QUOIN_EXCLUDES(queue_mutex_);

  // Seals all that is frozen, and with `with_head` also what the head holds, which must not be open
  // for writing elsewhere; then everything sealed of the VDI has its root record. `progress` is told
  // how many blocks of how many are done. kBusy if another host owns the VDI, kNoSpace, kCorrupt.
  using Progress = std::function<void(uint64_t done_blocks, uint64_t all_blocks)>;
  Result<SealCounts> SealNow(const Id& vdi, bool with_head, const Progress& progress = nullptr)
      QUOIN_EXCLUDES(seal_mutex_);

  // What a job of this store works with.
  Result<SealServices> Services();
  // False if a collector has declared any of these slots dead. Asked with the collection lock shared,
  // whose generation this is, before they are referred to.
  Result<bool> IsAlive(const std::map<Id, std::vector<SlotRun>>& found, uint64_t generation);

 private:
  using Clock = std::chrono::steady_clock;

  void Run();
  Result<SealCounts> SealOnce(const Id& vdi, bool with_head, const Progress& progress, bool* more)
      QUOIN_REQUIRES(seal_mutex_);
  Result<SealedPlan> Work(SealJob& job, const SealPlan& plan);
  // The packs of the job and what it sealed become the VDI's; false if what it found stored already
  // was declared dead meanwhile.
  Result<bool> Commit(const Id& vdi, SealJob& job, const SealedPlan& sealed);

  Store& store_;
  StoreEnvironment& environment_;
  const std::chrono::milliseconds delay_;

  Mutex seal_mutex_{LockRank::kSealing};

  Mutex queue_mutex_{LockRank::kLeaf};
  Condition changed_;
  std::map<Id, Clock::time_point> due_ QUOIN_GUARDED_BY(queue_mutex_);
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace quoin

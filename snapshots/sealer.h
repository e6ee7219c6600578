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
#include <optional>
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
// From so many on the sealer does not rest while guests are busy.
inline constexpr uint64_t kUrgentUnsealedLayers = kMaxUnsealedLayers / 2;
// An idle head with less than this is left as it is: 1 MiB.
inline constexpr uint64_t kMinIdleBlocks = 256;

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
  // The VDI was let go with so much in its head, over layers or under snapshots: if it is not opened
  // for writing again (StoreOptions::idle_seal_delay), that is sealed too. Takes only a leaf's mutex.
  void ConsiderIdle(const Id& vdi, uint64_t head_blocks) QUOIN_EXCLUDES(queue_mutex_);

  // Seals all that is frozen, and with `with_head` also what the head holds, which must not be open
  // for writing elsewhere; then everything sealed of the VDI has its root record. `progress` is told
  // how many blocks of how many are done. kBusy if another host owns the VDI, kNoSpace, kCorrupt.
  using Progress = std::function<void(uint64_t done_blocks, uint64_t all_blocks)>;
  Result<SealCounts> SealNow(const Id& vdi, bool with_head, const Progress& progress = nullptr)
      QUOIN_EXCLUDES(seal_mutex_);

  // Frozen layers that are not sealed yet, of all VDIs, as far as this sealer was told.
  uint64_t CountUnsealed() QUOIN_EXCLUDES(queue_mutex_);

  // What a job of this store works with.
  Result<SealServices> Services();
  // False if a collector has declared any of these slots dead. Asked with the collection lock shared,
  // whose generation this is, before they are referred to.
  Result<bool> IsAlive(const std::map<Id, std::vector<SlotRun>>& found, uint64_t generation);

 private:
  using Clock = std::chrono::steady_clock;
  using Queue = std::map<Id, Clock::time_point>;
  enum class Mode { kAtOnce, kInBackground };
  struct Turn {
    Id vdi;
    bool is_idle = false;  // its head is to be sealed too
  };

  void Run();
  void NoteUnsealed(const Id& vdi, uint64_t layers) QUOIN_REQUIRES(queue_mutex_);
  // Nothing when the sealer ends.
  std::optional<Turn> NextTurn() QUOIN_EXCLUDES(queue_mutex_);
  void SealInTurn(const Turn& turn) QUOIN_EXCLUDES(seal_mutex_, queue_mutex_);
  Result<SealCounts> SealOnce(const Id& vdi, bool with_head, Mode mode, const Progress& progress,
                              bool* more) QUOIN_REQUIRES(seal_mutex_);
  // Keeps out of guests' way, unless the VDI waits for being sealed too much to be able to wait.
  std::function<Status(uint64_t)> PaceFor(const SealPlan& plan);
  Status Rest(Clock::duration duration) QUOIN_EXCLUDES(queue_mutex_);
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
  Queue due_ QUOIN_GUARDED_BY(queue_mutex_);
  Queue idle_ QUOIN_GUARDED_BY(queue_mutex_);
  std::map<Id, uint64_t> unsealed_ QUOIN_GUARDED_BY(queue_mutex_);  // layers; none are left out
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace quoin

// One scrub: reads every frame and compares every slot with its digest, mends what can be read
// elsewhere, and finds out which VDIs and snapshots show what is damaged. One run; nothing of it is
// needed afterwards. It may run beside every other use of the store; to mend it takes the collector's
// lock, for only its holder may replace packs.
//
// The order: what is there is verified → damaged packs are replaced by mended ones, each whole or not
// at all → the mended ones are verified again → the maps are walked with what is damaged in mind.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "blockstore/base/mutex.h"
#include "blockstore/packs/pack_store.h"
#include "metadata/dead_list.h"
#include "snapshots/pack_marks.h"
#include "snapshots/scrub_report.h"
#include "snapshots/store_roots.h"

namespace quoin {

struct StoreEnvironment;

class Scrubber {
 public:
  Scrubber(StoreEnvironment& environment, const ScrubOptions& options);

  // kNotFound for a VDI or snapshot that is not there. Damage is no error.
  Result<ScrubReport> Run();

 private:
  // What is known of a pack. Runs are of slots, in order and apart.
  struct PackState {
    bool is_readable = false;
    bool is_complete = false;
    bool tables_are_right = true;
    uint64_t bytes = 0;
    uint64_t frames = 0;           // verified
    uint64_t verified_blocks = 0;
    std::string why;  // if not readable
    std::vector<SlotRun> blocks;           // that it holds
    std::vector<SlotRun> damaged_blocks;   // of these
    std::vector<SlotRun> damaged_records;
    std::vector<std::pair<Digest, SlotLocation>> lost;  // the damaged blocks, by what they held

    bool IsDamaged() const {
      return !is_readable || !is_complete || !tables_are_right || !damaged_blocks.empty() ||
             !damaged_records.empty();
    }
  };
  // A VDI as it is now, or a snapshot.
  struct Unit {
    Id vdi;
    std::string snapshot;
    MapRoot map;
    uint64_t size_bytes = 0;
  };
  class Attribution;

  Status ChooseUnits();
  Status ChoosePacks();
  Status VerifyAll();
  Result<PackState> Verify(const Id& id);
  Status VerifyFrames(const Pack& pack, PackState& state);
  void CountDone(uint64_t bytes) QUOIN_EXCLUDES(mutex_);
  Status Mend();
  Status MendPack(const Id& id);
  void ReportPacks();
  void Attribute();
  Status CheckStopped() const;
  bool IsWhole() const { return options_.vdi.IsNull(); }

  StoreEnvironment& environment_;
  const ScrubOptions options_;
  FrameCache frames_{0};  // of its own, as a collector's
  PackStore packs_;
  StoreRoots roots_;
  std::vector<Unit> units_;
  PackMarks marks_;  // of the units, unless everything is scrubbed
  std::vector<std::pair<Id, uint64_t>> chosen_;  // packs, and the bytes of their files
  std::map<Id, PackState> before_;               // as found
  std::map<Id, PackState> after_;                // of those that were replaced

  Mutex mutex_{LockRank::kLeaf};
  ScrubReport report_;
  uint64_t all_bytes_ = 0;
  uint64_t done_bytes_ QUOIN_GUARDED_BY(mutex_) = 0;
};

}  // namespace quoin

// What a scrub is asked for, and what it found. Plain data.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "blockstore/base/id.h"

namespace quoin {

struct ScrubOptions {
  Id vdi;       // null: everything that is stored; else what this VDI and its snapshots refer to
  Id snapshot;  // null: all of the VDI
  bool dry_run = false;  // nothing is mended
  size_t threads = 2;
  // Called now and then, by one thread at a time.
  std::function<void(uint64_t done_bytes, uint64_t all_bytes)> progress;
  const std::atomic<bool>* stop = nullptr;  // once true the scrub ends with kBusy
};

// Slots of a pack that do not hold what they should.
struct DamagedSlots {
  Id pack;
  uint32_t first = 0;
  uint32_t count = 0;
  bool are_records = false;  // of maps or root records, not blocks
  bool is_mended = false;
};

// What else is wrong with a pack: its tables, or that it is missing or cannot be read.
struct DamagedPack {
  Id pack;
  std::string what;
  bool is_mended = false;
};

// Where damage shows: bytes of a VDI as it is now (`snapshot` is ""), or of a snapshot, that lie in
// damaged slots, or behind a damaged node of its map. What layers hide counts too.
struct DamagedRange {
  Id vdi;
  std::string snapshot;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool is_mended = false;
};

struct ScrubReport {
  uint64_t packs = 0;
  uint64_t frames = 0;
  uint64_t blocks = 0;
  uint64_t bytes = 0;            // of pack files
  uint64_t unsealed_layers = 0;  // not in packs, so there is nothing to compare them with
  std::vector<DamagedSlots> slots;
  std::vector<DamagedPack> damaged_packs;
  std::vector<DamagedRange> ranges;  // by VDI, what it is now first, then snapshots as taken
  std::vector<std::string> notes;    // what could not be done

  // Something is damaged and not mended.
  bool IsDamaged() const {
    for (const DamagedSlots& each : slots) {
      if (!each.is_mended) return true;
    }
    for (const DamagedPack& each : damaged_packs) {
      if (!each.is_mended) return true;
    }
    for (const DamagedRange& each : ranges) {
      if (!each.is_mended) return true;
    }
    return false;
  }
};

}  // namespace quoin

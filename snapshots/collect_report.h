// What a collection is asked for, and what it found and did.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "metadata/reserve_file.h"

namespace quoin {

// A pack of whose bytes less than this many percent are alive is rewritten without the others...
inline constexpr uint64_t kMinLivePercent = 60;
// ... and so is one with more dead bytes than this.
inline constexpr uint64_t kMaxDeadPackBytes = uint64_t{64} << 20;
// What was declared dead stays so long for readers that know an older state.
inline constexpr std::chrono::seconds kCollectGrace{60};

struct CollectOptions {
  bool dry_run = false;                             // says what is dead, changes nothing
  std::chrono::milliseconds grace = kCollectGrace;  // by the storage's clock
  uint64_t min_live_percent = kMinLivePercent;
  uint64_t max_dead_pack_bytes = kMaxDeadPackBytes;
  uint64_t reserve_bytes = kReserveBytes;  // made again at the end; 0: none
  // How long to wait for those who commit references.
  std::chrono::milliseconds patience{60'000};
  const std::atomic<bool>* stop =
      nullptr;  // the collection ends early, with kBusy, once it is true
};

// Bytes are those of files.
struct CollectReport {
  uint64_t vdis = 0;
  uint64_t maps = 0;  // different ones
  uint64_t nodes = 0;
  uint64_t blocks = 0;  // in extents that the walk saw
  uint64_t packs = 0;
  uint64_t pack_bytes = 0;
  uint64_t unreadable_packs = 0;  // left as they are
  // Garbage that is worth removing: packs of which nothing is alive, and parts of others.
  uint64_t dead_packs = 0;
  uint64_t dead_pack_bytes = 0;
  uint64_t sparse_packs = 0;
  uint64_t sparse_pack_dead_bytes = 0;
  // Of what is alive: blocks referred to, the frames that hold them, those that hold records; and
  // what packs take beside their frames.
  uint64_t unique_blocks = 0;
  uint64_t block_bytes = 0;
  uint64_t record_bytes = 0;
  uint64_t table_bytes = 0;
  // All garbage, worth it or not.
  uint64_t garbage_bytes = 0;

  uint64_t removed_packs = 0;
  uint64_t rewritten_packs = 0;
  uint64_t freed_bytes = 0;
  uint64_t waiting_bytes = 0;       // declared dead, and freed by a later collection
  uint64_t packs_without_room = 0;  // that there was no space to rewrite
  std::chrono::nanoseconds mark_time{0};
  std::chrono::nanoseconds hold_time{0};  // in which nobody could commit references
};

}  // namespace quoin

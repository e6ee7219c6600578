// What a Store has done since it was opened, and what it holds: for whoever watches it. StoreActivity
// is the picture at one moment; ActivityCounters is what the parts of the store count in, from any
// thread. In memory only; a daemon that is replaced begins at zero.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "snapshots/collect_report.h"
#include "snapshots/seal_counts.h"

namespace quoin {

struct CacheActivity {
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t evictions = 0;
  uint64_t bytes = 0;  // held now
};

struct StoreActivity {
  uint64_t open_vdis = 0;
  CacheActivity frames;
  CacheActivity nodes;
  // Sealing and importing. Layers as this process last heard of them.
  uint64_t unsealed_layers = 0;
  uint64_t seals = 0;    // packs and maps that became a VDI's
  uint64_t imports = 0;
  SealCounts sealed;     // sum over both
  uint64_t seal_rests = 0;          // that sealing took while guests were busy
  uint64_t written_pack_bytes = 0;  // files, with tables and digests
  // Collections of this process, not of other hosts.
  uint64_t collections = 0;
  uint64_t failed_collections = 0;
  uint64_t freed_bytes = 0;
  uint64_t waiting_bytes = 0;  // that the last one left to be freed by the next
  std::chrono::nanoseconds last_collection{0};  // how long it took; 0: there was none
  // What was removed since: at most so much of the packs is garbage through it.
  uint64_t reclaimable_bytes_at_most = 0;
  // Reads of blocks whose stored bytes were wrong.
  uint64_t healed_blocks = 0;   // read from another copy instead
  uint64_t damaged_blocks = 0;  // of which there was none
};

class ActivityCounters {
 public:
  void CountSeal(const SealCounts& counts, uint64_t pack_bytes) {
    seals_.fetch_add(1, std::memory_order_relaxed);
    Add(counts, pack_bytes);
  }
  void CountImport(const SealCounts& counts, uint64_t pack_bytes) {
    imports_.fetch_add(1, std::memory_order_relaxed);
    Add(counts, pack_bytes);
  }
  void CountSealRest() { seal_rests_.fetch_add(1, std::memory_order_relaxed); }
  void CountCollection(const CollectReport& report, std::chrono::nanoseconds took) {
    collections_.fetch_add(1, std::memory_order_relaxed);
    freed_bytes_.fetch_add(report.freed_bytes, std::memory_order_relaxed);
    waiting_bytes_.store(report.waiting_bytes, std::memory_order_relaxed);
    last_collection_ns_.store(static_cast<uint64_t>(took.count()), std::memory_order_relaxed);
  }
  void CountFailedCollection() { failed_collections_.fetch_add(1, std::memory_order_relaxed); }

  // Fills in what is counted here.
  void AddTo(StoreActivity& activity) const;

 private:
  using Counter = std::atomic<uint64_t>;
  void Add(const SealCounts& counts, uint64_t pack_bytes);

  Counter seals_{0};
  Counter imports_{0};
  Counter read_blocks_{0};
  Counter zero_blocks_{0};
  Counter kept_blocks_{0};
  Counter shared_blocks_{0};
  Counter stored_blocks_{0};
  Counter node_bytes_{0};
  Counter seal_rests_{0};
  Counter written_pack_bytes_{0};
  Counter collections_{0};
  Counter failed_collections_{0};
  Counter freed_bytes_{0};
  Counter waiting_bytes_{0};
  Counter last_collection_ns_{0};
};

}  // namespace quoin

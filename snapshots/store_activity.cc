#include "snapshots/store_activity.h"

#include "snapshots/store_shared.h"

namespace quoin {

void ActivityCounters::Add(const SealCounts& counts, uint64_t pack_bytes) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  read_blocks_.fetch_add(counts.read_blocks, kRelaxed);
  zero_blocks_.fetch_add(counts.zero_blocks, kRelaxed);
  kept_blocks_.fetch_add(counts.kept_blocks, kRelaxed);
  shared_blocks_.fetch_add(counts.shared_blocks, kRelaxed);
  stored_blocks_.fetch_add(counts.stored_blocks, kRelaxed);
  node_bytes_.fetch_add(counts.node_bytes, kRelaxed);
  written_pack_bytes_.fetch_add(pack_bytes, kRelaxed);
}

void ActivityCounters::AddTo(StoreActivity& activity) const {
  activity.seals = seals_;
  activity.imports = imports_;
  activity.sealed.read_blocks = read_blocks_;
  activity.sealed.zero_blocks = zero_blocks_;
  activity.sealed.kept_blocks = kept_blocks_;
  activity.sealed.shared_blocks = shared_blocks_;
  activity.sealed.stored_blocks = stored_blocks_;
  activity.sealed.node_bytes = node_bytes_;
  activity.seal_rests = seal_rests_;
  activity.written_pack_bytes = written_pack_bytes_;
  activity.collections = collections_;
  activity.failed_collections = failed_collections_;
  activity.freed_bytes = freed_bytes_;
  activity.waiting_bytes = waiting_bytes_;
  activity.last_collection = std::chrono::nanoseconds(last_collection_ns_.load());
}

// Takes only mutexes that are held for moments: whoever watches the store is answered while it hangs.
StoreActivity Store::Activity() {
  StoreActivity activity;
  activity.open_vdis = open_vdis();
  const FrameCache::Counters frames = shared_->environment.frames.counters();
  activity.frames = {frames.hits, frames.misses, frames.evicted, frames.bytes};
  const NodeCacheCounters nodes = shared_->environment.nodes.counters();
  activity.nodes = {nodes.hits, nodes.misses, nodes.evictions, nodes.bytes};
  activity.unsealed_layers = shared_->sealer->CountUnsealed();
  shared_->environment.activity.AddTo(activity);
  activity.reclaimable_bytes_at_most = shared_->environment.removals.Now().bytes_at_most;
  const PackStore::DamageCounters damage = shared_->environment.packs.damage_counters();
  activity.healed_blocks = damage.healed_blocks;
  activity.damaged_blocks = damage.lost_blocks;
  return activity;
}

}  // namespace quoin

#include "blockstore/packs/frame_cache.h"

namespace quoin {

FrameCache::FrameCache(uint64_t budget_bytes) : shard_budget_bytes_(budget_bytes / kShards) {}

FramePointer FrameCache::FindIn(Shard& shard, const FrameKey& key) {
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end()) return nullptr;
  found->second.used = true;
  ++shard.counters.hits;
  return found->second.frame;
}

FramePointer FrameCache::Find(const FrameKey& key) {
  Shard& shard = ShardOf(key);
  const MutexLock lock(shard.mutex);
  return FindIn(shard, key);
}

FrameCache::Claim FrameCache::ClaimFrame(const FrameKey& key) {
  Shard& shard = ShardOf(key);
  const MutexLock lock(shard.mutex);
  Claim claim;
  claim.frame = FindIn(shard, key);
  if (claim.frame != nullptr) return claim;
  ++shard.counters.misses;
  std::shared_ptr<Loading>& loading = shard.loading[key];
  claim.mine = loading == nullptr;
  if (claim.mine) loading = std::make_shared<Loading>();
  claim.loading = loading;
  return claim;
}

Result<FramePointer> FrameCache::WaitFor(const FrameKey& key, Loading& loading) {
  Shard& shard = ShardOf(key);
  const MutexLock lock(shard.mutex);
  while (!loading.done) shard.loaded.Wait(shard.mutex);
  return loading.result;
}

void FrameCache::Complete(const FrameKey& key, Loading& loading,
                          const Result<FramePointer>& result) {
  Shard& shard = ShardOf(key);
  std::vector<FramePointer> dropped;  // freed once the mutex is let go
  {
    const MutexLock lock(shard.mutex);
    loading.result = result;
    loading.done = true;
    shard.loading.erase(key);
    shard.loaded.NotifyAll();
    if (!result || !loading.keep || (*result)->damaged != 0) return;
    const uint64_t cost = (*result)->size_bytes + kOverheadBytes;
    if (cost > shard_budget_bytes_) return;
    shard.turns.push_front(key);
    shard.entries.emplace(key, Entry{*result, false, shard.turns.begin()});
    shard.counters.bytes += cost;
    while (shard.counters.bytes > shard_budget_bytes_) EvictOne(shard, dropped);
  }
}

void FrameCache::EvictOne(Shard& shard, std::vector<FramePointer>& dropped) {
  auto entry = shard.entries.find(shard.turns.back());
  while (entry->second.used) {
    entry->second.used = false;
    shard.turns.splice(shard.turns.begin(), shard.turns, entry->second.turn);
    entry = shard.entries.find(shard.turns.back());
  }
  shard.counters.bytes -= entry->second.frame->size_bytes + kOverheadBytes;
  ++shard.counters.evicted;
  dropped.push_back(std::move(entry->second.frame));
  shard.turns.pop_back();
  shard.entries.erase(entry);
}

void FrameCache::Forget(const Id& pack) {
  for (Shard& shard : shards_) {
    std::vector<FramePointer> dropped;
    const MutexLock lock(shard.mutex);
    for (const auto& [key, loading] : shard.loading) {
      if (key.pack == pack) loading->keep = false;
    }
    for (auto it = shard.entries.begin(); it != shard.entries.end();) {
      if (it->first.pack != pack) {
        ++it;
        continue;
      }
      shard.counters.bytes -= it->second.frame->size_bytes + kOverheadBytes;
      shard.turns.erase(it->second.turn);
      dropped.push_back(std::move(it->second.frame));
      it = shard.entries.erase(it);
    }
  }
}

FrameCache::Counters FrameCache::counters() const {
  Counters sum;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    sum.hits += shard.counters.hits;
    sum.misses += shard.counters.misses;
    sum.evicted += shard.counters.evicted;
    sum.bytes += shard.counters.bytes;
  }
  return sum;
}

}  // namespace quoin

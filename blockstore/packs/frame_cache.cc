#include "blockstore/packs/frame_cache.h"

namespace quoin {

FrameCache::FrameCache(uint64_t budget_bytes) : shard_budget_bytes_(budget_bytes / kShards) {}

FramePointer FrameCache::FindIn(Shard& shard, const FrameKey& key) {
  const auto found = shard.index.find(key);
  if (found == shard.index.end()) return nullptr;
  if (found->second != shard.entries.begin()) {
    shard.entries.splice(shard.entries.begin(), shard.entries, found->second);
  }
  ++shard.counters.hits;
  return found->second->frame;
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
    shard.entries.push_front({key, *result});
    shard.index.emplace(key, shard.entries.begin());
    shard.counters.bytes += cost;
    while (shard.counters.bytes > shard_budget_bytes_) {
      Drop(shard, std::prev(shard.entries.end()), dropped);
      ++shard.counters.evicted;
    }
  }
}

void FrameCache::Drop(Shard& shard, std::list<Entry>::iterator entry,
                      std::vector<FramePointer>& dropped) {
  shard.counters.bytes -= entry->frame->size_bytes + kOverheadBytes;
  shard.index.erase(entry->key);
  dropped.push_back(std::move(entry->frame));
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
      const auto entry = it++;
      if (entry->key.pack == pack) Drop(shard, entry, dropped);
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

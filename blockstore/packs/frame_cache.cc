#include "blockstore/packs/frame_cache.h"

#include <bit>

namespace quoin {

FrameCache::FrameCache(uint64_t budget_bytes) : shard_budget_bytes_(budget_bytes / kShards) {}

FramePointer FrameCache::Find(const FrameKey& key, SlotMask wanted) {
  Shard& shard = ShardOf(key);
  const MutexLock lock(shard.mutex);
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end() || !found->second.frame->Holds(wanted)) return nullptr;
  ++shard.counters.hits;
  return found->second.frame;
}

FrameCache::Claim FrameCache::ClaimFrame(const FrameKey& key, SlotMask wanted) {
  Shard& shard = ShardOf(key);
  const MutexLock lock(shard.mutex);
  Claim claim;
  const auto found = shard.entries.find(key);
  if (found != shard.entries.end() && found->second.frame->Holds(wanted)) {
    found->second.used |= wanted;
    ++shard.counters.hits;
    claim.frame = found->second.frame;
    return claim;
  }
  ++shard.counters.misses;
  std::shared_ptr<Loading>& loading = shard.loading[key];
  claim.mine = loading == nullptr;
  if (claim.mine) loading = std::make_shared<Loading>();
  loading->wanted |= wanted;
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
  Dropped dropped;
  {
    const MutexLock lock(shard.mutex);
    loading.result = result;
    loading.done = true;
    shard.loading.erase(key);
    shard.loaded.NotifyAll();
    if (!result || !loading.keep || (*result)->damaged != 0) return;
    if (CostOf(**result) > shard_budget_bytes_) return;
    Insert(shard, key, *result, loading.wanted, dropped);
    MakeRoom(shard, dropped);
  }
}

void FrameCache::Insert(Shard& shard, const FrameKey& key, const FramePointer& frame,
                        SlotMask wanted, Dropped& dropped) {
  Entry& entry = shard.entries[key];
  if (entry.frame != nullptr) {
    // It was trimmed to what was asked for, and that counts as much as what is asked for now.
    wanted |= entry.frame->slots;
    TakeOut(shard, entry, dropped);
  }
  shard.fresh.push_front(key);
  entry = {frame, wanted, 0, true, shard.fresh.begin()};
  shard.counters.bytes += CostOf(*frame);
  shard.fresh_bytes += CostOf(*frame);
}

void FrameCache::MakeRoom(Shard& shard, Dropped& dropped) {
  while (shard.counters.bytes > shard_budget_bytes_) {
    const bool is_share_spent =
        shard.fresh.size() > 1 && shard.fresh_bytes > shard_budget_bytes_ / kFreshShare;
    if (is_share_spent || shard.kept.empty()) {
      KeepOldestFresh(shard, dropped);
    } else {
      SpareOrEvict(shard, dropped);
    }
  }
}

void FrameCache::KeepOldestFresh(Shard& shard, Dropped& dropped) {
  Entry& entry = shard.entries.find(shard.fresh.back())->second;
  shard.fresh_bytes -= CostOf(*entry.frame);
  shard.kept.splice(shard.kept.begin(), shard.fresh, entry.turn);
  entry.is_fresh = false;
  Trim(shard, entry, entry.loaded_for | entry.used, dropped);
}

void FrameCache::SpareOrEvict(Shard& shard, Dropped& dropped) {
  const auto found = shard.entries.find(shard.kept.back());
  Entry& entry = found->second;
  if (entry.used != 0) {
    shard.kept.splice(shard.kept.begin(), shard.kept, entry.turn);
    Trim(shard, entry, std::exchange(entry.used, 0), dropped);
    return;
  }
  TakeOut(shard, entry, dropped);
  shard.entries.erase(found);
  ++shard.counters.evicted;
}

// Of an entry that is not fresh. One that would shrink by less than a quarter stays as it is: a
// copy is not worth that, and what is still there of a frame that is read all over saves loading it
// again.
void FrameCache::Trim(Shard& shard, Entry& entry, SlotMask wanted, Dropped& dropped) {
  if (std::popcount(wanted) * 4 > std::popcount(entry.frame->slots) * 3) return;
  FramePointer trimmed = Frame::Trimmed(*entry.frame, wanted);
  shard.counters.bytes -= CostOf(*entry.frame) - CostOf(*trimmed);
  ++shard.counters.trimmed;
  dropped.push_back(std::exchange(entry.frame, std::move(trimmed)));
}

void FrameCache::TakeOut(Shard& shard, Entry& entry, Dropped& dropped) {
  shard.counters.bytes -= CostOf(*entry.frame);
  if (entry.is_fresh) shard.fresh_bytes -= CostOf(*entry.frame);
  (entry.is_fresh ? shard.fresh : shard.kept).erase(entry.turn);
  dropped.push_back(std::move(entry.frame));
}

void FrameCache::Forget(const Id& pack) {
  for (Shard& shard : shards_) {
    Dropped dropped;
    const MutexLock lock(shard.mutex);
    for (const auto& [key, loading] : shard.loading) {
      if (key.pack == pack) loading->keep = false;
    }
    for (auto it = shard.entries.begin(); it != shard.entries.end();) {
      if (it->first.pack != pack) {
        ++it;
        continue;
      }
      TakeOut(shard, it->second, dropped);
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
    sum.trimmed += shard.counters.trimmed;
    sum.bytes += shard.counters.bytes;
  }
  return sum;
}

}  // namespace quoin

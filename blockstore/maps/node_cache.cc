#include "blockstore/maps/node_cache.h"

#include <utility>

namespace quoin {
namespace {

// What an entry costs beside the node: a list's and a table's node, and the pointers to them.
constexpr size_t kEntryBytes = 160;

}  // namespace

NodeCache::Shard& NodeCache::ShardOf(const SlotLocation& at) {
  // The high bits: the table inside a shard spreads by the low ones.
  return shards_[(SlotLocationHash()(at) * 0x9e3779b97f4a7c15ULL) >> 32 & (kShards - 1)];
}

Result<std::shared_ptr<const MapNode>> NodeCache::Get(RecordReader& reader, const MapChild& child,
                                                      unsigned level,
                                                      const BaseVisitor& visit_base) {
  std::shared_ptr<const MapNode> node = Find(child.at);
  if (node == nullptr) {
    QUOIN_ASSIGN(node, ReadMapNode(reader, child, level, Reading(visit_base)));
    node = Insert(ShardOf(child.at), child.at, std::move(node));
  } else if (visit_base) {
    for (const SlotLocation& base : node->chain().bases) QUOIN_TRY(visit_base(base));
  }
  // Another map may have brought it, with another idea of what it is.
  QUOIN_TRY(CheckMapNode(*node, child, level));
  return node;
}

Result<std::shared_ptr<const MapNode>> NodeCache::GetBase(RecordReader& reader,
                                                          const SlotLocation& at) {
  if (std::shared_ptr<const MapNode> node = Find(at)) return node;
  return ReadBaseNode(reader, at, Reading({}));
}

NodeReading NodeCache::Reading(const BaseVisitor& visit_base) {
  return {.visit_base = visit_base,
          .find_node = [this](const SlotLocation& at) { return Find(at); }};
}

std::shared_ptr<const MapNode> NodeCache::Find(const SlotLocation& at) {
  Shard& shard = ShardOf(at);
  MutexLock lock(shard.mutex);
  const auto known = shard.by_location.find(at);
  if (known == shard.by_location.end()) {
    ++shard.misses;
    return nullptr;
  }
  known->second->node->MarkUsed();  // not at a miss: what is read once, by a walk, goes first
  ++shard.hits;
  return known->second->node;
}

std::shared_ptr<const MapNode> NodeCache::Insert(Shard& shard, const SlotLocation& at,
                                                 std::shared_ptr<const MapNode> node) {
  MutexLock lock(shard.mutex);
  const auto known = shard.by_location.find(at);
  if (known != shard.by_location.end()) return known->second->node;
  const size_t bytes = node->memory_bytes() + kEntryBytes;
  if (bytes > shard_budget_bytes_) return node;
  shard.entries.push_front({at, node, bytes});
  shard.by_location.emplace(at, shard.entries.begin());
  shard.bytes += bytes;
  Evict(shard);
  return node;
}

void NodeCache::Evict(Shard& shard) {
  // Other threads go on marking nodes: each node gets its second chance once, then one goes anyway.
  size_t chances = shard.entries.size();
  while (shard.bytes > shard_budget_bytes_) {
    const auto oldest = std::prev(shard.entries.end());
    if (chances > 0 && oldest->node->TakeUsedMark()) {
      --chances;
      shard.entries.splice(shard.entries.begin(), shard.entries, oldest);
      continue;
    }
    shard.bytes -= oldest->bytes;
    ++shard.evictions;
    shard.by_location.erase(oldest->at);
    shard.entries.erase(oldest);
  }
}

NodeCacheCounters NodeCache::counters() {
  NodeCacheCounters counters;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    counters.hits += shard.hits;
    counters.misses += shard.misses;
    counters.evictions += shard.evictions;
    counters.nodes += shard.entries.size();
    counters.bytes += shard.bytes;
  }
  return counters;
}

}  // namespace quoin

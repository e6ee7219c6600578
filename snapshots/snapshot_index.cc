#include "snapshots/snapshot_index.h"

#include <algorithm>

namespace quoin {
namespace {

const SnapshotRecord* AtOrdinal(const std::vector<SnapshotRecord>& snapshots, uint64_t ordinal) {
  const auto at = std::lower_bound(
      snapshots.begin(), snapshots.end(), ordinal,
      [](const SnapshotRecord& snapshot, uint64_t wanted) { return snapshot.ordinal < wanted; });
  return at == snapshots.end() || at->ordinal != ordinal ? nullptr : &*at;
}

}  // namespace

template <typename Key, typename Ordinals, typename KeyOf>
const SnapshotRecord* SnapshotIndex::Find(const std::vector<SnapshotRecord>& snapshots,
                                          const Key& key, Ordinals& ordinals, KeyOf key_of) {
  if (snapshots.size() >= kMinIndexed) {
    if (const auto guess = ordinals.find(key); guess != ordinals.end()) {
      const SnapshotRecord* const found = AtOrdinal(snapshots, guess->second);
      if (found != nullptr && key_of(*found) == key) return found;
      ordinals.erase(guess);
    }
  }
  ++walks_;
  const auto walked = std::find_if(snapshots.begin(), snapshots.end(),
                                   [&](const auto& snapshot) { return key_of(snapshot) == key; });
  if (walked == snapshots.end()) return nullptr;
  if (snapshots.size() < kMinIndexed) {
    ordinals.clear();
    return &*walked;
  }
  // Made anew when it knows less than half of the list, or when more than half of it is of snapshots
  // that are gone: so a walk that finds something pays for at most a few entries each.
  if (ordinals.size() < snapshots.size() / 2 || ordinals.size() > 2 * snapshots.size()) {
    ordinals.clear();
    ordinals.reserve(snapshots.size());
    for (const SnapshotRecord& snapshot : snapshots) {
      ordinals.try_emplace(key_of(snapshot), snapshot.ordinal);
    }
  } else {
    ordinals[key] = walked->ordinal;
  }
  return &*walked;
}

const SnapshotRecord* SnapshotIndex::FindName(const std::vector<SnapshotRecord>& snapshots,
                                              const std::string& name) {
  return Find(snapshots, name, by_name_,
              [](const SnapshotRecord& snapshot) -> const std::string& { return snapshot.name; });
}

const SnapshotRecord* SnapshotIndex::FindId(const std::vector<SnapshotRecord>& snapshots,
                                            const Id& id) {
  return Find(snapshots, id, by_id_,
              [](const SnapshotRecord& snapshot) -> const Id& { return snapshot.id; });
}

}  // namespace quoin

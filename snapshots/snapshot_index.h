// Finds one of a VDI's snapshots by name or id, without walking through all of them: a folder of ten
// thousand is looked up ten thousand times by one `ls -l`. Not thread-safe; guarded as the list is.
//
// What it remembers are guesses, each checked against the list before it is used, so nobody has to
// keep it up to date: a snapshot that was renamed or removed is not found under its old name, and one
// that the index has not heard of is found by a walk and remembered.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "blockstore/base/id.h"
#include "metadata/vdi_records.h"

namespace quoin {

class SnapshotIndex {
 public:
  // Lists this short are only walked through.
  static constexpr size_t kMinIndexed = 64;

  // `snapshots` by ordinal, as in a VdiState; the answer points into it. Null if there is none. An
  // undecided one (of a pending group) is found like any other.
  const SnapshotRecord* FindName(const std::vector<SnapshotRecord>& snapshots,
                                 const std::string& name);
  const SnapshotRecord* FindId(const std::vector<SnapshotRecord>& snapshots, const Id& id);

  // How often a list was walked through, for tests.
  uint64_t walks() const { return walks_; }

 private:
  template <typename Key, typename Ordinals, typename KeyOf>
  const SnapshotRecord* Find(const std::vector<SnapshotRecord>& snapshots, const Key& key,
                             Ordinals& ordinals, KeyOf key_of);

  // Ordinals, because they stay what they are when others are removed.
  std::unordered_map<std::string, uint64_t> by_name_;
  std::unordered_map<Id, uint64_t, IdHash> by_id_;
  uint64_t walks_ = 0;
};

}  // namespace quoin

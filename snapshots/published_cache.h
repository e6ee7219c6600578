// What VDIs that this process does not own have published, as last read: `ls -l` of ten thousand
// VDIs must not open ten thousand databases each time. An entry is valid while published.db is the
// same file. Thread-safe.
#pragma once

#include <memory>
#include <unordered_map>

#include "blockstore/base/file_system.h"
#include "blockstore/base/monotonic_clock.h"
#include "blockstore/base/mutex.h"
#include "metadata/vdi_records.h"
#include "snapshots/snapshot_index.h"

namespace quoin {

struct PublishedVdi {
  struct Index {
    Mutex mutex{LockRank::kLeaf};
    SnapshotIndex snapshots QUOIN_GUARDED_BY(mutex);
  };

  VdiState state;
  uint64_t head_data_blocks = 0;
  std::shared_ptr<Index> index = std::make_shared<Index>();  // of state.snapshots; never null

  // Null if there is none.
  const SnapshotRecord* FindSnapshot(const std::string& name) const;
  const SnapshotRecord* FindSnapshot(const Id& id) const;
};

class PublishedCache {
 public:
  PublishedCache(FileSystem& file_system, MonotonicClock& clock)
      : file_system_(file_system), clock_(clock) {}

  // kNotFound, kCorrupt, kNewerFormat as ReadPublished.
  Result<std::shared_ptr<const PublishedVdi>> Get(const Id& id, const std::string& vdi_folder);
  void Forget(const Id& id);

 private:
  struct Entry {
    FileIdentity identity;
    int64_t ctime_ns = 0;
    std::shared_ptr<const PublishedVdi> vdi;
  };
  static constexpr size_t kMaxEntries = 20'000;

  Result<PublishedVdi> ReadState(const Id& id, const std::string& vdi_folder) const;
  Status ReadHead(PublishedVdi& vdi, const std::string& vdi_folder) const;

  FileSystem& file_system_;
  MonotonicClock& clock_;
  Mutex mutex_{LockRank::kLeaf};
  std::unordered_map<Id, Entry, IdHash> entries_ QUOIN_GUARDED_BY(mutex_);
};

}  // namespace quoin

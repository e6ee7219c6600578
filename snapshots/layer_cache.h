// Frozen layers that are open in this process, by file identity: VDIs and snapshots that hard-link
// the same layer share one object, one set of owned blocks and one descriptor. Holds no layer alive.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "blockstore/base/mutex.h"
#include "blockstore/layers/layer.h"

namespace quoin {

class LayerCache {
 public:
  explicit LayerCache(FileSystem& file_system) : file_system_(file_system) {}

  // Opens a frozen layer whose owned blocks are in its `.owned` file.
  Result<std::shared_ptr<const Layer>> OpenFrozen(const Layer::Location& location,
                                                  uint64_t size_bytes);

  using LoadOwnership = std::function<Result<std::unique_ptr<OwnershipSet>>()>;
  // The same where the set is elsewhere; `load` is called if the layer is not open yet.
  Result<std::shared_ptr<const Layer>> OpenFrozen(const Layer::Location& location,
                                                  uint64_t size_bytes, const LoadOwnership& load);

  // Makes a layer known that was just frozen here.
  Status Adopt(const std::shared_ptr<const Layer>& layer);

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // device, inode
  static Key KeyOf(const FileIdentity& identity) { return {identity.device, identity.inode}; }
  void SweepExpired() QUOIN_REQUIRES(mutex_);

  FileSystem& file_system_;
  Mutex mutex_{LockRank::kLayerCache};
  std::map<Key, std::weak_ptr<const Layer>> layers_ QUOIN_GUARDED_BY(mutex_);
  size_t sweep_at_entries_ QUOIN_GUARDED_BY(mutex_) = 64;
};

// Reads a set of owned blocks from a file.
Result<std::unique_ptr<OwnershipSet>> LoadOwnershipFile(FileSystem& file_system,
                                                        const std::string& path);

}  // namespace quoin

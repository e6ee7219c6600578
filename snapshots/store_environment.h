// What the VDIs of one Store share. Constant after the Store is open, except where the parts are
// thread-safe themselves. Owned by the Store; outlives every Vdi.
#pragma once

#include <atomic>
#include <string>
#include <unordered_map>

#include "blockstore/base/file_system.h"
#include "metadata/host.h"
#include "metadata/names.h"
#include "metadata/store_layout.h"
#include "snapshots/frozen_finisher.h"
#include "snapshots/layer_cache.h"
#include "snapshots/store.h"

namespace quoin {

struct StoreEnvironment {
  StoreEnvironment(FileSystem& fs, const std::string& root, HostIdentity identity,
                   StoreOptions store_options)
      : file_system(fs),
        layout(root, identity.session.ToString()),
        self(std::move(identity)),
        options(store_options),
        names(fs, layout),
        layer_cache(fs) {}

  FileSystem& file_system;
  const StoreLayout layout;
  const HostIdentity self;
  const StoreOptions options;
  Names names;
  LayerCache layer_cache;
  FrozenFinisher finisher;
  std::atomic<StoreObserver*> observer{nullptr};
  mutable Mutex hints_mutex{LockRank::kLeaf};
  std::unordered_map<Id, std::string, IdHash> hints QUOIN_GUARDED_BY(hints_mutex);

  // Names as last seen, for messages only; "" if never seen.
  std::string NameHint(const Id& id) const {
    MutexLock lock(hints_mutex);
    const auto found = hints.find(id);
    return found == hints.end() ? "" : found->second;
  }
  void SetNameHint(const Id& id, const std::string& name) {
    MutexLock lock(hints_mutex);
    hints[id] = name;
  }

  template <typename Call>
  void Tell(Call call) {
    if (StoreObserver* const told = observer.load(std::memory_order_acquire)) call(*told);
  }
};

int64_t NowNanoseconds();  // Unix time

// Removes a folder and all in it, as far as it is there.
Status RemoveTree(FileSystem& file_system, const std::string& path);

}  // namespace quoin

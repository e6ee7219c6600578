// What the VDIs of one Store share. Constant after the Store is open, except where the parts are
// thread-safe themselves. Owned by the Store; outlives every Vdi.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <unordered_map>

#include "blockstore/base/fenced_file_system.h"
#include "blockstore/maps/node_cache.h"
#include "blockstore/packs/pack_store.h"
#include "metadata/collection_lock.h"
#include "metadata/digest_index.h"
#include "metadata/host.h"
#include "metadata/lease.h"
#include "metadata/names.h"
#include "metadata/session_watch.h"
#include "metadata/store_layout.h"
#include "snapshots/copy_finder.h"
#include "snapshots/frozen_finisher.h"
#include "snapshots/layer_cache.h"
#include "snapshots/removal_estimate.h"
#include "snapshots/store.h"
#include "snapshots/store_activity.h"

namespace quoin {

class Sealer;

struct StoreEnvironment {
  // `after_lapse`: see Lease.
  StoreEnvironment(FileSystem& fs, const std::string& root, HostIdentity identity,
                   StoreOptions store_options, std::function<void()> after_lapse)
      : storage(fs),
        layout(root, identity.session.ToString()),
        self(std::move(identity)),
        options(store_options),
        lease(fs, layout, self, store_options.lease, std::move(after_lapse), *store_options.clock),
        fenced(fs, lease),
        sessions(fs, layout, *store_options.clock),
        names(file_system, layout),
        layer_cache(file_system),
        frames(store_options.frame_cache_bytes),
        nodes(store_options.node_cache_bytes),
        packs(file_system, layout.Packs(), frames),
        copies(packs, [this] { return Index(); }),
        finisher(store_options.finishes_in_background) {
    packs.SetHealer([this](const Digest& digest, const SlotLocation& damaged) {
      return copies.Find(digest, damaged);
    });
  }

  FileSystem& storage;  // as it is, for what has to do with ownership itself
  const StoreLayout layout;
  const HostIdentity self;
  const StoreOptions options;
  Lease lease;  // begun before anything is owned
  FencedFileSystem fenced;
  FileSystem& file_system = fenced;  // for everything else: changes nothing after a lapse
  SessionWatch sessions;
  Names names;
  LayerCache layer_cache;
  FrameCache frames;
  NodeCache nodes;
  PackStore packs;
  CopyFinder copies;
  // Set once, while the store is opened.
  Compression compression = Compression::kLz4;
  Id store_id;
  std::unique_ptr<CollectionLock> collection;
  Sealer* sealer = nullptr;
  FrozenFinisher finisher;
  std::atomic<StoreObserver*> observer{nullptr};
  Mutex index_mutex{LockRank::kStoreIndex};
  std::unique_ptr<DigestIndex> index QUOIN_GUARDED_BY(index_mutex);
  bool index_tried QUOIN_GUARDED_BY(index_mutex) = false;
  Mutex dead_mutex{LockRank::kKnownDead};
  std::shared_ptr<const DeadList> known_dead QUOIN_GUARDED_BY(dead_mutex);
  uint64_t known_generation QUOIN_GUARDED_BY(dead_mutex) = 0;  // if known_dead is not null
  // Snapshots and VDIs that this process removed: what they held may be garbage now.
  RemovalEstimate removals;
  ActivityCounters activity;
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

  // Digests of what the packs hold, on this host's own disk; opened when it is first needed. Null if
  // this store has none.
  DigestIndex* Index() QUOIN_EXCLUDES(index_mutex);
  // Asks a VDI's owner to hand it over; waits for its answer. Set once, while the store is opened.
  std::function<void(const Id& vdi, const LockRecord& owner)> ask_to_hand_over;
  // Teaches it the packs that other hosts have published, and those of before this process.
  void ReconcileIndex() QUOIN_EXCLUDES(index_mutex);
  // All that collectors have declared dead up to this generation, as far as lists of it were kept
  // while this store is open: whoever is about to refer to slots that were there before, with the
  // collection lock shared, must find none of them in it. The index forgets what is new in it. On an
  // error nothing that was there before may be shared.
  Result<std::shared_ptr<const DeadList>> DeadUntil(uint64_t generation)
      QUOIN_EXCLUDES(dead_mutex);

  template <typename Call>
  void Tell(Call call) {
    if (StoreObserver* const told = observer.load(std::memory_order_acquire)) call(*told);
  }
};

int64_t NowNanoseconds();  // Unix time

// Removes a folder and all in it, as far as it is there.
Status RemoveTree(FileSystem& file_system, const std::string& path);

}  // namespace quoin

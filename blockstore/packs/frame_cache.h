// Decompressed blocks, by pack and frame, shared by all who read packs. What is in it never
// changes, so nothing is ever invalidated: a pack is forgotten to give its memory back.
//
// A frame is loaded as a whole, but only some of its blocks may be wanted: under a long history a
// frame holds what changed together once, and most of that has changed again since. So a frame
// comes in whole, because what lies beside a block is often read next; when its turn comes it is
// trimmed to the blocks that were asked for meanwhile, and those stay for as long as they are asked
// for.
//
// Thread-safe. Sixteen shards by hash, each with its mutex, its part of the byte budget, and two
// queues:
//   fresh  frames as they were loaded, in that order. Once the budget is spent, at most an eighth
//   of it
//          is theirs; the oldest is trimmed and goes on to
//   kept   in the order of eviction. Who is first goes, but slots that were asked for since it was
//   last
//          looked at are spared once more (an approximation of least recently used, slot by slot,
//          in which a hit moves nothing).
// Concurrent misses of one frame load it once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "blockstore/base/error.h"
#include "blockstore/base/id.h"
#include "blockstore/base/mutex.h"
#include "blockstore/packs/frame.h"

namespace quoin {

// A frame's first slot names it for good: compaction renumbers frames, never slots.
struct FrameKey {
  Id pack;
  uint32_t first_slot = 0;
  bool operator==(const FrameKey&) const = default;
};

class FrameCache {
 public:
  struct Counters {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t evicted = 0;  // frames of which nothing was left
    uint64_t trimmed = 0;  // frames of which a part was let go
    uint64_t bytes = 0;    // held now, with what each frame costs beside its bytes
  };

  // Holds at most `budget_bytes`, which may be 0; the frames that readers hold on to and those
  // being loaded come on top.
  explicit FrameCache(uint64_t budget_bytes);
  FrameCache(const FrameCache&) = delete;
  FrameCache& operator=(const FrameCache&) = delete;

  // The frame if these slots of it are there; null if not. Counts a hit or nothing, and does not
  // keep the frame longer: it is for those who pass by once.
  FramePointer Find(const FrameKey& key, SlotMask wanted);

  // The frame with these slots at least; `load()` makes it, whole (Result<FramePointer>), if one of
  // them is not there and no other thread is making it. A failed load fails all that wait for it,
  // and the next Get tries again. Frames with damaged slots are not kept, so that a repair shows at
  // once.
  template <typename Load>
  Result<FramePointer> Get(const FrameKey& key, SlotMask wanted, Load load) {
    Claim claim = ClaimFrame(key, wanted);
    if (claim.frame != nullptr) return std::move(claim.frame);
    if (!claim.mine) return WaitFor(key, *claim.loading);
    Completion completion{*this, key, *claim.loading};
    completion.result = load();
    return completion.result;
  }

  // Drops the pack's frames; those that are being loaded are not kept either.
  void Forget(const Id& pack);

  Counters counters() const;

 private:
  struct Loading {
    SlotMask wanted = 0;  // by whoever waits for it
    bool done = false;
    bool keep = true;
    Result<FramePointer> result = FramePointer();
  };
  struct Entry {
    FramePointer frame;
    SlotMask loaded_for = 0;  // what was asked for when it was loaded
    SlotMask used = 0;        // asked for since then, or since it was last looked at for eviction
    bool is_fresh = true;
    std::list<FrameKey>::iterator turn;  // in its queue
  };
  struct KeyHash {
    size_t operator()(const FrameKey& key) const {
      const uint64_t mixed = (key.pack.Prefix() + key.first_slot) * 0x9e3779b97f4a7c15ULL;
      return mixed ^ (mixed >> 32);
    }
  };
  struct alignas(64) Shard {
    mutable Mutex mutex{LockRank::kFrameCache};
    Condition loaded;
    std::unordered_map<FrameKey, Entry, KeyHash> entries QUOIN_GUARDED_BY(mutex);
    std::list<FrameKey> fresh QUOIN_GUARDED_BY(mutex);  // who is looked at next is last
    std::list<FrameKey> kept QUOIN_GUARDED_BY(mutex);   // likewise
    uint64_t fresh_bytes QUOIN_GUARDED_BY(mutex) = 0;   // of counters.bytes
    std::unordered_map<FrameKey, std::shared_ptr<Loading>, KeyHash> loading QUOIN_GUARDED_BY(mutex);
    Counters counters QUOIN_GUARDED_BY(mutex);
  };
  struct Claim {
    FramePointer frame;                // it is there
    std::shared_ptr<Loading> loading;  // else: being loaded,
    bool mine = false;                 // by the caller
  };
  // Ends a load, also one that is left by an exception.
  struct Completion {
    FrameCache& cache;
    const FrameKey& key;
    Loading& loading;
    Result<FramePointer> result = Fail(ErrorCode::kIo, "loading a frame was given up");
    ~Completion() { cache.Complete(key, loading, result); }
  };
  using Dropped = std::vector<FramePointer>;  // freed once the mutex is let go

  static constexpr size_t kShards = 16;
  static constexpr uint64_t kFreshShare = 8;  // one part in so many
  // List and table nodes, allocation headers, the Frame itself: about this much a frame.
  static constexpr uint64_t kOverheadBytes = 256;

  static uint64_t CostOf(const Frame& frame) { return frame.size_bytes + kOverheadBytes; }
  Shard& ShardOf(const FrameKey& key) { return shards_[(KeyHash()(key) >> 8) % kShards]; }
  Claim ClaimFrame(const FrameKey& key, SlotMask wanted);
  Result<FramePointer> WaitFor(const FrameKey& key, Loading& loading);
  void Complete(const FrameKey& key, Loading& loading, const Result<FramePointer>& result);
  void Insert(Shard& shard, const FrameKey& key, const FramePointer& frame, SlotMask wanted,
              Dropped& dropped) QUOIN_REQUIRES(shard.mutex);
  void MakeRoom(Shard& shard, Dropped& dropped) QUOIN_REQUIRES(shard.mutex);
  static void KeepOldestFresh(Shard& shard, Dropped& dropped) QUOIN_REQUIRES(shard.mutex);
  static void SpareOrEvict(Shard& shard, Dropped& dropped) QUOIN_REQUIRES(shard.mutex);
  static void Trim(Shard& shard, Entry& entry, SlotMask wanted, Dropped& dropped)
      QUOIN_REQUIRES(shard.mutex);
  static void TakeOut(Shard& shard, Entry& entry, Dropped& dropped) QUOIN_REQUIRES(shard.mutex);

  const uint64_t shard_budget_bytes_;
  std::array<Shard, kShards> shards_;
};

}  // namespace quoin

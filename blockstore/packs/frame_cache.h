// Decompressed frames, by pack and first slot, shared by all who read packs. What is in it never
// changes, so nothing is ever invalidated: a pack is forgotten to give its memory back.
//
// Thread-safe. Sixteen shards by hash, each with its mutex, its part of the byte budget and its
// own order: the frame that came first goes first, but one that was used since is spared once more (an
// approximation of least recently used in which a hit moves nothing). Concurrent misses of one frame
// load it once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "blockstore/base/error.h"
#include "blockstore/base/id.h"
#include "blockstore/base/mutex.h"

namespace quoin {

struct Frame {
  explicit Frame(size_t size)
      : bytes(std::make_unique_for_overwrite<std::byte[]>(size)), size_bytes(size) {}

  std::unique_ptr<std::byte[]> bytes;
  size_t size_bytes;
  uint32_t damaged = 0;  // slots whose bytes mean nothing (Pack::SlotMask)
};
using FramePointer = std::shared_ptr<const Frame>;

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
    uint64_t evicted = 0;
    uint64_t bytes = 0;  // held now, with what each frame costs beside its bytes
  };

  // Holds at most `budget_bytes`, which may be 0; the frames that readers hold on to and those
  // being loaded come on top.
  explicit FrameCache(uint64_t budget_bytes);
  FrameCache(const FrameCache&) = delete;
  FrameCache& operator=(const FrameCache&) = delete;

  // The frame if it is there; null if not. Counts a hit or nothing.
  FramePointer Find(const FrameKey& key);

  // The frame; `load()` makes it (Result<FramePointer>) if it is not there and no other thread is
  // making it. A failed load fails all that wait for it, and the next Get tries again. Frames with
  // damaged slots are not kept, so that a repair shows at once.
  template <typename Load>
  Result<FramePointer> Get(const FrameKey& key, Load load) {
    Claim claim = ClaimFrame(key);
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
    bool done = false;
    bool keep = true;
    Result<FramePointer> result = FramePointer();
  };
  struct Entry {
    FramePointer frame;
    bool used = false;                  // since it was looked at for eviction
    std::list<FrameKey>::iterator turn;  // in the order of eviction
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
    std::list<FrameKey> turns QUOIN_GUARDED_BY(mutex);  // who is looked at next is last
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

  static constexpr size_t kShards = 16;
  // List and table nodes, allocation headers, the Frame itself: about this much a frame.
  static constexpr uint64_t kOverheadBytes = 256;

  Shard& ShardOf(const FrameKey& key) { return shards_[(KeyHash()(key) >> 8) % kShards]; }
  Claim ClaimFrame(const FrameKey& key);
  Result<FramePointer> WaitFor(const FrameKey& key, Loading& loading);
  void Complete(const FrameKey& key, Loading& loading, const Result<FramePointer>& result);
  FramePointer FindIn(Shard& shard, const FrameKey& key) QUOIN_REQUIRES(shard.mutex);
  void EvictOne(Shard& shard, std::vector<FramePointer>& dropped) QUOIN_REQUIRES(shard.mutex);

  const uint64_t shard_budget_bytes_;
  std::array<Shard, kShards> shards_;
};

}  // namespace quoin

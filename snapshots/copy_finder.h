// Finds other slots that hold what a damaged one held: how a block is read, and a pack mended, although
// what it was read from is damaged.
//
// Looks in the index for the block's digest; that is sampled, so also for those of its neighbours in
// the pack, beside whose copies its own may lie; and at last goes through the digests of packs, which
// are a hundredth of what is stored. What was found, or was not, is remembered for a while. Thread-safe;
// one search at a time.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "blockstore/base/mutex.h"
#include "blockstore/packs/pack_store.h"
#include "metadata/digest_index.h"

namespace quoin {

class CopyFinder {
 public:
  // Packs whose digests a read that meets damage goes through, at most: of 64 GiB.
  static constexpr size_t kMaxSearchedPacks = 256;

  // `index` may answer null.
  CopyFinder(PackStore& packs, std::function<DigestIndex*()> index)
      : packs_(packs), index_(std::move(index)) {}

  // Slots that hold a block of this digest as far as their packs say; never `damaged`.
  std::vector<SlotLocation> Find(const Digest& digest, const SlotLocation& damaged)
      QUOIN_EXCLUDES(mutex_);

  // Goes through the digests of all packs once for all of these, so that Find knows the answers.
  void SearchAll(std::span<const std::pair<Digest, SlotLocation>> damaged) QUOIN_EXCLUDES(mutex_);

 private:
  using Clock = std::chrono::steady_clock;
  struct Answer {
    std::vector<SlotLocation> copies;
    Clock::time_point expires;
  };
  using Answers = std::unordered_map<SlotLocation, Answer, SlotLocationHash>;
  // Damaged slots by the digest of what they held.
  using Wanted = std::multimap<Digest, SlotLocation>;

  std::vector<SlotLocation> FindThroughIndex(const Digest& digest, const SlotLocation& damaged);
  bool Holds(const SlotLocation& at, const Digest& digest);
  void SearchPacks(const Wanted& wanted, size_t max_packs) QUOIN_REQUIRES(mutex_);
  void SearchPack(const Id& id, const Wanted& wanted) QUOIN_REQUIRES(mutex_);

  PackStore& packs_;
  const std::function<DigestIndex*()> index_;

  Mutex mutex_{LockRank::kCopySearch};
  Answers answers_ QUOIN_GUARDED_BY(mutex_);
};

}  // namespace quoin

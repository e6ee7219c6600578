// Finds blocks that are stored already. A sampled block is looked up, in what this job has stored and
// then in the index; a hit is checked against the digests of its pack and extended both ways, and
// counts only if the run is long enough: short runs would cut images into extents that are slow to
// read and save little. One thread.
//
// The run is one of the source's blocks with data, whatever holes lie between them: a layer that is
// sealed a second time (each clone seals its own link) finds all of itself, however scattered.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "blockstore/packs/pack_store.h"
#include "metadata/dead_list.h"
#include "metadata/digest_index.h"

namespace quoin {

// Blocks in a row that must be stored already for them to be shared. On six images of Debian 12 runs of
// 8 keep 61 of the 65 % that single blocks would save, and make extents three times as long.
inline constexpr size_t kMinSharedBlocks = 8;
// Blocks that a job remembers of what it has stored itself: 128 MiB of digests for 16 GiB of data.
inline constexpr size_t kMaxRecentBlocks = size_t{4} << 20;

class BlockMatcher {
 public:
  // `index` may be null: then only what this job stores itself is found again. Nothing that is in
  // `dead` (null: nothing) is found, though it may lie in its pack still.
  BlockMatcher(PackStore& packs, DigestIndex* index, std::shared_ptr<const DeadList> dead = nullptr)
      : packs_(packs), index_(index), dead_(std::move(dead)) {}

  // Blocks that the job has stored from `first` on.
  void Remember(const SlotLocation& first, std::span<const Digest> digests);
  // True once some of what was remembered has been forgotten again for want of room.
  bool has_forgotten() const { return has_forgotten_; }

  struct Match {
    size_t begin = 0;
    size_t end = 0;
    SlotLocation slot;  // of sequence[begin]
  };
  // The longest run of stored blocks that holds sequence[at] and begins at `from` or later; nothing
  // if there is none that counts.
  std::optional<Match> Find(std::span<const Digest> sequence, size_t from, size_t at);

  // Null if it is not known.
  Digest DigestAt(const SlotLocation& at);

  // Slots of packs that were there before this job and to which matches have led.
  const std::map<Id, std::vector<SlotRun>>& found() const { return found_; }
  void Use(const Match& match);

 private:
  struct OpenDigests {
    Id id;
    std::shared_ptr<const Pack> pack;  // null: the pack cannot be read
    std::shared_ptr<const SlotDigests> digests;
  };
  // Held at a time: 64 MiB, those of 8 GiB. A region of a VDI with a long history lies in as many packs
  // as there were seals that changed it; with room for 16 packs, each region read them all anew.
  static constexpr size_t kMaxOpenDigests = size_t{2} << 20;
  static constexpr size_t kMaxOpenPacks = 4096;

  const OpenDigests& DigestsOf(const Id& pack);
  Match Extend(std::span<const Digest> sequence, size_t from, size_t at, const SlotLocation& slot);

  PackStore& packs_;
  DigestIndex* const index_;
  const std::shared_ptr<const DeadList> dead_;
  std::unordered_map<uint64_t, SlotLocation> recent_sampled_;
  std::map<Id, std::vector<Digest>> recent_packs_;  // by slot; null for records
  std::deque<Id> recent_order_;
  size_t recent_blocks_ = 0;
  bool has_forgotten_ = false;
  std::list<OpenDigests> open_;  // the last used first
  std::unordered_map<Id, std::list<OpenDigests>::iterator, IdHash> open_by_id_;
  size_t open_digests_ = 0;
  std::map<Id, std::vector<SlotRun>> found_;
};

// True if a collector has declared any of these slots dead.
bool AnyDead(const std::map<Id, std::vector<SlotRun>>& found, const DeadList& dead);

}  // namespace quoin

// Where blocks with a certain digest may be found in the packs: a cache on this host's own disk, in
// a SQLite file `index.db` of the folder <state dir>/<store id> (host.h). It is a hint. A missing
// or wrong entry costs space, never correctness, so nothing here fails its caller: a file that is
// missing, damaged, of another store or of another version is begun anew, and after an error of
// SQLite the index answers nothing until it is opened again; each is one line in the log.
//
// Sampled: only digests whose value says so (IsSampled) are kept, one in eight. Whoever gets a hit
// loads that pack's own table of digests, checks the hit there (entries are matched by 64 bits) and
// extends the match in both directions.
//
// Bounded: beyond `max_entries` the packs that were added longest ago are dropped whole.
//
// Thread-safe; one thread at a time is in SQLite, so a Lookup may wait for an AddPack (tens of
// milliseconds for a full pack). One process uses the file at a time: another one gets an empty
// index in memory. A crash of the process leaves the last whole change; a power cut may leave a
// file that is begun anew.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "blockstore/base/digest.h"
#include "blockstore/base/error.h"
#include "blockstore/base/id.h"
#include "blockstore/base/mutex.h"
#include "blockstore/packs/slot.h"

namespace quoin {

class DigestIndexFile;

class DigestIndex {
 public:
  static constexpr uint64_t kSampling = 8;
  // Of one digest; a block that lies in more packs than this is found often enough.
  static constexpr size_t kMaxCandidates = 8;

  // What a pack holds: digests[i] is in slots[i].
  struct PackDigests {
    std::vector<Digest> digests;
    std::vector<uint32_t> slots;
  };
  using LoadPack = std::function<Result<PackDigests>(const Id& pack)>;

  struct Progress {
    size_t added = 0;
    size_t dropped = 0;
    bool finished = false;  // nothing is left to add or to drop
  };

  // Makes `folder` if needed. Fails only if not even an index in memory can be had.
  static Result<std::unique_ptr<DigestIndex>> Open(const std::string& folder, const Id& store,
                                                   uint64_t max_entries);
  ~DigestIndex();
  DigestIndex(const DigestIndex&) = delete;
  DigestIndex& operator=(const DigestIndex&) = delete;

  static bool IsSampled(const Digest& digest) { return digest.Prefix() % kSampling == 0; }

  // Places that may hold a block with this digest, at most kMaxCandidates, the packs added longest
  // ago first; none for a digest that is not sampled.
  std::vector<SlotLocation> Lookup(const Digest& digest);

  // In one transaction, replacing what was known of the pack. Spans of one length; digests that are
  // not sampled are passed over.
  void AddPack(const Id& pack, std::span<const Digest> digests, std::span<const uint32_t> slots);
  void RemovePack(const Id& pack);
  // Forgets the pack's slots for which `is_dead` says so. It is called with a mutex held: a leaf.
  void RemoveSlots(const Id& pack, const std::function<bool(uint32_t slot)>& is_dead);

  // The packs of which there are entries, or would be had any of their digests been sampled; those
  // added longest ago first.
  std::vector<Id> Packs();

  // Brings the index nearer to holding exactly the packs of `present`: drops those that are not
  // among them and adds those that are new, in that order of `present`, at most `limit` of them in
  // one call. `load` is called with nothing held; a pack that it cannot load is logged and left out
  // while this object lives. A pack that was dropped for want of room comes back only when there is
  // room.
  Progress Reconcile(const std::vector<Id>& present, const LoadPack& load, size_t limit);

  uint64_t entries();  // of all packs that are held
  // In memory only: the file is another process's, or the disk cannot hold one.
  bool is_private() const { return is_private_; }

 private:
  struct Table;

  explicit DigestIndex(std::unique_ptr<DigestIndexFile> file, uint64_t max_entries);

  // Runs a change or a look-up unless the index was given up; an error of SQLite gives it up.
  template <typename Call>
  void Use(std::string_view act, Call call) QUOIN_REQUIRES(mutex_);
  template <typename Call>
  void Change(std::string_view act, Call call) QUOIN_REQUIRES(mutex_);
  void Remove(int64_t number) QUOIN_REQUIRES(mutex_);
  void DropOldest() QUOIN_REQUIRES(mutex_);
  void DropBeyondLimit() QUOIN_REQUIRES(mutex_);
  bool IsWanted(const Id& pack) QUOIN_REQUIRES(mutex_);

  const bool is_private_;
  const uint64_t max_entries_;

  Mutex mutex_{LockRank::kLeaf};
  std::unique_ptr<DigestIndexFile> file_ QUOIN_GUARDED_BY(mutex_);  // null once given up
  std::unique_ptr<Table> packs_ QUOIN_GUARDED_BY(mutex_);           // the file's rows of packs
  std::unordered_set<Id, IdHash> unreadable_ QUOIN_GUARDED_BY(mutex_);
};

}  // namespace quoin

// What keeps a garbage collector and those who refer to packs (sealers, clones, rollbacks) out of
// each other's way, on whatever hosts they run. All of it lies in the store's folder gc/:
//
//   lock         the lock: shared while references to packs are committed, exclusive while a
//                collector decides what is dead. The file stays empty.
//   turn         held exclusively by the collector that waits for `lock` or has it, so that those
//                who share `lock` one after the other let it in. For fairness only.
//   generation   a number that rises whenever something is declared dead: 16 hexadecimal digits, a
//                space, the XXH3-64 of those digits as 16 more, a line end. Replaced whole, by
//                rename.
//   dead/<n>     what was declared dead when the generation became <n>, and the generation before
//                (dead_list.h); never changed once the generation is <n>.
//
// The generation rises by a random step. A storage that loses a rename which a host has seen
// already goes back to an older generation; the next one is then another one than the host has
// seen, and the host notices that its own does not lead to it.
//
// A sealer remembers a generation with what it knows of packs (the index, references found so far).
// Before it commits references it takes the lock shared; if the generation is another one then, it
// asks DeadSince, or KnownDead. It refers to nothing that is in any list: what is dead may lie in its
// pack for long. So nothing that a collector declared dead is referred to afterwards.
//
// Locks belong to handles: each hold has one of its own, so several threads may share the lock, and
// a hold ends with its object or its process. All of CollectionLock is thread-safe, a hold is not;
// a thread has at most one hold at a time.
//
// A crash: in Open, leaves some of the files, and the next Open makes the rest. In Advance, leaves
// the generation as it was (a dead/<n> beyond it counts for nothing, and goes with the old ones) or
// the new one with its list.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "blockstore/base/file_system.h"
#include "metadata/dead_list.h"
#include "metadata/store_layout.h"

namespace quoin {

// How long a list of what is dead is kept. A sealer that has not looked for longer has to forget
// all that it knows. By the clocks of the storage and of one host: a wrong one costs time only.
inline constexpr std::chrono::hours kDeadListAge{24 * 7};
// Whatever their age: so many lists are kept at most.
inline constexpr uint64_t kMaxDeadLists = 1000;

class CollectionLock {
 public:
  // While it lives, no collector decides: references may be committed if what they refer to was
  // found or looked at again in this generation.
  class SharedHold {
   public:
    uint64_t generation() const { return generation_; }
    // kLostOwnership, or what the storage answers, if it has taken the lock from us: to be asked
    // just before a commit.
    Status Verify();

   private:
    friend class CollectionLock;
    SharedHold(std::unique_ptr<File> file, uint64_t generation)
        : file_(std::move(file)), generation_(generation) {}

    std::unique_ptr<File> file_;
    uint64_t generation_;
  };

  // While it lives, no references are committed anywhere.
  class ExclusiveHold {
   public:
    uint64_t generation() const { return generation_; }

    Status Verify();  // as SharedHold's
    // Declares these dead, durably, and returns the new generation. Only after it may they be
    // removed. kLostOwnership if the storage has taken the lock from us, kTooLarge (dead_list.h).
    // After a failure the generation is the old one or the new one: take a new hold to see.
    Result<uint64_t> Advance(const DeadList& dead);

    // Removes lists that are older than kDeadListAge at `now_ns` (Unix time), or too many, oldest
    // first. Returns how many.
    Result<uint64_t> RemoveOldLists(int64_t now_ns);

   private:
    friend class CollectionLock;
    ExclusiveHold(CollectionLock& owner, std::unique_ptr<File> turn, std::unique_ptr<File> file,
                  uint64_t generation)
        : owner_(&owner), turn_(std::move(turn)), file_(std::move(file)), generation_(generation) {}

    CollectionLock* owner_;
    std::unique_ptr<File> turn_;
    std::unique_ptr<File> file_;
    uint64_t generation_;
  };

  // Makes what is missing in gc/. Both must outlive the CollectionLock, and that its holds.
  static Result<std::unique_ptr<CollectionLock>> Open(FileSystem& file_system,
                                                      const StoreLayout& layout);

  // Polls until the timeout. kBusy if someone holds the lock who excludes us.
  Result<SharedHold> HoldShared(std::chrono::milliseconds timeout);
  Result<ExclusiveHold> HoldExclusive(std::chrono::milliseconds timeout);

  // As it is now; without a hold it may be another one at once. kCorrupt.
  Result<uint64_t> Generation();

  // All that was declared dead after this generation, up to the present one. kNotFound if that is
  // not known any more (lists are removed or too long together, or the generation is none of this
  // store): then forget all. kCorrupt, which means the same. Best asked with a SharedHold, or more
  // may follow at once.
  Result<DeadList> DeadSince(uint64_t generation);

  // All that was declared dead and of which lists are kept; if `declared_until_ns` is given, only
  // what lists say that were made until then, by the storage's clock. kCorrupt, kTooLarge.
  Result<DeadList> KnownDead(int64_t declared_until_ns = INT64_MAX);

 private:
  CollectionLock(FileSystem& file_system, StoreLayout layout);

  Status MakeFiles();
  Status MakeGeneration();
  // The lock's file, locked on this handle; null if another handle excludes us.
  Result<std::unique_ptr<File>> TryHold(const std::string& path, bool exclusive);
  Result<std::unique_ptr<File>> Hold(const std::string& path, bool exclusive,
                                     std::chrono::steady_clock::time_point deadline);
  Result<bool> CollectorWaits();
  // Generations of the lists that are there, rising.
  Result<std::vector<uint64_t>> Lists();

  FileSystem& file_system_;
  const StoreLayout layout_;
};

}  // namespace quoin

// Memory that outlives the process: what the heads of a daemon own, recorded or not. A write is answered
// when its bytes are in the head's file and its blocks are owned; that they are owned is in the process's
// memory until the next flush. Whoever was answered outlives the daemon, so a daemon that is started again
// keeps its heads' ownership here, in a file in memory that another process holds open, and finds there
// what the one before it had not come to record.
//
// A slot is one head's: an entry in the directory, and the forms and leaves of its regions at a fixed place,
// so that memory is used as regions are touched. Every change is a store of one word that leaves the state
// before it or after it, since the process may be killed between any two.
//
// KeptHeads is owned by whoever opens the store and outlives it; thread-safe. A KeptHead is owned by the
// OwnershipSet that lives in it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/error.h"
#include "blockstore/base/id.h"
#include "blockstore/base/mutex.h"

namespace quoin {

// The states of a region's blocks, two bits each.
struct OwnershipLeaf {
  std::array<std::atomic<uint64_t>, kRegionBlocks / 32> words;
};

// What is kept of one region. It is to be recorded unless `recorded` equals `begun`: changes are counted
// before and after they are made, so that one which was cut short counts too.
struct KeptRegion {
  enum Form : uint32_t { kUntouched, kAllAbsent, kAllZero, kLeaf };
  std::atomic<uint32_t> form;
  std::atomic<uint32_t> begun;
  std::atomic<uint32_t> done;
  std::atomic<uint32_t> recorded;  // as many as `done` said when the recorded states were taken
};

// 64 GiB of a disk.
struct KeptNode {
  static constexpr uint64_t kRegions = 4096;
  std::array<KeptRegion, kRegions> regions;
  std::array<OwnershipLeaf, kRegions> leaves;
};

class KeptHeads;

class KeptHead {
 public:
  // Unmaps it. A live one stays for the next process; any other's slot is free again.
  ~KeptHead();
  KeptHead(const KeptHead&) = delete;
  KeptHead& operator=(const KeptHead&) = delete;

  static constexpr uint64_t kNodes = kMaxVdiRegions / KeptNode::kRegions;

  uint32_t seq() const;      // the layer's
  std::string name() const;  // the layer's
  uint64_t epoch() const;    // of the owner that made it live
  bool is_live() const;
  // From now on it is found after a death, until Drop: the head takes writes that are answered.
  void MakeLive(uint64_t epoch);
  void Drop();

  // The layer's.
  uint64_t size_bytes() const;
  void NoteSize(uint64_t size_bytes);
  // A flush failed; writes are refused until the VDI is opened anew.
  bool has_failed() const;
  void NoteFailed();

  // Mapped at the first call; null if the system has no room for it. Any thread.
  KeptNode* NodeAt(uint64_t number);
  bool HasNode(uint64_t number) const;

 private:
  friend class KeptHeads;
  struct Entry;
  KeptHead(KeptHeads& all, uint32_t slot);

  KeptHeads& all_;
  const uint32_t slot_;
  Entry& entry_;
  Mutex mutex_{LockRank::kLeaf};
  std::unordered_map<uint64_t, KeptNode*> nodes_ QUOIN_GUARDED_BY(mutex_);  // by number
};

class KeptHeads {
 public:
  // `descriptor` is of a file in memory, new or as another process left it; it stays the caller's and
  // must stay open. kNewerFormat if its layout is not ours.
  static Result<std::unique_ptr<KeptHeads>> Attach(int descriptor);
  // Whether Attach could, without a change.
  static Status CheckLayout(int descriptor);
  ~KeptHeads();
  KeptHeads(const KeptHeads&) = delete;
  KeptHeads& operator=(const KeptHeads&) = delete;

  // A new one, not live; null if all kMaxHeads are used or the system has no room.
  std::unique_ptr<KeptHead> Make(const Id& vdi, uint32_t seq, const std::string& name,
                                 uint64_t size_bytes);
  // The live ones of a VDI that nobody in this process has, lowest seq first.
  std::vector<std::unique_ptr<KeptHead>> TakeLeft(const Id& vdi);

  static constexpr uint32_t kMaxHeads = 1 << 16;

 private:
  friend class KeptHead;
  KeptHeads(int descriptor, void* directory);
  KeptHead::Entry& EntryOf(uint32_t slot) const;
  void FreeWhatIsNotLive();
  void GiveBack(uint32_t slot);
  void FreeSlot(uint32_t slot) QUOIN_REQUIRES(mutex_);

  const int descriptor_;
  void* const directory_;
  Mutex mutex_{LockRank::kLeaf};
  std::vector<bool> is_taken_ QUOIN_GUARDED_BY(mutex_);  // by this process
  std::vector<uint32_t> free_ QUOIN_GUARDED_BY(mutex_);  // given back, before those never used
  uint32_t never_used_ QUOIN_GUARDED_BY(mutex_) = 0;     // this slot and all above
};

}  // namespace quoin

// An open VDI of this process: one object however many handles, whether this host owns it or only
// reads what its owner published.
//
// Requests (Read, Write, Zero, the seeks) take no mutex; a snapshot stops them at the gate for the
// moment in which it changes heads. Structure changes, flushes and the database are serialised by
// the state mutex; becoming owner and letting go by the lifecycle mutex, and publishing by the finish
// mutex, each taken before it. After a failed flush of data every write fails until the VDI is reopened.
//
// Order of durability, everywhere: bytes in the layers (fdatasync), then one transaction in vdi.db
// that makes them count, then the answer; published.db and the removal of files come after.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "blockstore/base/fenced_file_system.h"
#include "blockstore/base/mutex.h"
#include "metadata/vdi_database.h"
#include "metadata/writer_lock.h"
#include "snapshots/data_path.h"
#include "snapshots/image.h"
#include "snapshots/ownership_fence.h"
#include "snapshots/published_cache.h"
#include "snapshots/seal_plan.h"
#include "snapshots/snapshot_index.h"
#include "snapshots/store.h"

namespace quoin {

struct StoreEnvironment;

class Vdi final : public Image, public std::enable_shared_from_this<Vdi> {
 public:
  Vdi(StoreEnvironment& environment, Id id, std::string folder);
  ~Vdi() override;  // lets go without a clean release if still owner: what a crash does

  const Id& id() const { return id_; }
  bool is_owner() const { return owned_.load(std::memory_order_acquire); }
  bool is_copying() const { return copying_.load(std::memory_order_acquire); }

  // --- requests, from any thread -----------------------------------------------------------
  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override;
  // All of it or an error. kTooLarge beyond 256 TiB; a write that ends beyond the size makes the VDI
  // larger, up to the next multiple of 512, as a file grows.
  Status Write(uint64_t offset, std::span<const std::byte> bytes);
  // [offset, offset + length) reads as zeros afterwards, and whole blocks give their space back:
  // both punch-hole and zero-range. Clipped to the size.
  Status Zero(uint64_t offset, uint64_t length);
  // Everything written before the call is durable after it.
  Status Flush();
  Result<uint64_t> SeekData(uint64_t offset) override;
  Result<uint64_t> SeekHole(uint64_t offset) override;
  uint64_t size_bytes() const override { return data_.size_bytes(); }
  uint64_t data_blocks() const override;
  // That there have been since the object was made.
  uint64_t requests() const { return data_.requests(); }

  Attributes attributes() const;
  int64_t created_ns() const;

  // Which owner this process is, and since which one all of them were sessions of its keeper. Zeros if it is
  // no owner.
  struct Tenure {
    uint64_t epoch = 0;
    uint64_t kept_since = 0;
  };
  Tenure tenure() const QUOIN_EXCLUDES(state_mutex_);

  // After a lapse of the lease, by its thread: false if the VDI was owned and another host has taken it
  // over. From then on every request fails until all who have it open for writing have closed it.
  bool KeepsOwnership();

  // Goes on to what another owner has left since, for those who have the VDI open for reading. What an
  // owner publishes while it goes on is without its head, and passed over: nobody who reads goes back in
  // time. Does nothing while the VDI is just being opened or closed here.
  void FollowPublished() QUOIN_EXCLUDES(lifecycle_mutex_, state_mutex_);
  // True, once, if those who have it open for reading may have cached bytes that another owner has
  // changed since.
  bool TakeNewContent() { return new_content_.exchange(false); }

  // Writes `.owned` files of frozen layers that lack them, forgets their rows, and publishes. For
  // the finisher, and for whoever needs the files now. Nothing to do is success.
  Status FinishFrozen() QUOIN_EXCLUDES(finish_mutex_, state_mutex_);

 private:
  friend class Store;
  friend class VdiHandle;
  friend class GroupSnapshot;
  friend class Sealer;

  // --- lifecycle (vdi_lifecycle.cc) ----------------------------------------------------------
  Status AddHandle(Access access) QUOIN_EXCLUDES(lifecycle_mutex_);
  Status DropHandle(Access access) QUOIN_EXCLUDES(lifecycle_mutex_);
  Status BecomeOwner() QUOIN_REQUIRES(lifecycle_mutex_);
  Status TakeLockAndOpen() QUOIN_REQUIRES(lifecycle_mutex_);
  // Takes what the dead owner may still write to out of its reach.
  Status DetachFromStaleOwner() QUOIN_REQUIRES(state_mutex_);
  Status Recover() QUOIN_REQUIRES(state_mutex_);
  // Takes what a session of the same keeper kept of its heads when it died as the owner.
  void TakeKeptHeads() QUOIN_REQUIRES(state_mutex_);
  // Gives the state the heads that it had, and had not come to record.
  void ResumeKeptHeads() QUOIN_REQUIRES(state_mutex_);
  Result<std::shared_ptr<const Layer>> ResumeFrozenLayer(const LayerRecord& record)
      QUOIN_REQUIRES(state_mutex_);
  Result<std::unique_ptr<Layer>> OpenHead(const LayerRecord& record) QUOIN_REQUIRES(state_mutex_);
  Status DecidePendingSnapshots() QUOIN_REQUIRES(state_mutex_);
  // Keeps what `published` names, if not null.
  Status SweepLayerFiles(const VdiState* published) QUOIN_REQUIRES(state_mutex_);
  Status OpenLayers() QUOIN_REQUIRES(state_mutex_);
  Result<LayerStack> OpenStack(uint32_t top_seq, const VdiState& state) QUOIN_REQUIRES(state_mutex_);
  Result<std::shared_ptr<const Layer>> OpenFrozenLayer(const LayerRecord& record)
      QUOIN_REQUIRES(state_mutex_);
  Result<std::unique_ptr<OwnershipSet>> LoadOwnershipRows(uint32_t seq,
                                                          std::unique_ptr<KeptHead> kept = nullptr)
      QUOIN_REQUIRES(state_mutex_);
  // Where a head's ownership outlives the process; null if nowhere.
  std::unique_ptr<KeptHead> MakeKept(uint32_t seq, const std::string& name, uint64_t size_bytes);
  // What is owned now is recorded, or given up.
  void DropKeptHeads() QUOIN_REQUIRES(state_mutex_);
  Result<std::unique_ptr<Layer>> ReopenHeadForReading() QUOIN_REQUIRES(state_mutex_);
  Status LetGo() QUOIN_REQUIRES(lifecycle_mutex_);
  // The parts of it. Nothing may be published between getting ready and the end.
  Status RecordAll() QUOIN_REQUIRES(lifecycle_mutex_) QUOIN_EXCLUDES(finish_mutex_, state_mutex_);
  Status MakeReadyToLetGo() QUOIN_REQUIRES(finish_mutex_, state_mutex_);
  Status EndOwning(Status status) QUOIN_REQUIRES(lifecycle_mutex_, finish_mutex_, state_mutex_);
  Status PublishHead() QUOIN_REQUIRES(finish_mutex_, state_mutex_);
  Status LoadPublished() QUOIN_REQUIRES(lifecycle_mutex_);
  enum class Wanted { kNewest, kWithHead };  // kWithHead: anything else is left alone
  Status LoadPublishedFiles(Wanted wanted) QUOIN_REQUIRES(lifecycle_mutex_);
  // kNotFound with `is_published` set: what published.db names is not there.
  Status LoadPublishedOnce(Wanted wanted, bool& is_published) QUOIN_REQUIRES(lifecycle_mutex_);
  Status LookForNewer() QUOIN_REQUIRES(lifecycle_mutex_);
  // That of the owner whose bytes are shown.
  uint64_t ShownEpoch() const QUOIN_EXCLUDES(state_mutex_);
  Status ReadUnpublished() QUOIN_REQUIRES(lifecycle_mutex_);
  // What ReadUnpublished found, while that is what readers here read.
  std::optional<PublishedVdi> UnpublishedState() const QUOIN_EXCLUDES(state_mutex_);
  Status KeepForReading() QUOIN_REQUIRES(state_mutex_);
  // Removes the VDI with its name and files. kBusy while open, kNotEmpty with snapshots.
  Status RemoveAsOwner(const std::string& name, bool with_snapshots)
      QUOIN_EXCLUDES(lifecycle_mutex_);
  Status CheckRemovable(const std::string& name, bool with_snapshots) const
      QUOIN_REQUIRES(state_mutex_);
  void Abandon() QUOIN_REQUIRES(state_mutex_);

  // --- handing over (vdi_hand_over.cc) -------------------------------------------------------
  // For so long, another host that opens the VDI for writing is let have it, once, though it stays open for
  // writing here. kInvalid if nobody but the caller's own handle has it open for writing.
  Status GrantHandOver(std::chrono::nanoseconds duration) QUOIN_EXCLUDES(lifecycle_mutex_);
  // Lets go of the VDI for whoever asks, if that was granted; kBusy if not. Nothing if nobody owns it here.
  Status HandOver() QUOIN_EXCLUDES(lifecycle_mutex_, state_mutex_);
  // Becomes the owner again for those who had it open for writing at the hand-over, if nobody has changed
  // anything since; kLostOwnership if somebody has it or has changed something. Waits a moment for who was
  // let have it.
  Status TakeBack() QUOIN_EXCLUDES(lifecycle_mutex_, state_mutex_);
  Status TakeBackLocked() QUOIN_REQUIRES(lifecycle_mutex_);
  // The same for who opens it for writing here only now: kBusy, and no moment is waited for.
  Status TakeBackToOpen() QUOIN_REQUIRES(lifecycle_mutex_);
  Result<bool> IsStillWanted() const QUOIN_REQUIRES(lifecycle_mutex_);
  Failure WasHandedOver() const;
  // Runs `change` on the data; again if a hand-over refused it that came to nothing or could be taken back.
  template <typename Change>
  Status Changing(Change change);

  // --- recording (vdi.cc) --------------------------------------------------------------------
  enum class Extent { kFrozenOnly, kWithHead };
  // Syncs and records what is not durable yet: frozen layers of unrecorded_, the head if asked,
  // the VDI's row, and these snapshots, in one transaction.
  Status Record(Extent extent, const std::vector<SnapshotRecord>& new_snapshots)
      QUOIN_REQUIRES(state_mutex_);
  // One transaction of it, with so many regions at most; true if that was the last, which has the
  // snapshots. One before it leaves what a crash may leave of a flush that was not answered.
  Result<bool> RecordSome(Extent extent, const std::vector<SnapshotRecord>& new_snapshots,
                          size_t limit_regions) QUOIN_REQUIRES(state_mutex_);
  // Publishes what frozen layers and snapshots there are, without the head. Whoever publishes holds
  // the finish mutex, so that no older state replaces a newer one.
  Status Publish() QUOIN_REQUIRES(finish_mutex_, state_mutex_);
  Status PublishUnlocked() QUOIN_REQUIRES(finish_mutex_) QUOIN_EXCLUDES(state_mutex_);
  // Gives what is published the present size and attributes, and nothing else: its content stays the one
  // that was published last, the head included.
  Status PublishFacts() QUOIN_REQUIRES(finish_mutex_) QUOIN_EXCLUDES(state_mutex_);
  // The size or the attributes were changed while it is open: others are to see it, by and by.
  void NoteFactsChanged() QUOIN_EXCLUDES(state_mutex_);
  Status ForgetUnpublished(const std::vector<std::string>& removed_layers)
      QUOIN_REQUIRES(state_mutex_);
  VdiState PublishableState() const QUOIN_REQUIRES(state_mutex_);
  Status RequireOwner() const QUOIN_REQUIRES(state_mutex_);
  // state_ is what counts: it is ours, and no other host has taken over since.
  bool knows_state() const QUOIN_REQUIRES(state_mutex_) {
    return database_ != nullptr && !lost_.load(std::memory_order_acquire);
  }
  Status CheckWritable() const;
  // What this process owns may be read and changed while its lease lasts; waits for it if need be.
  Status CheckLease() const {
    if (!owned_.load(std::memory_order_acquire)) return {};
    return HasLease() ? Status() : WaitForLease();
  }
  bool HasLease() const;
  Status WaitForLease() const;
  // Commits, and looks whether this was still ours then. What the storage had under way when this host
  // was cut off or stopped may end well after another one took over, in files that no one reads any more.
  Status Commit(VdiDatabase::Transaction& transaction) const;
  Failure Poison(const Error& error);
  Layer::Location LayerLocation(const std::string& name) const;
  const LayerRecord* FindLayer(uint32_t seq) const QUOIN_REQUIRES(state_mutex_);
  std::string Title() const;  // "vdis/web01" for messages

  // --- structure (vdi_structure.cc), all by the owner ------------------------------------------
  Status Resize(uint64_t size_bytes) QUOIN_EXCLUDES(state_mutex_);
  Status SetAttributes(const AttributeChange& change) QUOIN_EXCLUDES(state_mutex_);
  // A new head's files, not yet part of the VDI. Their names must be durable before a row names them
  // (Layer::SyncNames).
  Result<std::shared_ptr<Layer>> MakeHead(uint64_t size_bytes) QUOIN_REQUIRES(state_mutex_);
  // The row of a layer that MakeHead made.
  LayerRecord NewHeadRecord(const Layer& head, uint32_t parent_seq) const;
  // With the gate closed: `new_head` on top of what is there now; to be recorded.
  void PushHead(std::shared_ptr<Layer> new_head) QUOIN_REQUIRES(state_mutex_);
  // Makes what the VDI holds now frozen layers only, and records that.
  Status FreezeHead() QUOIN_EXCLUDES(state_mutex_);
  SnapshotRecord DescribeSnapshot(const std::string& name, int64_t now_ns) const
      QUOIN_REQUIRES(state_mutex_);
  // At most what a snapshot takes of the store: a head's files, the list of the frozen layer's blocks,
  // rows, and a new published.db.
  Result<uint64_t> BytesForSnapshot() const QUOIN_EXCLUDES(state_mutex_);
  Status CheckNewSnapshotName(const std::string& name) const QUOIN_REQUIRES(state_mutex_);
  // Its removal and what it takes with it are published later (FinishFrozen).
  Status RemoveSnapshot(const std::string& name) QUOIN_EXCLUDES(state_mutex_);
  Status ChangeSnapshot(const SnapshotRecord& changed) QUOIN_REQUIRES(state_mutex_);
  Result<SnapshotRecord> FindSnapshot(const std::string& name) const QUOIN_REQUIRES(state_mutex_);
  Result<std::shared_ptr<Image>> OpenSnapshot(const Id& id) QUOIN_REQUIRES(state_mutex_);
  // Layers that neither the head nor one of these snapshots needs.
  std::vector<LayerRecord> UnreachableLayers(const std::vector<SnapshotRecord>& snapshots) const
      QUOIN_REQUIRES(state_mutex_);
  Result<std::string> Rollback(const std::string& snapshot) QUOIN_EXCLUDES(state_mutex_);
  // Shares the source's layers as this VDI's content up to `end`, if it is pristine or a copy from
  // the same source so far; false if the bytes must be copied.
  // Only with `may_adopt`, while the caller holds the CollectionLock shared from before it read the
  // source's state, does a copy begin.
  Result<bool> ShareRange(const std::string& source_folder, const VdiState& source_state,
                          uint32_t source_top, uint64_t source_size, uint64_t offset, uint64_t end,
                          bool may_adopt)
      QUOIN_EXCLUDES(finish_mutex_, state_mutex_);
  // False if the source shows data where this VDI has holes already.
  Result<bool> AdoptStack(const std::string& source_folder, const VdiState& source_state,
                          uint32_t top) QUOIN_REQUIRES(finish_mutex_, state_mutex_);
  Result<bool> SharesStack(const std::string& source_folder, const VdiState& source_state,
                           uint32_t source_top) QUOIN_REQUIRES(state_mutex_);
  // Ends a copy in pieces: nothing beyond what was copied is the VDI's.
  Status SettleCopy() QUOIN_EXCLUDES(state_mutex_);
  Status SettleCopyLocked() QUOIN_REQUIRES(state_mutex_);

  // --- sealing (vdi_sealing.cc), by the owner ---------------------------------------------------
  // Rows that a seal changes.
  struct SealChanges {
    std::set<uint32_t> layers;
    std::set<Id> snapshots;
    bool IsEmpty() const { return layers.empty() && snapshots.empty(); }
  };
  // What is to be sealed next, oldest first, at most `max_steps`, and what of the sealed has no root
  // record. Empty if nothing is.
  Result<SealPlan> PlanSeal(size_t max_steps) QUOIN_EXCLUDES(state_mutex_);
  // Frozen layers become sealed ones, as planned, and what has root records now counts as recorded;
  // what has been removed meanwhile is left out. The caller holds the store's CollectionLock shared
  // from before the packs were published.
  Status CommitSealed(const SealedPlan& done) QUOIN_EXCLUDES(finish_mutex_, state_mutex_);
  // Its transaction; publishing is left to be done.
  Status CommitSealedRows(const SealedPlan& done) QUOIN_REQUIRES(finish_mutex_, state_mutex_);
  // One transaction, after which `changed` is the state.
  Status CommitRows(VdiState changed, const SealChanges& changes,
                    const std::vector<LayerRecord>& gone) QUOIN_REQUIRES(state_mutex_);
  void MarkRecorded(const std::vector<RootRecord>& records, VdiState& state,
                    SealChanges& changes) const QUOIN_REQUIRES(state_mutex_);
  // Root records of what is sealed and has none, at most `limit`.
  std::vector<RootRecord> MissingRecords(size_t limit) const QUOIN_REQUIRES(state_mutex_);
  bool LacksRecord(const SnapshotRecord& snapshot) const QUOIN_REQUIRES(state_mutex_);
  // True if the VDI stands on the layer and nothing says so.
  bool NeedsRecord(const LayerRecord& layer) const QUOIN_REQUIRES(state_mutex_);
  RootRecord RecordOf(const SnapshotRecord& snapshot, const MapRoot& map) const
      QUOIN_REQUIRES(state_mutex_);
  RootRecord RecordOfBase(const MapRoot& map) const QUOIN_REQUIRES(state_mutex_);
  // Null if there is none. Of those that are decided.
  const SnapshotRecord* NewestSnapshot() const QUOIN_REQUIRES(state_mutex_);
  // What there is to seal or to record is the sealer's business.
  void TellSealer() const QUOIN_REQUIRES(state_mutex_);
  // Keeps collectors off these layers' maps until they are published.
  Status PinMapsOf(const std::vector<LayerRecord>& layers) QUOIN_REQUIRES(state_mutex_);
  Status Unpin() QUOIN_REQUIRES(state_mutex_);
  // Frozen layers.
  uint64_t CountUnsealed() const QUOIN_REQUIRES(state_mutex_);

  void CountWrite();
  void Hold(std::shared_ptr<WriterLock> lock) QUOIN_REQUIRES(state_mutex_);
  // Forgets that this process is the owner, without a word to anyone.
  std::shared_ptr<WriterLock> LetLockGo() QUOIN_REQUIRES(state_mutex_);

  // Constant after construction.
  StoreEnvironment& environment_;
  const Id id_;
  const std::string folder_;

  DataPath data_;
  std::atomic<bool> failed_{false};   // a flush failed: nothing may be written any more
  std::atomic<bool> owned_{false};    // lock_ is held
  std::atomic<bool> lost_{false};     // another host has taken over; failed_ is set too
  OwnershipFence fence_;
  // The VDI's own files but its layers', which other VDIs may share, and which the next owner has copied.
  FencedFileSystem files_;
  std::atomic<bool> copying_{false};  // state_.vdi.copy_origin is set
  std::atomic<int64_t> mtime_ns_{0};  // of the last write
  std::atomic<bool> written_{false};  // something changed since the last recording of attributes
  std::atomic<uint64_t> flush_requests_{0};

  mutable Mutex lifecycle_mutex_{LockRank::kVdiLifecycle};
  uint64_t readers_ QUOIN_GUARDED_BY(lifecycle_mutex_) = 0;
  uint64_t writers_ QUOIN_GUARDED_BY(lifecycle_mutex_) = 0;
  FileIdentity published_file_ QUOIN_GUARDED_BY(lifecycle_mutex_);  // what was loaded, as reader
  int64_t published_ctime_ns_ QUOIN_GUARDED_BY(lifecycle_mutex_) = 0;

  // lock_ again, for the lease's thread, which must not wait for those who wait for it.
  Mutex watched_mutex_{LockRank::kLeaf};
  std::shared_ptr<WriterLock> watched_lock_ QUOIN_GUARDED_BY(watched_mutex_);

  mutable Mutex state_mutex_{LockRank::kVdiState};
  VdiState state_ QUOIN_GUARDED_BY(state_mutex_);
  mutable SnapshotIndex index_ QUOIN_GUARDED_BY(state_mutex_);  // of state_.snapshots
  std::shared_ptr<WriterLock> lock_ QUOIN_GUARDED_BY(state_mutex_);
  std::unique_ptr<VdiDatabase> database_ QUOIN_GUARDED_BY(state_mutex_);
  // Frozen in memory, not yet in vdi.db; oldest first. The head's row is part of the same change.
  std::vector<std::shared_ptr<Layer>> unrecorded_ QUOIN_GUARDED_BY(state_mutex_);
  // Kept heads of the session before, by their layers, until they are opened. Oldest first.
  std::vector<std::unique_ptr<KeptHead>> left_heads_ QUOIN_GUARDED_BY(state_mutex_);
  bool vdi_row_changed_ QUOIN_GUARDED_BY(state_mutex_) = false;
  bool sweep_needed_ QUOIN_GUARDED_BY(state_mutex_) = false;  // files were kept for readers elsewhere
  bool publish_needed_ QUOIN_GUARDED_BY(state_mutex_) = false;
  bool facts_changed_ QUOIN_GUARDED_BY(state_mutex_) = false;  // since they were last published
  bool head_changed_ QUOIN_GUARDED_BY(state_mutex_) = false;  // since it was last published
  // That no row names any more; their files go once that is published.
  std::vector<std::string> removed_layers_ QUOIN_GUARDED_BY(state_mutex_);
  bool pinned_ QUOIN_GUARDED_BY(state_mutex_) = false;  // there may be a pin of ours in gc/pins
  std::optional<uint64_t> unpublished_head_blocks_ QUOIN_GUARDED_BY(state_mutex_);
  uint64_t flushed_through_ QUOIN_GUARDED_BY(state_mutex_) = 0;
  // Serialises FinishFrozen, which lets go of the state mutex while it writes, and all publishing.
  Mutex finish_mutex_{LockRank::kVdiFinish};

  // By HandOver until it was taken back, or all who wrote it have closed it: they are no owners.
  std::atomic<bool> handed_over_{false};
  std::chrono::nanoseconds granted_until_ QUOIN_GUARDED_BY(lifecycle_mutex_){0};
  std::chrono::nanoseconds handed_over_at_ QUOIN_GUARDED_BY(lifecycle_mutex_){0};
  FileIdentity left_file_ QUOIN_GUARDED_BY(lifecycle_mutex_);  // published.db, as it was left then
  int64_t left_ctime_ns_ QUOIN_GUARDED_BY(lifecycle_mutex_) = 0;

  // What other owners leave (FollowPublished).
  FileIdentity looked_at_file_ QUOIN_GUARDED_BY(lifecycle_mutex_);
  int64_t looked_at_ctime_ns_ QUOIN_GUARDED_BY(lifecycle_mutex_) = 0;
  bool cannot_follow_ QUOIN_GUARDED_BY(lifecycle_mutex_) = false;
  std::atomic<bool> new_content_{false};  // readers here may have cached what is no longer so
  std::atomic<bool> becoming_owner_{false};
};

}  // namespace quoin

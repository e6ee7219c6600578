// Becoming the owner of a VDI, recovering what a dead owner left, and letting go.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <thread>
#include <utility>

#include "blockstore/base/atomic_file.h"
#include "blockstore/layers/layer_detach.h"
#include "metadata/database_detach.h"
#include "metadata/published.h"
#include "metadata/storage_findings.h"
#include "snapshots/group_decision.h"
#include "snapshots/sealer.h"
#include "snapshots/stack_opening.h"
#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

constexpr std::string_view kHeadOwnershipMark = ".owned-";

}  // namespace

// ------------------------------------------------------------------------------- handles

Status Vdi::AddHandle(Access access) {
  MutexLock lock(lifecycle_mutex_);
  if (access == Access::kReadWrite) {
    if (handed_over_) {
      QUOIN_TRY(TakeBackToOpen());
    } else if (writers_ == 0) {
      const uint64_t shown = ShownEpoch();
      if (const Status owner = BecomeOwner(); !owner) {
        if (readers_ > 0 && published_file_ == FileIdentity{}) (void)LoadPublished();
        return owner;
      }
      // Another owner in between has written in place what readers here have seen.
      if (readers_ > 0 && ShownEpoch() != shown + 1) new_content_ = true;
    }
    ++writers_;
    return {};
  }
  if (writers_ == 0) QUOIN_TRY(LoadPublished());
  ++readers_;
  return {};
}

Status Vdi::DropHandle(Access access) {
  MutexLock lock(lifecycle_mutex_);
  Status status;
  if (access == Access::kReadWrite) {
    if (--writers_ == 0) {
      granted_until_ = {};
      if (!handed_over_.exchange(false)) status = LetGo();
    }
  } else {
    --readers_;
  }
  if (writers_ == 0 && readers_ == 0) {
    data_.Clear();
    MutexLock state_lock(state_mutex_);
    unpublished_head_blocks_.reset();
    published_file_ = {};
    failed_ = false;
  }
  return status;
}

// ------------------------------------------------------------------------------- layers

Result<std::shared_ptr<const Layer>> Vdi::OpenFrozenLayer(const LayerRecord& record) {
  const Layer::Location location = LayerLocation(record.name);
  const bool was_kept = std::any_of(left_heads_.begin(), left_heads_.end(), [&](const auto& kept) {
    return kept->name() == record.name;
  });
  if (was_kept) return ResumeFrozenLayer(record);
  if (record.has_ownership_file) {
    return environment_.layer_cache.OpenFrozen(location, record.size_bytes);
  }
  return environment_.layer_cache.OpenFrozen(
      location, record.size_bytes,
      [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS { return LoadOwnershipRows(record.seq); });
}

Result<std::unique_ptr<OwnershipSet>> Vdi::LoadOwnershipRows(uint32_t seq,
                                                             std::unique_ptr<KeptHead> kept) {
  auto owned = std::make_unique<OwnershipSet>(std::move(kept));
  if (database_ == nullptr) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: layer {} has no list of its blocks", Title(),
                                                 seq));
  }
  QUOIN_TRY(database_->LoadOwnership(seq, [&owned](uint32_t region, std::string_view runs) {
    return owned->LoadRegion(region, runs);
  }));
  (void)owned->TakeDirty();  // what was loaded is recorded
  return owned;
}

Result<LayerStack> Vdi::OpenStack(uint32_t top_seq, const VdiState& state) {
  return OpenLayerStack(
      environment_, state, top_seq,
      [this](const LayerRecord& layer)
          QUOIN_NO_THREAD_SAFETY_ANALYSIS { return OpenFrozenLayer(layer); },
      Title());
}

// ------------------------------------------------------------------------------- owning

Status Vdi::BecomeOwner() {
  becoming_owner_ = true;
  const Status taken = TakeLockAndOpen();
  becoming_owner_ = false;
  return taken;
}

Status Vdi::TakeLockAndOpen() {
  FileSystem& fs = files_;
  const std::string name = environment_.NameHint(id_);
  QUOIN_TRY(environment_.lease.Begin());
  const uint64_t lapses = environment_.lease.lapses();
  std::jthread asking;  // done with once the lock is had, or not
  const auto ask = [&](const LockRecord& holder) {
    if (!environment_.ask_to_hand_over) return;
    asking = std::jthread([this, holder] { environment_.ask_to_hand_over(id_, holder); });
  };
  const Succession succession{environment_.layout, environment_.sessions, environment_.lease,
                              environment_.options.take_over_wait, ask};
  QUOIN_ASSIGN(std::unique_ptr<WriterLock> acquired,
               WriterLock::Acquire(environment_.storage, folder_,
                                   name.empty() ? id_.ToString() : name, environment_.self,
                                   environment_.options.ownership_wait, &succession));
  MutexLock lock(state_mutex_);
  Hold(std::move(acquired));
  const auto take = [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS -> Status {
    // One that lapsed before the lease's thread knew of this lock.
    QUOIN_TRY(environment_.lease.Admit());
    if (environment_.lease.lapses() != lapses) QUOIN_TRY(lock_->Verify());
    TakeKeptHeads();
    // What another host's owner left behind was seen to before any head of ours was live.
    if (lock_->predecessor() == WriterLock::Predecessor::kDiedElsewhere && left_heads_.empty()) {
      QUOIN_TRY(DetachFromStaleOwner());
    }
    QUOIN_ASSIGN(database_, VdiDatabase::Open(fs, StoreLayout::Database(folder_)));
    QUOIN_ASSIGN(state_, database_->Load());
    if (state_.vdi.id != id_) {
      return Fail(ErrorCode::kCorrupt, fmt::format("{} is of another VDI, {}",
                                                   StoreLayout::Database(folder_),
                                                   state_.vdi.id.ToString()));
    }
    unrecorded_.clear();
    removed_layers_.clear();
    unpublished_head_blocks_.reset();
    vdi_row_changed_ = publish_needed_ = facts_changed_ = head_changed_ = sweep_needed_ = false;
    // One that a crash left, or brought back: it goes when what is recorded is published again.
    QUOIN_ASSIGN(pinned_, PathExists(fs, environment_.layout.Pin(id_)));
    head_changed_ = pinned_;
    failed_ = false;
    state_.vdi.epoch = lock_->epoch();
    QUOIN_TRY(DecidePendingSnapshots());
    if (lock_->predecessor() != WriterLock::Predecessor::kClean) QUOIN_TRY(Recover());
    ResumeKeptHeads();
    // A rename that could not be made durable leaves no other trace after a power cut.
    const Result<NameFacts> named = environment_.names.Lookup(name);
    if (named && named->is_double) QUOIN_TRY(environment_.names.ResolveDouble(id_));
    // Always: a removal that was not synced may come back after a power cut. What the last owner did
    // not come to publish is in no one's hands yet: readers elsewhere have what it published before.
    Result<VdiState> published = Fail(ErrorCode::kNotFound, "nothing to be kept");
    if (lock_->predecessor() != WriterLock::Predecessor::kClean) {
      published = ReadPublished(fs, folder_);
    }
    QUOIN_TRY(SweepLayerFiles(published ? &*published : nullptr));
    QUOIN_TRY(OpenLayers());
    return CheckLease();  // what took long may have been lost meanwhile
  };
  if (Status taken = take(); !taken) {
    // What is missing because the next owner has removed it is no damage.
    if (const Status ours = CheckLease(); !ours) taken = ours;
    // A VDI that could not be opened stays as unclean as it was found, and readers keep what they
    // have.
    database_.reset();
    if (data_.head() != nullptr) Abandon();
    unrecorded_.clear();
    left_heads_.clear();  // what is live stays for the next attempt
    published_file_ = {};
    const std::shared_ptr<WriterLock> held = LetLockGo();
    const bool was_clean = held->predecessor() == WriterLock::Predecessor::kClean;
    if (was_clean && !head_changed_) (void)held->ReleaseClean();
    return taken;
  }
  written_ = false;
  mtime_ns_ = state_.vdi.attributes.mtime_ns;
  published_file_ = {};
  return {};
}

Status Vdi::OpenLayers() {
  const LayerRecord* head = FindLayer(state_.vdi.head_seq);
  QUOIN_ASSIGN(LayerStack below, OpenStack(head->parent_seq, state_));
  std::sort(unrecorded_.begin(), unrecorded_.end(), [](const auto& a, const auto& b) {
    return a->ownership().kept()->seq() < b->ownership().kept()->seq();
  });
  QUOIN_ASSIGN(std::unique_ptr<Layer> layer, OpenHead(*head));
  // Frozen ones that the head does not stand on were recorded before that came to be.
  for (const std::unique_ptr<KeptHead>& left : left_heads_) {
    if (left != nullptr) left->Drop();
  }
  left_heads_.clear();
  const uint64_t size = layer->size_bytes();
  QUOIN_ASSIGN(const uint64_t data, below.CountData(0, BlocksOf(size)));
  KeptHead* const kept = layer->ownership().kept();
  data_.Replace({std::move(layer), std::move(below), size, data});
  if (kept != nullptr && !kept->is_live()) kept->MakeLive(lock_->epoch());
  if (kept != nullptr && kept->has_failed()) failed_ = true;
  if (state_.vdi.copy_origin.IsNull()) return {};
  return SettleCopyLocked();  // a copy in pieces that its process did not end
}

Result<std::unique_ptr<Layer>> Vdi::OpenHead(const LayerRecord& record) {
  std::unique_ptr<OwnershipSet> owned;
  uint64_t size = state_.vdi.size_bytes;
  for (std::unique_ptr<KeptHead>& left : left_heads_) {
    if (left->name() != record.name) continue;
    size = left->size_bytes();
    owned = std::make_unique<OwnershipSet>(std::move(left));
    break;
  }
  if (owned == nullptr) {
    QUOIN_ASSIGN(owned, LoadOwnershipRows(record.seq, MakeKept(record.seq, record.name, size)));
  }
  return Layer::Open(environment_.file_system, LayerLocation(record.name), size, std::move(owned),
                     Layer::Role::kHead);
}

// The dead owner may be a living one that was stopped or cut off for too long: it changes nothing more
// once it finds that out, but each of its threads may be in the midst of one call, and the storage may
// have writes of it under way. What goes from its temporaries to a name cannot any more once they are
// gone; everything else that it has open for writing gets files of its own. What it still writes until
// then counts as written before, like what a crashed guest had not flushed.
//
// The head may be large. It stays where it is only if the storage is known to fence and has let go of the
// dead owner's lock by itself: then nothing of that host arrives any more. The storage's file is asked anew
// each time, so that what an administrator takes back counts at once.
Status Vdi::DetachFromStaleOwner() {
  FileSystem& fs = files_;
  const auto new_temporary = [this] { return environment_.layout.NewTemporary(); };
  const Id stale = lock_->record().succeeds;
  if (!stale.IsNull()) QUOIN_TRY(RemoveTree(fs, environment_.layout.TemporariesOf(stale)));
  QUOIN_TRY(DetachDatabase(fs, StoreLayout::Database(folder_), new_temporary()));
  if (lock_->predecessor_lost_lock() && StorageFences(fs, environment_.layout)) {
    spdlog::info("{}: its head is not copied, since the storage has shut its last owner out", Title());
    return {};
  }
  QUOIN_ASSIGN(database_, VdiDatabase::Open(fs, StoreLayout::Database(folder_)));
  QUOIN_ASSIGN(state_, database_->Load());
  const LayerRecord* const head = FindLayer(state_.vdi.head_seq);
  QUOIN_ASSIGN(const std::unique_ptr<OwnershipSet> owned, LoadOwnershipRows(head->seq));
  QUOIN_TRY(DetachLayerFiles(fs, LayerLocation(head->name), *owned, new_temporary));
  database_.reset();
  return {};
}

// What a dead owner may have left: two names after a rename, rows of a finished layer. One of another host
// also a writer that does not know that it is dead: its head is frozen as recorded, and what it still writes
// there is in no block that counts as owned, or is one of the unflushed writes that a crash may keep or lose.
Status Vdi::Recover() {
  // A session that goes on after another of its keeper is asked again for a renaming that was not answered,
  // and guests wait for it: it looks at no other names.
  if (lock_->continues() && !left_heads_.empty()) {
    spdlog::info("{}: going on with what the daemon before kept", Title());
  } else {
    spdlog::warn("{}: recovering; its last owner did not let go of it", Title());
    QUOIN_ASSIGN([[maybe_unused]] const std::vector<std::string> names,
                 environment_.names.ResolveDouble(id_));
  }
  for (const LayerRecord& layer : state_.layers) {
    if (!layer.has_ownership_file) continue;
    for (uint64_t removed = 1; removed > 0;) {  // rows that were about to be forgotten
      QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
      QUOIN_ASSIGN(removed, transaction.RemoveOwnership(layer.seq, 4096));
      if (removed > 0) QUOIN_TRY(Commit(transaction));
    }
  }
  // In any case others must see what was flushed, published or not.
  head_changed_ = true;
  if (lock_->predecessor() != WriterLock::Predecessor::kDiedElsewhere) return {};
  if (!left_heads_.empty()) return {};
  QUOIN_ASSIGN(const std::shared_ptr<Layer> new_head, MakeHead(state_.vdi.size_bytes));
  QUOIN_TRY(new_head->Sync());
  LayerRecord old_head = *FindLayer(state_.vdi.head_seq);
  old_head.state = LayerState::kFrozen;
  old_head.size_bytes = state_.vdi.size_bytes;
  LayerRecord head = NewHeadRecord(*new_head, old_head.seq);
  VdiRecord vdi = state_.vdi;
  vdi.head_seq = head.seq;
  vdi.next_seq = head.seq + 1;
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
  QUOIN_TRY(transaction.PutLayer(old_head));
  QUOIN_TRY(transaction.PutLayer(head));
  QUOIN_TRY(transaction.PutVdi(vdi));
  QUOIN_TRY(Commit(transaction));
  QUOIN_ASSIGN(state_, database_->Load());
  state_.vdi.epoch = lock_->epoch();
  return {};
}

// A group snapshot between its two commits: its owner died, or let go while the store was too full
// for the second one. Before anything removes the group's file (Store::Shared::SweepGroups).
Status Vdi::DecidePendingSnapshots() {
  const std::vector<SnapshotRecord> snapshots = state_.snapshots;
  if (std::all_of(snapshots.begin(), snapshots.end(),
                  [](const SnapshotRecord& s) { return s.pending_group.IsNull(); })) {
    return {};
  }
  for (SnapshotRecord snapshot : snapshots) {
    if (snapshot.pending_group.IsNull()) continue;
    QUOIN_ASSIGN(const GroupDecision decision, DecideGroup(environment_, snapshot.pending_group, {}));
    QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
    snapshot.pending_group = Id();
    if (decision == GroupDecision::kTaken) {
      QUOIN_TRY(transaction.PutSnapshot(snapshot));
    } else {
      QUOIN_TRY(transaction.RemoveSnapshot(snapshot.id));
    }
    QUOIN_TRY(Commit(transaction));
    head_changed_ = true;  // others must see it
  }
  QUOIN_ASSIGN(state_, database_->Load());
  state_.vdi.epoch = lock_->epoch();
  return {};
}

// Files of layers that no row names: heads made for a snapshot that did not come to be, links of a
// clone's layers before their commit, layers whose removal or sealing was committed.
Status Vdi::SweepLayerFiles(const VdiState* published) {
  FileSystem& fs = files_;
  const std::string folder = StoreLayout::Layers(folder_);
  std::set<std::string> known;
  for (const LayerRecord& layer : state_.layers) {
    if (layer.state != LayerState::kSealed) known.insert(layer.name);
  }
  std::set<std::string> head_lists = {state_.vdi.head_ownership_file};
  if (published != nullptr) {
    for (const LayerRecord& layer : published->layers) known.insert(layer.name);
    head_lists.insert(published->vdi.head_ownership_file);
  }
  sweep_needed_ = published != nullptr;
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, fs.List(folder));
  for (const DirectoryEntry& entry : entries) {
    const bool head_list = entry.name.find(kHeadOwnershipMark) != std::string::npos;
    const bool wanted = head_list ? head_lists.count(entry.name) > 0
                                  : known.count(Layer::NameOfFile(entry.name)) > 0;
    if (wanted) continue;
    // A layer's files in the order that LinkFiles relies on; then whatever else has its name.
    if (!head_list) {
      QUOIN_TRY(Layer::RemoveFiles(fs, {folder, Layer::NameOfFile(entry.name)}));
    }
    const Status removed = fs.Remove(folder + "/" + entry.name);
    if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  }
  return {};
}

// ------------------------------------------------------------------------------- letting go

Status Vdi::LetGo() {
  Status status = RecordAll();
  MutexLock finishing(finish_mutex_);
  MutexLock lock(state_mutex_);
  if (status) status = MakeReadyToLetGo();
  return EndOwning(std::move(status));
}

Status Vdi::RecordAll() {
  {
    MutexLock lock(state_mutex_);
    if (failed_) QUOIN_TRY(CheckWritable());
    if (copying_) QUOIN_TRY(SettleCopyLocked());
    QUOIN_TRY(Record(Extent::kWithHead, {}));
  }
  return FinishFrozen();
}

Status Vdi::MakeReadyToLetGo() {
  if (head_changed_ || written_) QUOIN_TRY(PublishHead());
  if (sweep_needed_) QUOIN_TRY(SweepLayerFiles(nullptr));
  return database_->Checkpoint();
}

// `status` is what became of getting ready.
Status Vdi::EndOwning(Status status) {
  const bool readers_stay = readers_ + writers_ > 0;
  const std::shared_ptr<WriterLock> held = LetLockGo();
  DropKeptHeads();
  if (!status) {
    if (!lost_) {
      spdlog::error("{}: could not be let go cleanly ({}); the next owner recovers it", Title(),
                    status.error().what);
    }
    Abandon();
    published_file_ = {};
    return status;
  }
  // One that never had a snapshot stays the plain file that it is.
  if (environment_.sealer != nullptr && (state_.layers.size() > 1 || !state_.snapshots.empty())) {
    environment_.sealer->ConsiderIdle(id_, data_.head()->ownership().data_blocks());
  }
  // The head's descriptors close before the lock goes: whoever is owner next has no rival.
  if (readers_stay) status = KeepForReading();
  if (!readers_stay || !status) Abandon();
  copying_ = false;
  QUOIN_TRY(held->ReleaseClean());
  return status;
}

Result<std::unique_ptr<Layer>> Vdi::ReopenHeadForReading() {
  QUOIN_ASSIGN(std::unique_ptr<OwnershipSet> owned,
               OwnershipSet::Decode(data_.head()->ownership().Encode()));
  return Layer::Open(environment_.file_system, data_.head()->location(), data_.size_bytes(),
                     std::move(owned), Layer::Role::kHeadForReading);
}

// The head as it is now becomes readable by everyone: its owned blocks go into a file of their own
// whose name carries the epoch, then published.db names it.
Status Vdi::PublishHead() {
  FileSystem& fs = files_;
  const std::string folder = StoreLayout::Layers(folder_);
  const std::string old_file = state_.vdi.head_ownership_file;
  const Layer& head = *data_.head();
  std::string new_file;
  if (!head.ownership().empty()) {
    new_file = fmt::format("{}{}{}", head.location().name, kHeadOwnershipMark, lock_->epoch());
    QUOIN_TRY(ReplaceFile(fs, folder + "/" + new_file, environment_.layout.NewTemporary(),
                          head.ownership().Encode()));
  }
  VdiState state = state_;
  state.vdi.attributes.mtime_ns = std::max(state.vdi.attributes.mtime_ns, mtime_ns_.load());
  state.vdi.attributes.ctime_ns =
      std::max(state.vdi.attributes.ctime_ns, state.vdi.attributes.mtime_ns);
  state.vdi.head_ownership_file = new_file;
  state.vdi.head_published = true;
  state.vdi.data_blocks = data_.data_blocks();
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
  QUOIN_TRY(transaction.PutVdi(state.vdi));
  QUOIN_TRY(Commit(transaction));
  QUOIN_TRY(WritePublished(fs, environment_.layout, folder_, state));
  state_ = std::move(state);
  head_changed_ = false;
  written_ = false;
  if (!old_file.empty() && old_file != new_file) (void)fs.Remove(folder + "/" + old_file);
  return Unpin();
}

// Forgets everything that an owner holds. With the writer lock gone unreleased, the next owner
// recovers.
void Vdi::Abandon() {
  database_.reset();
  unrecorded_.clear();
  copying_ = false;
  data_.Clear();
}

}  // namespace quoin

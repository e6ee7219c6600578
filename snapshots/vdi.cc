// Requests and recording; see vdi_lifecycle.cc and vdi_structure.cc for the rest of Vdi.
#include "snapshots/vdi.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "blockstore/base/atomic_file.h"
#include "metadata/published.h"
#include "snapshots/sealer.h"
#include "snapshots/store_environment.h"

namespace quoin {
namespace {

// Rows of a frozen layer that are forgotten in one transaction, between which flushes may come.
constexpr uint64_t kForgetRowsPerTransaction = 2048;
// Regions that are recorded in one transaction: 128 GiB of a disk, some hundred kilobytes. More come
// together only by discards of many terabytes.
constexpr size_t kRegionsPerTransaction = 8192;
// After so many transactions the regions that are left are recorded in one, however many: they are
// those that are changed again and again meanwhile.
constexpr int kMaxRecordTransactions = 2 * kMaxVdiRegions / kRegionsPerTransaction;

}  // namespace

Vdi::Vdi(StoreEnvironment& environment, Id id, std::string folder)
    : environment_(environment),
      id_(id),
      folder_(std::move(folder)),
      fence_(environment.lease, lost_),
      files_(environment.storage, fence_) {}

Vdi::~Vdi() = default;

std::string Vdi::Title() const {
  const std::string name = environment_.NameHint(id_);
  return name.empty() ? fmt::format("VDI {}", id_.ToString()) : fmt::format("vdis/{}", name);
}

Layer::Location Vdi::LayerLocation(const std::string& name) const {
  return {StoreLayout::Layers(folder_), name};
}

const LayerRecord* Vdi::FindLayer(uint32_t seq) const {
  const auto found = std::lower_bound(state_.layers.begin(), state_.layers.end(), seq,
                                      [](const LayerRecord& l, uint32_t s) { return l.seq < s; });
  return found == state_.layers.end() || found->seq != seq ? nullptr : &*found;
}

// ------------------------------------------------------------------------------- requests

Result<size_t> Vdi::Read(uint64_t offset, std::span<std::byte> buffer) {
  QUOIN_TRY(CheckLease());
  Result<size_t> done = data_.Read(offset, buffer);
  if (!done && !data_.has_contents()) {
    return Fail(ErrorCode::kIo, fmt::format("cannot read {}: its last writer could not let go of it "
                                            "cleanly", Title()),
                "close it and open it again");
  }
  return done;
}

bool Vdi::HasLease() const {
  return environment_.lease.IsValid() && !lost_.load(std::memory_order_acquire);
}

Status Vdi::WaitForLease() const {
  QUOIN_TRY(environment_.lease.Admit());
  if (!lost_.load(std::memory_order_acquire)) return {};
  return Fail(ErrorCode::kLostOwnership,
              fmt::format("{} is no longer ours: this host's heartbeat stopped for longer than its "
                          "lease, and another one took over", Title()),
              "close the VDI here and open it again");
}

Status Vdi::Commit(VdiDatabase::Transaction& transaction) const {
  QUOIN_TRY(transaction.Commit());
  return CheckLease();
}

bool Vdi::KeepsOwnership() {
  std::shared_ptr<WriterLock> lock;
  {
    MutexLock watched(watched_mutex_);
    lock = watched_lock_;
  }
  if (lock == nullptr || lost_) return true;
  const Status verified = lock->Verify();
  if (verified) return true;
  spdlog::error("{}: {}; whoever has it open here gets errors until it is closed and opened again",
                Title(), verified.error().what);
  failed_ = true;
  lost_ = true;
  return false;
}

void Vdi::Hold(std::shared_ptr<WriterLock> lock) {
  lock_ = std::move(lock);
  lost_ = false;
  MutexLock watched(watched_mutex_);
  watched_lock_ = lock_;
  owned_ = true;
}

std::shared_ptr<WriterLock> Vdi::LetLockGo() {
  {
    MutexLock watched(watched_mutex_);
    watched_lock_.reset();
  }
  owned_ = false;
  return std::exchange(lock_, nullptr);
}

Status Vdi::CheckWritable() const {
  QUOIN_TRY(CheckLease());
  if (!failed_.load(std::memory_order_relaxed)) return {};
  return Fail(ErrorCode::kIo,
              fmt::format("cannot write {}: a flush failed before, and what it held may be lost",
                          Title()),
              "close the VDI everywhere and open it again; what was flushed before is intact");
}

void Vdi::CountWrite() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  mtime_ns_.store(now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec, std::memory_order_relaxed);
  written_.store(true, std::memory_order_relaxed);
}

// Whoever is refused may find that the hand-over has come to nothing by now.
template <typename Change>
Status Vdi::Changing(Change change) {
  while (true) {
    Status changed = change();
    if (changed || changed.error().code != ErrorCode::kReadOnly) return changed;
    if (handed_over_) {
      QUOIN_TRY(TakeBack());
    } else if (!is_owner()) {
      return changed;
    }
  }
}

Status Vdi::Write(uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  QUOIN_TRY(CheckWritable());
  if (offset > kMaxVdiBytes || bytes.size() > kMaxVdiBytes - offset) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("cannot write {} beyond 256 TiB, the largest size of a VDI", Title()));
  }
  if (copying_.load(std::memory_order_acquire)) QUOIN_TRY(SettleCopy());
  const Status written = Changing([&]() -> Status {
    const uint64_t end = offset + bytes.size();
    if (end > data_.size_bytes()) {
      QUOIN_TRY(data_.Grow((end + kSectorBytes - 1) / kSectorBytes * kSectorBytes));
    }
    return data_.Write(offset, bytes);
  });
  if (!written && written.error().code == ErrorCode::kLostOwnership && !handed_over_) {
    return Poison(written.error());
  }
  CountWrite();
  return written;
}

Status Vdi::Zero(uint64_t offset, uint64_t length) {
  QUOIN_TRY(CheckWritable());
  if (copying_.load(std::memory_order_acquire)) QUOIN_TRY(SettleCopy());
  QUOIN_TRY(Changing([&] { return data_.Zero(offset, length); }));
  CountWrite();
  return {};
}

Result<uint64_t> Vdi::SeekData(uint64_t offset) {
  QUOIN_TRY(CheckLease());
  return data_.SeekData(offset);
}
Result<uint64_t> Vdi::SeekHole(uint64_t offset) {
  QUOIN_TRY(CheckLease());
  return data_.SeekHole(offset);
}
uint64_t Vdi::data_blocks() const { return const_cast<DataPath&>(data_).data_blocks(); }

Attributes Vdi::attributes() const {
  MutexLock lock(state_mutex_);
  Attributes attributes = state_.vdi.attributes;
  attributes.mtime_ns = std::max(attributes.mtime_ns, mtime_ns_.load(std::memory_order_relaxed));
  attributes.ctime_ns = std::max(attributes.ctime_ns, attributes.mtime_ns);
  return attributes;
}

int64_t Vdi::created_ns() const {
  MutexLock lock(state_mutex_);
  return state_.vdi.created_ns;
}

// ------------------------------------------------------------------------------- recording

Vdi::Tenure Vdi::tenure() const {
  MutexLock lock(state_mutex_);
  if (lock_ == nullptr) return {};
  return {lock_->epoch(), lock_->record().kept_since};
}

Failure Vdi::Poison(const Error& error) {
  if (!failed_.exchange(true)) {
    spdlog::error("{}: {}; nothing is written to it any more until it is reopened", Title(),
                  error.what);
  }
  return Failure(error);
}

Status Vdi::RequireOwner() const {
  if (database_ != nullptr) return {};
  return Fail(ErrorCode::kReadOnly, fmt::format("{} is open for reading only", Title()));
}

Status Vdi::Flush() {
  const uint64_t mine = flush_requests_.fetch_add(1) + 1;
  MutexLock lock(state_mutex_);
  QUOIN_TRY(CheckWritable());
  // Someone who began after this request came has flushed for both.
  if (flushed_through_ >= mine) return {};
  // All that was written was made durable then; while it is just being handed over, that is to come.
  if (handed_over_ && database_ == nullptr) return {};
  QUOIN_TRY(RequireOwner());
  const uint64_t through = flush_requests_.load();
  QUOIN_TRY(Record(Extent::kWithHead, {}));
  flushed_through_ = through;
  return {};
}

// The durable steps of a flush and of a snapshot:
//   1. take the regions whose ownership changed (every block in them is already written)
//   2. fdatasync the layers, and their folder if a file is new
//   3. commit the regions, the layers' rows, the VDI's row and new snapshots in one transaction
// A crash before 3 leaves the recorded state: blocks that were not owned then are looked up below
// as before, so they show their old content; blocks that were show the old or the new bytes.
Status Vdi::Record(Extent extent, const std::vector<SnapshotRecord>& new_snapshots) {
  for (int n = 1;; ++n) {
    const size_t limit = n < kMaxRecordTransactions ? kRegionsPerTransaction
                                                    : std::numeric_limits<size_t>::max();
    QUOIN_ASSIGN(const bool is_last, RecordSome(extent, new_snapshots, limit));
    // What was recorded counts only if another host has not taken over before: a process that was stopped in
    // the last of these calls may have written to files that are not the VDI's any more.
    if (is_last) return CheckLease();
  }
}

Result<bool> Vdi::RecordSome(Extent extent, const std::vector<SnapshotRecord>& new_snapshots,
                             size_t limit_regions) {
  struct Taken {
    std::shared_ptr<Layer> layer;
    uint32_t seq;
    std::vector<RegionRecord> regions;
  };
  std::vector<Taken> taken;
  size_t room = limit_regions;
  const auto take = [&](const std::shared_ptr<Layer>& layer) QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    const auto record = std::find_if(state_.layers.begin(), state_.layers.end(), [&](const auto& l) {
      return l.name == layer->location().name;
    });
    std::vector<RegionRecord> regions = layer->ownership().TakeDirty(room);
    room -= regions.size();
    taken.push_back({layer, record->seq, std::move(regions)});
  };
  for (const auto& layer : unrecorded_) take(layer);
  if (extent == Extent::kWithHead) take(data_.head());
  const bool is_last = room > 0;
  const auto put_back = [&taken] {
    for (const Taken& t : taken) t.layer->ownership().MarkDirty(t.regions);
  };

  // After the regions: whatever they hold lies within this size.
  const uint64_t size_bytes = data_.size_bytes();
  bool changed = vdi_row_changed_ || size_bytes != state_.vdi.size_bytes ||
                 !new_snapshots.empty() || !unrecorded_.empty();
  for (const Taken& t : taken) {
    changed |= !t.regions.empty();
    // What is frozen may be much at once, of a guest that never flushes.
    const bool is_frozen = t.layer != data_.head();
    if (is_frozen) t.layer->BeginWriteOut(t.regions);
    Status synced = t.layer->Sync();
    // A row will name the head that was made for what lies above.
    if (synced && is_frozen) synced = data_.head()->SyncNames();
    if (!synced) {
      put_back();
      if (KeptHead* const kept = data_.head()->ownership().kept()) kept->NoteFailed();
      return Poison(synced.error());
    }
  }
  if (!changed) {
    // As in Commit: the sync may have ended after another host had copied what was there before.
    QUOIN_TRY(CheckLease());
    return true;
  }

  VdiRecord vdi = state_.vdi;
  vdi.size_bytes = size_bytes;
  vdi.attributes.mtime_ns = std::max(vdi.attributes.mtime_ns, mtime_ns_.load());
  vdi.attributes.ctime_ns = std::max(vdi.attributes.ctime_ns, vdi.attributes.mtime_ns);
  const auto commit = [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS -> Status {
    QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
    if (!unrecorded_.empty()) {
      for (const auto& frozen : unrecorded_) {
        for (const LayerRecord& layer : state_.layers) {
          if (layer.name == frozen->location().name) QUOIN_TRY(transaction.PutLayer(layer));
        }
      }
      QUOIN_TRY(transaction.PutLayer(*FindLayer(state_.vdi.head_seq)));
    }
    for (const Taken& t : taken) {
      if (!t.regions.empty()) QUOIN_TRY(transaction.PutOwnership(t.seq, t.regions));
    }
    for (const SnapshotRecord& snapshot : new_snapshots) {
      if (is_last) QUOIN_TRY(transaction.PutSnapshot(snapshot));
    }
    QUOIN_TRY(transaction.PutVdi(vdi));
    return Commit(transaction);
  };
  if (const Status committed = commit(); !committed) {
    put_back();
    // A full store has changed nothing: the same can be tried again. After any other failure
    // nobody knows what the storage kept.
    if (committed.error().code == ErrorCode::kNoSpace) return Failure(committed.error());
    if (KeptHead* const kept = data_.head()->ownership().kept()) kept->NoteFailed();
    return Poison(committed.error());
  }
  for (const Taken& t : taken) t.layer->ownership().NoteRecorded(t.regions);
  state_.vdi = vdi;
  vdi_row_changed_ = false;
  head_changed_ = true;
  if (!is_last) return false;
  state_.snapshots.insert(state_.snapshots.end(), new_snapshots.begin(), new_snapshots.end());
  for (const auto& layer : unrecorded_) {
    QUOIN_TRY(layer->Freeze());
    if (KeptHead* const kept = layer->ownership().kept()) kept->Drop();
    publish_needed_ = true;
  }
  unrecorded_.clear();
  publish_needed_ |= !new_snapshots.empty();
  return true;
}

// ------------------------------------------------------------------------------- publishing

// Only what others can read from files alone: frozen layers with their `.owned` file, snapshots of
// those. The head's row stays (a database has one head) but is marked as not published.
VdiState Vdi::PublishableState() const {
  VdiState state;
  state.vdi = state_.vdi;
  state.vdi.head_published = false;
  state.vdi.head_ownership_file.clear();
  const auto finished = [this](uint32_t seq) QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    for (; seq != 0;) {
      const LayerRecord* layer = FindLayer(seq);
      if (layer == nullptr) return false;
      if (layer->state == LayerState::kSealed) return true;
      if (!layer->has_ownership_file) return false;
      seq = layer->parent_seq;
    }
    return true;
  };
  for (const LayerRecord& layer : state_.layers) {
    if (layer.seq == state_.vdi.head_seq) {
      LayerRecord head = layer;
      while (!finished(head.parent_seq)) head.parent_seq = FindLayer(head.parent_seq)->parent_seq;
      state.layers.push_back(head);
    } else if (finished(layer.seq)) {
      state.layers.push_back(layer);
    }
  }
  for (const SnapshotRecord& snapshot : state_.snapshots) {
    if (snapshot.pending_group.IsNull() && finished(snapshot.layer_seq)) {
      state.snapshots.push_back(snapshot);
    }
  }
  return state;
}

Status Vdi::Publish() {
  QUOIN_TRY(WritePublished(files_, environment_.layout, folder_,
                           PublishableState()));
  publish_needed_ = facts_changed_ = false;
  return ForgetUnpublished(std::exchange(removed_layers_, {}));
}

// With many snapshots it takes a while to write them all, for which no flush should have to wait.
Status Vdi::PublishUnlocked() {
  VdiState state;
  std::vector<std::string> removed_layers;
  {
    MutexLock lock(state_mutex_);
    if (database_ == nullptr) return {};
    state = PublishableState();
    removed_layers = std::exchange(removed_layers_, {});
    publish_needed_ = facts_changed_ = false;
  }
  const Status written =
      WritePublished(files_, environment_.layout, folder_, state);
  MutexLock lock(state_mutex_);
  if (written) return ForgetUnpublished(removed_layers);
  removed_layers_.insert(removed_layers_.end(), removed_layers.begin(), removed_layers.end());
  publish_needed_ = true;
  return written;
}

void Vdi::NoteFactsChanged() {
  MutexLock lock(state_mutex_);
  if (database_ != nullptr) facts_changed_ = true;
}

Status Vdi::PublishFacts() {
  QUOIN_ASSIGN(VdiState state, ReadPublished(files_, folder_));
  {
    MutexLock lock(state_mutex_);
    if (database_ == nullptr) return {};
    facts_changed_ = false;
    // One that became smaller is published whole, when it is let go.
    state.vdi.size_bytes = std::max(state.vdi.size_bytes, data_.size_bytes());
    state.vdi.attributes = state_.vdi.attributes;
  }
  const Status written =
      WritePublished(files_, environment_.layout, folder_, state);
  if (written) return {};
  MutexLock lock(state_mutex_);
  facts_changed_ = true;
  return written;
}

// What is published now is without the head and without these layers, and all maps are in it.
Status Vdi::ForgetUnpublished(const std::vector<std::string>& removed_layers) {
  FileSystem& fs = files_;
  head_changed_ = true;
  if (!state_.vdi.head_ownership_file.empty()) {
    (void)fs.Remove(StoreLayout::Layers(folder_) + "/" + state_.vdi.head_ownership_file);
    state_.vdi.head_ownership_file.clear();
    state_.vdi.head_published = false;
    vdi_row_changed_ = true;
  }
  for (const std::string& layer : removed_layers) {
    QUOIN_TRY(Layer::RemoveFiles(fs, LayerLocation(layer)));
  }
  return Unpin();
}

Status Vdi::FinishFrozen() {
  MutexLock finishing(finish_mutex_);
  for (;;) {
    LayerRecord record;
    std::shared_ptr<const Layer> layer;
    bool only_publish = false;
    bool only_facts = false;
    {
      MutexLock lock(state_mutex_);
      if (database_ == nullptr || failed_) return {};
      const auto unfinished =
          std::find_if(state_.layers.begin(), state_.layers.end(),
                       [this](const LayerRecord& l) QUOIN_NO_THREAD_SAFETY_ANALYSIS {
            const bool recorded =
                std::none_of(unrecorded_.begin(), unrecorded_.end(),
                             [&](const auto& u) { return u->location().name == l.name; });
            return l.state == LayerState::kFrozen && !l.has_ownership_file && recorded;
          });
      only_publish = unfinished == state_.layers.end();
      if (only_publish && !publish_needed_ && !facts_changed_) {
        TellSealer();
        return {};
      }
      only_facts = only_publish && !publish_needed_;
      if (!only_publish) {
        record = *unfinished;
        QUOIN_ASSIGN(layer, OpenFrozenLayer(record));
      }
    }
    if (only_publish) {
      QUOIN_TRY(only_facts ? PublishFacts() : PublishUnlocked());
      continue;
    }
    QUOIN_TRY(ReplaceFile(files_,
                          Layer::OwnershipPath(LayerLocation(record.name)),
                          environment_.layout.NewTemporary(), layer->ownership().Encode()));
    // The first transaction says so as well; most layers need no other.
    for (uint64_t removed = kForgetRowsPerTransaction; removed == kForgetRowsPerTransaction;) {
      MutexLock lock(state_mutex_);
      if (database_ == nullptr) return {};
      if (FindLayer(record.seq) == nullptr) break;  // removed meanwhile, with its rows
      QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
      if (!record.has_ownership_file) {
        LayerRecord finished = record;
        finished.has_ownership_file = true;
        QUOIN_TRY(transaction.PutLayer(finished));
      }
      QUOIN_ASSIGN(removed, transaction.RemoveOwnership(record.seq, kForgetRowsPerTransaction));
      QUOIN_TRY(Commit(transaction));
      if (record.has_ownership_file) continue;
      record.has_ownership_file = true;
      for (LayerRecord& l : state_.layers) {
        if (l.seq == record.seq) l = record;
      }
      publish_needed_ = true;
    }
  }
}

}  // namespace quoin

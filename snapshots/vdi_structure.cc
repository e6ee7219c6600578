// What the owner changes in a VDI beyond its bytes: size, attributes, layers, snapshots.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include <algorithm>
#include <optional>
#include <set>

#include "blockstore/maps/content_digest.h"
#include "snapshots/layer_links.h"
#include "snapshots/snapshot_image.h"
#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

std::string UtcTime(int64_t now_ns) {
  const time_t seconds = now_ns / 1'000'000'000;
  tm broken_down{};
  ::gmtime_r(&seconds, &broken_down);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", broken_down.tm_year + 1900,
                     broken_down.tm_mon + 1, broken_down.tm_mday, broken_down.tm_hour,
                     broken_down.tm_min, broken_down.tm_sec);
}

}  // namespace

// ------------------------------------------------------------------------------- size, attributes

// Growing: the file first (a crash leaves it longer than recorded, which opening mends), then the
// row. Shrinking: zeros and the row in one transaction, then the file.
Status Vdi::Resize(uint64_t size_bytes) {
  if (size_bytes > kMaxVdiBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("cannot resize {}: {} bytes are more than 256 TiB, the largest size of a "
                            "VDI", Title(), size_bytes));
  }
  if (size_bytes % kSectorBytes != 0) {
    return Fail(ErrorCode::kInvalid, fmt::format("cannot resize {}: {} bytes are not a multiple of "
                                                 "512", Title(), size_bytes));
  }
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  QUOIN_TRY(CheckWritable());
  const uint64_t old_size = data_.size_bytes();
  if (size_bytes == old_size) return {};
  if (copying_) {
    // The end of a copy: a hole follows the last piece, in the origin as here.
    QUOIN_ASSIGN(const bool has_data,
                 data_.HasDataBelow(BlocksOf(old_size) * kBlockBytes, size_bytes));
    if (size_bytes > old_size && !has_data) {
      state_.vdi.copied_to_bytes = size_bytes;
    } else {
      QUOIN_TRY(SettleCopyLocked());
    }
  }
  if (size_bytes > old_size) {
    QUOIN_TRY(data_.Grow(size_bytes));
  } else {
    QUOIN_TRY(data_.Shrink(size_bytes));
  }
  CountWrite();
  QUOIN_TRY(Record(Extent::kWithHead, {}));
  return size_bytes < old_size ? data_.head()->Resize(size_bytes) : Status{};
}

Status Vdi::SetAttributes(const AttributeChange& change) {
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  Attributes& attributes = state_.vdi.attributes;
  const Attributes before = attributes;
  attributes.mtime_ns = std::max(attributes.mtime_ns, mtime_ns_.load());
  if (change.mode) attributes.mode = *change.mode & 07777;
  if (change.uid) attributes.uid = *change.uid;
  if (change.gid) attributes.gid = *change.gid;
  if (change.atime_ns) attributes.atime_ns = *change.atime_ns;
  if (change.mtime_ns) attributes.mtime_ns = *change.mtime_ns;
  mtime_ns_ = attributes.mtime_ns;
  attributes.ctime_ns = NowNanoseconds();
  vdi_row_changed_ = true;
  const Status recorded = Record(Extent::kFrozenOnly, {});
  if (!recorded) attributes = before;
  return recorded;
}

// ------------------------------------------------------------------------------- heads

Result<std::shared_ptr<Layer>> Vdi::MakeHead(uint64_t size_bytes) {
  const std::string name = fmt::format("{}-{}", state_.vdi.next_seq, lock_->epoch());
  const Layer::Location location = LayerLocation(name);
  // A failed attempt of this very session may have left files under this name.
  QUOIN_TRY(Layer::RemoveFiles(files_, location));
  QUOIN_ASSIGN(std::unique_ptr<Layer> made,
               Layer::Create(environment_.file_system, location, size_bytes,
                             std::make_unique<OwnershipSet>(
                                 MakeKept(state_.vdi.next_seq, name, size_bytes))));
  return std::shared_ptr<Layer>(std::move(made));
}

LayerRecord Vdi::NewHeadRecord(const Layer& head, uint32_t parent_seq) const {
  LayerRecord record;
  record.seq = static_cast<uint32_t>(std::stoul(head.location().name));  // "<seq>-<epoch>"
  record.parent_seq = parent_seq;
  record.state = LayerState::kHead;
  record.name = head.location().name;
  record.size_bytes = head.size_bytes();
  return record;
}

void Vdi::PushHead(std::shared_ptr<Layer> new_head) {
  const LayerRecord record = NewHeadRecord(*new_head, state_.vdi.head_seq);
  for (LayerRecord& layer : state_.layers) {
    if (layer.seq != state_.vdi.head_seq) continue;
    layer.state = LayerState::kFrozen;
    layer.size_bytes = data_.size_bytes();
  }
  state_.layers.push_back(record);
  state_.vdi.head_seq = record.seq;
  state_.vdi.next_seq = std::max(state_.vdi.next_seq, record.seq + 1);
  vdi_row_changed_ = true;
  unrecorded_.push_back(data_.head());
  // Before it is written to. The one that goes under stays live until it is recorded as frozen.
  if (KeptHead* const kept = new_head->ownership().kept()) kept->MakeLive(lock_->epoch());
  data_.PushHead(std::move(new_head));
}

Status Vdi::FreezeHead() {
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  QUOIN_TRY(CheckWritable());
  if (copying_) QUOIN_TRY(SettleCopyLocked());
  if (data_.head()->ownership().empty()) return {};
  QUOIN_ASSIGN(std::shared_ptr<Layer> new_head, MakeHead(data_.size_bytes()));
  {
    RequestGate::Closure closure(data_.gate());
    if (new_head->size_bytes() != data_.size_bytes()) {
      QUOIN_TRY(new_head->Resize(data_.size_bytes()));
    }
    PushHead(std::move(new_head));
  }
  const std::shared_ptr<Layer> frozen = unrecorded_.back();
  QUOIN_TRY(Record(Extent::kFrozenOnly, {}));
  return environment_.layer_cache.Adopt(frozen);
}

// ------------------------------------------------------------------------------- snapshots

Status Vdi::CheckNewSnapshotName(const std::string& name) const {
  QUOIN_TRY(ValidateSnapshotName(name));
  for (const SnapshotRecord& snapshot : state_.snapshots) {
    if (snapshot.name == name) {
      return Fail(ErrorCode::kExists,
                  fmt::format("cannot make snapshot {}@{}: the name is taken", Title(), name));
    }
  }
  return {};
}

Result<uint64_t> Vdi::BytesForSnapshot() const {
  constexpr uint64_t kFixedBytes = uint64_t{1} << 20;
  constexpr uint64_t kBytesPerScatteredBlock = 4;  // of runs; a region full of them becomes bits
  QUOIN_ASSIGN(const FileFacts published,
               environment_.file_system.Facts(StoreLayout::Published(folder_)));
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  const uint64_t blocks = data_.head()->ownership().data_blocks();
  const uint64_t list =
      std::min(blocks * kBytesPerScatteredBlock, BlocksOf(data_.size_bytes()) / 8);
  return kFixedBytes + 2 * (list + published.size_bytes);
}

SnapshotRecord Vdi::DescribeSnapshot(const std::string& name, int64_t now_ns) const {
  SnapshotRecord snapshot;
  snapshot.id = Id::Random();
  snapshot.name = name;
  snapshot.ordinal = state_.snapshots.empty() ? 1 : state_.snapshots.back().ordinal + 1;
  const LayerRecord* head = FindLayer(state_.vdi.head_seq);
  snapshot.layer_seq = data_.head()->ownership().empty() ? head->parent_seq : head->seq;
  snapshot.size_bytes = data_.size_bytes();
  snapshot.data_blocks = data_.VisibleDataBlocks();
  const LayerRecord* const top = FindLayer(snapshot.layer_seq);
  if (top != nullptr && top->state == LayerState::kSealed) {
    snapshot.digest = ContentDigest(snapshot.size_bytes, top->map);
  }
  snapshot.created_ns = now_ns;
  snapshot.attributes = state_.vdi.attributes;
  snapshot.attributes.mode &= ~0222u;
  snapshot.attributes.atime_ns = now_ns;
  snapshot.attributes.mtime_ns = now_ns;
  snapshot.attributes.ctime_ns = now_ns;
  return snapshot;
}

Result<SnapshotRecord> Vdi::FindSnapshot(const std::string& name) const {
  if (const SnapshotRecord* const found = index_.FindName(state_.snapshots, name)) return *found;
  return Fail(ErrorCode::kNotFound, fmt::format("{} has no snapshot {}", Title(), name),
              fmt::format("quoin snap ls {}", environment_.NameHint(id_)));
}

Result<std::shared_ptr<Image>> Vdi::OpenSnapshot(const Id& id) {
  const SnapshotRecord* const found = index_.FindId(state_.snapshots, id);
  if (found == nullptr || !found->pending_group.IsNull()) {
    return Fail(ErrorCode::kNotFound, "the snapshot has been removed");
  }
  QUOIN_ASSIGN(LayerStack stack, OpenStack(found->layer_seq, state_));
  return std::shared_ptr<Image>(std::make_shared<SnapshotImage>(
      std::move(stack), found->size_bytes, found->data_blocks));
}

Status Vdi::ChangeSnapshot(const SnapshotRecord& changed) {
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
  QUOIN_TRY(transaction.PutSnapshot(changed));
  QUOIN_TRY(Commit(transaction));
  for (SnapshotRecord& snapshot : state_.snapshots) {
    if (snapshot.id == changed.id) snapshot = changed;
  }
  publish_needed_ = true;
  return {};
}

std::vector<LayerRecord> Vdi::UnreachableLayers(
    const std::vector<SnapshotRecord>& snapshots) const {
  std::set<uint32_t> reachable;
  const auto mark = [&](uint32_t seq) QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    while (seq != 0 && reachable.insert(seq).second) {
      const LayerRecord* layer = FindLayer(seq);
      seq = layer == nullptr ? 0 : layer->parent_seq;
    }
  };
  mark(state_.vdi.head_seq);
  for (const SnapshotRecord& snapshot : snapshots) mark(snapshot.layer_seq);
  std::vector<LayerRecord> unreachable;
  for (const LayerRecord& layer : state_.layers) {
    if (reachable.count(layer.seq) == 0) unreachable.push_back(layer);
  }
  return unreachable;
}

// One transaction forgets the snapshot and the layers that only it needed. Later that is published, so
// that no reader elsewhere finds a layer's row without its files; then the files go.
Status Vdi::RemoveSnapshot(const std::string& name) {
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  QUOIN_ASSIGN(const SnapshotRecord snapshot, FindSnapshot(name));
  if (snapshot.is_protected) {
    const std::string vdi = environment_.NameHint(id_);
    return Fail(ErrorCode::kNotPermitted,
                fmt::format("cannot remove snapshot {}@{}: it is protected", vdi, name),
                fmt::format("quoin snap unprotect {}@{}", vdi, name));
  }
  if (!unrecorded_.empty()) QUOIN_TRY(Record(Extent::kFrozenOnly, {}));
  std::vector<SnapshotRecord> remaining = state_.snapshots;
  std::erase_if(remaining, [&](const SnapshotRecord& s) { return s.id == snapshot.id; });
  const std::vector<LayerRecord> unreachable = UnreachableLayers(remaining);
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
  QUOIN_TRY(transaction.RemoveSnapshot(snapshot.id));
  for (const LayerRecord& layer : unreachable) QUOIN_TRY(transaction.RemoveLayer(layer.seq));
  QUOIN_TRY(Commit(transaction));
  state_.snapshots = std::move(remaining);
  for (const LayerRecord& gone : unreachable) {
    std::erase_if(state_.layers, [&](const LayerRecord& l) { return l.seq == gone.seq; });
    if (gone.state != LayerState::kSealed) removed_layers_.push_back(gone.name);
  }
  publish_needed_ = true;
  environment_.removals.Count(unreachable);
  return {};
}

// One transaction: the old head is frozen under a safety snapshot, a new head lies over the
// snapshot's layers. Before it nothing has changed; after it everything has.
Result<std::string> Vdi::Rollback(const std::string& name) {
  MutexLock finishing(finish_mutex_);
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  QUOIN_TRY(CheckWritable());
  if (copying_) QUOIN_TRY(SettleCopyLocked());
  QUOIN_ASSIGN(const SnapshotRecord target, FindSnapshot(name));
  QUOIN_TRY(Record(Extent::kWithHead, {}));
  const int64_t now = NowNanoseconds();
  const std::string base_name = "before-rollback-" + UtcTime(now);
  std::string safety_name = base_name;
  for (int n = 2; !CheckNewSnapshotName(safety_name); ++n) {
    safety_name = fmt::format("{}-{}", base_name, n);
  }
  const SnapshotRecord safety = DescribeSnapshot(safety_name, now);
  QUOIN_ASSIGN(LayerStack below, OpenStack(target.layer_seq, state_));
  QUOIN_ASSIGN(const uint64_t data, below.CountData(0, BlocksOf(target.size_bytes)));
  QUOIN_ASSIGN(std::shared_ptr<Layer> new_head, MakeHead(target.size_bytes));
  QUOIN_TRY(new_head->Sync());

  LayerRecord old_head = *FindLayer(state_.vdi.head_seq);
  old_head.state = LayerState::kFrozen;
  old_head.size_bytes = data_.size_bytes();
  const bool old_head_needed = safety.layer_seq == old_head.seq;
  const LayerRecord head = NewHeadRecord(*new_head, target.layer_seq);
  VdiState changed = state_;
  changed.vdi.head_seq = head.seq;
  changed.vdi.next_seq = head.seq + 1;
  changed.vdi.size_bytes = target.size_bytes;
  changed.vdi.attributes.mtime_ns = changed.vdi.attributes.ctime_ns = now;
  if (old_head_needed) {
    for (LayerRecord& layer : changed.layers) {
      if (layer.seq == old_head.seq) layer = old_head;
    }
  } else {
    std::erase_if(changed.layers, [&](const LayerRecord& l) { return l.seq == old_head.seq; });
  }
  // That the VDI stands on it is to be recorded later than the safety snapshot.
  std::optional<LayerRecord> base;
  for (LayerRecord& layer : changed.layers) {
    if (layer.seq != target.layer_seq || !layer.is_recorded) continue;
    layer.is_recorded = false;
    base = layer;
  }
  changed.layers.push_back(head);
  changed.snapshots.push_back(safety);
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
  if (old_head_needed) {
    QUOIN_TRY(transaction.PutLayer(old_head));
  } else {
    QUOIN_TRY(transaction.RemoveLayer(old_head.seq));
  }
  if (base) QUOIN_TRY(transaction.PutLayer(*base));
  QUOIN_TRY(transaction.PutLayer(head));
  QUOIN_TRY(transaction.PutSnapshot(safety));
  QUOIN_TRY(transaction.PutVdi(changed.vdi));
  QUOIN_TRY(Commit(transaction));

  const std::shared_ptr<Layer> frozen = data_.head();
  state_ = std::move(changed);
  mtime_ns_ = now;
  if (KeptHead* const kept = frozen->ownership().kept()) kept->Drop();
  if (KeptHead* const kept = new_head->ownership().kept()) kept->MakeLive(lock_->epoch());
  data_.Replace({std::move(new_head), std::move(below), target.size_bytes, data});
  publish_needed_ = head_changed_ = true;
  if (old_head_needed) {
    QUOIN_TRY(frozen->Freeze());
    QUOIN_TRY(environment_.layer_cache.Adopt(frozen));
  } else {
    QUOIN_TRY(Layer::RemoveFiles(files_, frozen->location()));
  }
  return safety_name;
}

// ------------------------------------------------------------------------------- copies

// The layers are linked and opened first, and then become ours in one transaction: whatever fails,
// either nothing of them shows or the copy goes on.
Result<bool> Vdi::AdoptStack(const std::string& source_folder, const VdiState& source_state,
                             uint32_t top) {
  const uint32_t first_seq = state_.vdi.next_seq;
  QUOIN_ASSIGN(const std::vector<LayerRecord> linked,
               LinkLayers(environment_.file_system, source_folder, source_state, top, folder_,
                          lock_->epoch(), first_seq));
  VdiState changed = state_;
  changed.vdi.next_seq = first_seq + static_cast<uint32_t>(linked.size());
  changed.vdi.copy_origin = source_state.vdi.id;
  changed.vdi.copied_to_bytes = data_.size_bytes();
  LayerRecord head = *FindLayer(state_.vdi.head_seq);
  head.parent_seq = linked.empty() ? 0 : linked.back().seq;
  for (LayerRecord& layer : changed.layers) {
    if (layer.seq == head.seq) layer = head;
  }
  changed.layers.insert(changed.layers.end(), linked.begin(), linked.end());
  QUOIN_ASSIGN(LayerStack stack, OpenStack(head.parent_seq, changed));
  // What the target has already is holes; the origin's data must not come to light in them.
  QUOIN_ASSIGN(const uint64_t in_holes, stack.CountData(0, BlocksOf(data_.size_bytes())));
  if (in_holes > 0) {
    for (const LayerRecord& layer : linked) {
      QUOIN_TRY(Layer::RemoveFiles(files_, LayerLocation(layer.name)));
    }
    return false;
  }
  QUOIN_TRY(PinMapsOf(linked));
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
  for (const LayerRecord& layer : linked) QUOIN_TRY(transaction.PutLayer(layer));
  QUOIN_TRY(transaction.PutLayer(head));
  QUOIN_TRY(transaction.PutVdi(changed.vdi));
  QUOIN_TRY(Commit(transaction));
  state_ = std::move(changed);
  data_.Replace({data_.head(), std::move(stack), data_.size_bytes(), 0});
  copying_ = true;
  publish_needed_ = head_changed_ = true;
  QUOIN_TRY(Publish());
  return true;
}

Result<bool> Vdi::ShareRange(const std::string& source_folder, const VdiState& source_state,
                             uint32_t source_top, uint64_t source_size, uint64_t offset,
                             uint64_t end, bool may_adopt) {
  MutexLock finishing(finish_mutex_);
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  QUOIN_TRY(CheckWritable());
  const uint64_t size = data_.size_bytes();
  // Pieces come in order, each beyond what there is, with holes of the origin between them; and a
  // piece that ends inside a block must be the origin's end, or the block would be half another's.
  if (offset < size || source_top == 0 || size % kBlockBytes != 0 || offset % kBlockBytes != 0 ||
      (end % kBlockBytes != 0 && end != source_size) || source_size > kMaxVdiBytes) {
    return false;
  }
  if (!data_.head()->ownership().empty()) return false;
  if (copying_) {
    QUOIN_ASSIGN(const bool same, SharesStack(source_folder, source_state, source_top));
    if (!same) return false;
  } else {
    if (!may_adopt || !data_.below().empty() || !state_.snapshots.empty()) return false;
    QUOIN_ASSIGN(const bool adopted, AdoptStack(source_folder, source_state, source_top));
    if (!adopted) return false;
  }
  QUOIN_ASSIGN(const bool has_data_between, data_.HasDataBelow(size, offset));
  if (has_data_between) return false;
  QUOIN_TRY(data_.ShowBelow(end));
  state_.vdi.copied_to_bytes = end;
  CountWrite();
  return true;
}

// True if our stack is the source's: the same files, in the same order, over the same map.
Result<bool> Vdi::SharesStack(const std::string& source_folder, const VdiState& source_state,
                              uint32_t source_top) {
  uint32_t seq = source_top;
  for (const auto& layer : data_.below().frozen()) {
    const auto source = std::find_if(source_state.layers.begin(), source_state.layers.end(),
                                     [seq](const LayerRecord& l) { return l.seq == seq; });
    if (source == source_state.layers.end()) return false;
    if (source->state == LayerState::kSealed) return false;
    QUOIN_ASSIGN(const FileIdentity ours, layer->Identity());
    QUOIN_ASSIGN(const FileFacts theirs,
                 files_.Facts(StoreLayout::Layers(source_folder) + "/" +
                                                source->name));
    if (ours != theirs.identity) return false;
    seq = source->parent_seq;
  }
  const SealedLayer* const sealed = data_.below().sealed().get();
  if (sealed == nullptr || seq == 0) return sealed == nullptr && seq == 0;
  return std::any_of(source_state.layers.begin(), source_state.layers.end(),
                     [&](const LayerRecord& l) {
                       return l.seq == seq && l.state == LayerState::kSealed &&
                              l.map == sealed->root();
                     });
}

Status Vdi::SettleCopy() {
  MutexLock lock(state_mutex_);
  return copying_ ? SettleCopyLocked() : Status{};
}

Status Vdi::SettleCopyLocked() {
  QUOIN_TRY(data_.CutOffBelow());
  state_.vdi.copy_origin = Id();
  state_.vdi.copied_to_bytes = 0;
  vdi_row_changed_ = true;
  copying_ = false;
  return {};
}

}  // namespace quoin

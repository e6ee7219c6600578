// Snapshots, clones, rollback and copies, as the store's users ask for them.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "metadata/collection_lock.h"
#include "snapshots/group_snapshot.h"
#include "snapshots/layer_links.h"
#include "snapshots/snapshot_image.h"
#include "snapshots/stack_opening.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

// One CopyRange moves at most so much by reading and writing; the caller asks again.
constexpr uint64_t kMaxMovedBytes = uint64_t{64} << 20;
constexpr uint64_t kMovePieceBytes = uint64_t{1} << 20;

// One of a group that is not decided yet is not there yet. Null: not found.
Result<SnapshotRecord> Decided(const SnapshotRecord* found, const std::string& vdi,
                               const std::string& snapshot) {
  if (found != nullptr && found->pending_group.IsNull()) return *found;
  return Fail(ErrorCode::kNotFound, fmt::format("there is no snapshot {}@{}", vdi, snapshot),
              fmt::format("quoin snap ls {}", vdi));
}

// Only those that are decided.
Result<SnapshotRecord> FindIn(const std::vector<SnapshotRecord>& snapshots, const std::string& name,
                              const std::string& vdi) {
  const auto found = std::find_if(snapshots.begin(), snapshots.end(),
                                  [&](const auto& snapshot) { return snapshot.name == name; });
  return Decided(found == snapshots.end() ? nullptr : &*found, vdi, name);
}

}  // namespace

Status Store::CreateSnapshots(const std::vector<SnapshotName>& names) {
  if (names.empty()) return Fail(ErrorCode::kInvalid, "no snapshot was asked for");
  std::vector<NewSnapshot> asked;
  std::set<Id> seen;
  for (const SnapshotName& name : names) {
    QUOIN_TRY(ValidateSnapshotName(name.snapshot));
    QUOIN_ASSIGN(const NameFacts facts, Lookup(name.vdi));
    if (facts.is_folder) {
      return Fail(ErrorCode::kIsDirectory,
                  fmt::format("cannot snapshot {}: it is a folder, not a VDI", name.vdi));
    }
    if (!seen.insert(facts.vdi).second) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("cannot take two snapshots of {} in one instant", name.vdi));
    }
    asked.push_back({facts.vdi, name.snapshot});
  }
  QUOIN_TRY(shared_->TakeSnapshots(*this, asked));
  for (const NewSnapshot& a : asked) {
    shared_->environment.Tell([&](StoreObserver& o) { o.SnapshotChanged(a.vdi, a.name); });
  }
  return {};
}

Status Store::TakeSnapshotsHere(std::vector<NewSnapshot> asked, const Id& group, GroupSteps* steps) {
  std::sort(asked.begin(), asked.end(), [](const auto& a, const auto& b) { return a.vdi < b.vdi; });
  std::vector<GroupSnapshot::Member> members;
  uint64_t bytes_needed = 0;
  for (const NewSnapshot& a : asked) {
    QUOIN_ASSIGN(VdiHandle handle, OpenVdi(a.vdi, Access::kReadWrite));
    QUOIN_ASSIGN(const uint64_t needed, handle->BytesForSnapshot());
    bytes_needed += needed;
    QUOIN_TRY(RequireRoom(bytes_needed, handle->Title()));
    QUOIN_TRY(shared_->WaitForSealing(*handle));
    members.push_back({std::move(handle), a.name});
  }
  GroupSnapshot taking =
      steps == nullptr ? GroupSnapshot(shared_->environment, std::move(members))
                       : GroupSnapshot(shared_->environment, std::move(members), group, *steps);
  QUOIN_TRY(taking.Take());
  // Letting go of what was opened only for this; the snapshots are durable whatever comes of it.
  for (GroupSnapshot::Member& member : taking.members()) (void)member.handle.Close();
  for (const NewSnapshot& a : asked) {
    shared_->environment.Tell([&](StoreObserver& o) { o.SnapshotChanged(a.vdi, a.name); });
  }
  return {};
}

// A snapshot is recorded before it is published: on a store too full for the second it would be
// taken, and no other host would see it.
Status Store::RequireRoom(uint64_t bytes, const std::string& title) {
  QUOIN_ASSIGN(const SpaceFacts space, Space());
  if (space.available_bytes >= bytes) return {};
  return Fail(ErrorCode::kNoSpace,
              fmt::format("cannot take a snapshot of {}: the store has {} KiB of room left, and up to "
                          "{} KiB are needed", title, space.available_bytes >> 10, bytes >> 10),
              "quoin gc, or remove what is no longer needed");
}

Result<std::vector<SnapshotRecord>> Store::ListSnapshots(const Id& vdi) {
  if (const std::shared_ptr<Vdi> open = shared_->FindOpen(vdi)) {
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) {
      std::vector<SnapshotRecord> snapshots = open->state_.snapshots;
      std::erase_if(snapshots, [](const auto& s) { return !s.pending_group.IsNull(); });
      return snapshots;
    }
  }
  QUOIN_ASSIGN(const std::shared_ptr<const PublishedVdi> found, shared_->PublishedState(*this, vdi));
  return found->state.snapshots;
}

Result<SnapshotRecord> Store::FindSnapshot(const Id& vdi, const std::string& snapshot) {
  const auto answer = [&](const SnapshotRecord* found) {
    return Decided(found, shared_->environment.NameHint(vdi), snapshot);
  };
  if (const std::shared_ptr<Vdi> open = shared_->FindOpen(vdi)) {
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) {
      return answer(open->index_.FindName(open->state_.snapshots, snapshot));
    }
  }
  QUOIN_ASSIGN(const std::shared_ptr<const PublishedVdi> found, shared_->PublishedState(*this, vdi));
  return answer(found->FindSnapshot(snapshot));
}

Result<SnapshotRecord> Store::FindSnapshot(const Id& vdi, const Id& snapshot) {
  const auto answer = [&](const SnapshotRecord* found) {
    return Decided(found, shared_->environment.NameHint(vdi), snapshot.ToString());
  };
  if (const std::shared_ptr<Vdi> open = shared_->FindOpen(vdi)) {
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) {
      return answer(open->index_.FindId(open->state_.snapshots, snapshot));
    }
  }
  QUOIN_ASSIGN(const std::shared_ptr<const PublishedVdi> found, shared_->PublishedState(*this, vdi));
  return answer(found->FindSnapshot(snapshot));
}

Result<SnapshotRecord> Store::NewestSnapshot(const Id& vdi) {
  const auto answer = [](const SnapshotRecord* newest) -> Result<SnapshotRecord> {
    if (newest == nullptr) return Fail(ErrorCode::kNotFound, "the VDI has no snapshots");
    return *newest;
  };
  if (const std::shared_ptr<Vdi> open = shared_->FindOpen(vdi)) {
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) return answer(open->NewestSnapshot());
  }
  QUOIN_ASSIGN(const std::shared_ptr<const PublishedVdi> found, shared_->PublishedState(*this, vdi));
  const std::vector<SnapshotRecord>& snapshots = found->state.snapshots;
  return answer(snapshots.empty() ? nullptr : &snapshots.back());
}

Result<HistoryInfo> Store::DescribeHistory(const Id& vdi) {
  if (const std::shared_ptr<Vdi> open = shared_->FindOpen(vdi)) {
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) {
      const SnapshotRecord* const newest = open->NewestSnapshot();
      return HistoryInfo{open->state_.vdi.attributes, newest == nullptr
                                                          ? open->state_.vdi.created_ns
                                                          : newest->created_ns};
    }
  }
  const Result<std::shared_ptr<const PublishedVdi>> found = shared_->PublishedState(*this, vdi);
  if (!found) return Failure(shared_->CannotDescribe(vdi, found.error()));
  const VdiState& state = (*found)->state;
  return HistoryInfo{state.vdi.attributes, state.snapshots.empty()
                                               ? state.vdi.created_ns
                                               : state.snapshots.back().created_ns};
}

Status Store::RemoveSnapshot(const Id& vdi, const std::string& snapshot) {
  const OwnerRequest request{
      .verb = OwnerVerb::kRemoveSnapshot, .vdi = vdi, .snapshot = snapshot};
  QUOIN_TRY(shared_->AsOwner(*this, request, [&](Vdi& v) -> Status {
    QUOIN_TRY(v.RemoveSnapshot(snapshot));
    shared_->environment.finisher.Add(v.weak_from_this());
    return {};
  }));
  shared_->environment.Tell([&](StoreObserver& o) { o.SnapshotChanged(vdi, snapshot); });
  return {};
}

Status Store::RenameSnapshot(const Id& vdi, const std::string& snapshot,
                             const std::string& new_name) {
  const OwnerRequest request{.verb = OwnerVerb::kRenameSnapshot,
                             .vdi = vdi,
                             .snapshot = snapshot,
                             .new_name = new_name};
  QUOIN_TRY(shared_->AsOwner(*this, request, [&](Vdi& v) -> Status {
    MutexLock finishing(v.finish_mutex_);
    MutexLock lock(v.state_mutex_);
    QUOIN_ASSIGN(SnapshotRecord record, v.FindSnapshot(snapshot));
    QUOIN_TRY(v.CheckNewSnapshotName(new_name));
    record.name = new_name;
    QUOIN_TRY(v.ChangeSnapshot(record));
    return v.Publish();
  }));
  shared_->environment.Tell([&](StoreObserver& o) {
    o.SnapshotChanged(vdi, snapshot);
    o.SnapshotChanged(vdi, new_name);
  });
  return {};
}

Status Store::ProtectSnapshot(const Id& vdi, const std::string& snapshot, bool protect) {
  OwnerRequest request{.verb = OwnerVerb::kProtectSnapshot, .vdi = vdi, .snapshot = snapshot};
  request.flag = protect;
  return shared_->AsOwner(*this, request, [&](Vdi& v) -> Status {
    MutexLock finishing(v.finish_mutex_);
    MutexLock lock(v.state_mutex_);
    QUOIN_ASSIGN(SnapshotRecord record, v.FindSnapshot(snapshot));
    record.is_protected = protect;
    QUOIN_TRY(v.ChangeSnapshot(record));
    return v.Publish();
  });
}

Result<std::shared_ptr<Image>> Store::OpenSnapshot(const Id& vdi, const Id& snapshot) {
  // An owner knows all of its frozen layers, also those that it has not finished or cannot finish.
  if (const std::shared_ptr<Vdi> open = shared_->FindOpen(vdi)) {
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) return open->OpenSnapshot(snapshot);
  }
  const std::string folder = StoreLayout::Layers(shared_->environment.layout.Vdi(vdi));
  std::shared_ptr<Image> image;  // null: removed
  QUOIN_TRY(shared_->OfPublished(*this, vdi, [&](const PublishedVdi& found) -> Status {
    const SnapshotRecord* const record = found.FindSnapshot(snapshot);
    if (record == nullptr) return {};
    QUOIN_ASSIGN(LayerStack stack,
                 OpenLayerStack(shared_->environment, found.state, record->layer_seq,
                                [&](const LayerRecord& layer) {
                                  return shared_->environment.layer_cache.OpenFrozen(
                                      {folder, layer.name}, layer.size_bytes);
                                },
                                "snapshot " + record->name));
    image = std::make_shared<SnapshotImage>(std::move(stack), record->size_bytes,
                                            record->data_blocks);
    return {};
  }));
  if (image == nullptr) return Fail(ErrorCode::kNotFound, "the snapshot has been removed");
  return image;
}

Result<Id> Store::CloneVdi(const Id& vdi, const std::string& snapshot, const std::string& new_name,
                           const Attributes& attributes) {
  // From before the source is looked at until the clone is published: what it shows is referred to
  // by the one or the other whenever a collector looks.
  QUOIN_ASSIGN(
      const CollectionLock::SharedHold hold,
      shared_->environment.collection->HoldShared(shared_->environment.options.collector_wait));
  PublishedPatience patience(*shared_->environment.options.clock);
  while (true) {
    bool is_shown = false;
    Result<Id> clone = shared_->MakeClone(*this, vdi, snapshot, new_name, attributes, is_shown);
    if (clone || !is_shown || !patience.GoOn(clone.error())) return clone;
    shared_->published.Forget(vdi);
  }
}

// kNotFound with `is_shown` set: layers that the source's state names are not there.
Result<Id> Store::Shared::MakeClone(Store& store, const Id& vdi, const std::string& snapshot,
                                    const std::string& new_name, const Attributes& attributes,
                                    bool& is_shown) {
  QUOIN_ASSIGN(const VdiState source, SharedState(store, vdi));
  const std::string source_name = environment.NameHint(vdi);
  QUOIN_ASSIGN(const SnapshotRecord record, FindIn(source.snapshots, snapshot, source_name));
  bool stands_on_map = false;
  const auto add_layers = [&](NewVdi& made) -> Status {
    is_shown = true;
    QUOIN_ASSIGN(std::vector<LayerRecord> linked,
                 LinkLayers(environment.file_system, environment.layout.Vdi(vdi), source,
                            record.layer_seq, made.folder, made.state.vdi.epoch,
                            made.state.vdi.next_seq));
    is_shown = false;
    made.state.vdi.next_seq += static_cast<uint32_t>(linked.size());
    made.top_seq = linked.empty() ? 0 : linked.back().seq;
    stands_on_map = !linked.empty() && linked.back().state == LayerState::kSealed;
    made.state.layers = std::move(linked);
    made.state.vdi.data_blocks = record.data_blocks;
    made.state.vdi.parent_snapshot = record.id;
    made.state.vdi.parent_name = source_name + "@" + snapshot;
    return {};
  };
  const Result<Id> clone = MakeVdi(new_name, record.size_bytes, attributes, add_layers);
  // So that the packs say what it stands on. Other layers are sealed once it has been open.
  if (clone && stands_on_map) sealer->Consider(*clone, 0, true);
  return clone;
}

Result<std::string> Store::Rollback(const Id& vdi, const std::string& snapshot) {
  std::string safety;
  const OwnerRequest request{.verb = OwnerVerb::kRollback, .vdi = vdi, .snapshot = snapshot};
  OwnerAnswer told;
  QUOIN_TRY(shared_->AsOwner(*this, request, [&](Vdi& v) -> Status {
    MutexLock lock(v.lifecycle_mutex_);  // nobody opens it until it has been rolled back
    if (v.readers_ + v.writers_ > 1) {
      return Fail(ErrorCode::kBusy, fmt::format("cannot roll {} back: it is open", v.Title()),
                  "stop the guest that uses it first");
    }
    QUOIN_ASSIGN(safety, v.Rollback(snapshot));
    return {};
  }, &told));
  if (safety.empty()) safety = told.text;
  shared_->environment.Tell([&](StoreObserver& o) {
    o.ContentReplaced(vdi);
    o.SnapshotChanged(vdi, safety);
  });
  return safety;
}

// ------------------------------------------------------------------------------- copies

Result<bool> Store::Shared::ShareCopy(Store& store, const CopySource& source, Vdi& target,
                                      uint64_t offset, uint64_t end) {
  // The first piece makes the target refer to the source's maps: as for a clone, no collector must
  // decide meanwhile. Taken before any VDI's mutex, or two waits for a collector could cross.
  std::optional<CollectionLock::SharedHold> hold;
  if (!target.is_copying()) {
    QUOIN_ASSIGN(hold, environment.collection->HoldShared(environment.options.collector_wait));
  }
  uint32_t top = 0;
  uint64_t size = 0;
  VdiState state;
  VdiHandle owned;  // of a source that is a VDI: frozen as it is now, then let go again
  if (source.snapshot.IsNull()) {
    Result<VdiHandle> handle = store.OpenVdi(source.vdi, Access::kReadWrite);
    if (!handle) return false;  // another host writes it: its bytes can be read, not shared
    owned = std::move(*handle);
    QUOIN_TRY(owned->FreezeHead());
    QUOIN_TRY(owned->FinishFrozen());
    MutexLock lock(owned->state_mutex_);
    state = owned->state_;
    top = owned->FindLayer(state.vdi.head_seq)->parent_seq;
    size = owned->size_bytes();
  } else {
    QUOIN_ASSIGN(state, SharedState(store, source.vdi));
    const auto record = std::find_if(state.snapshots.begin(), state.snapshots.end(),
                                     [&](const auto& s) { return s.id == source.snapshot; });
    if (record == state.snapshots.end()) {
      return Fail(ErrorCode::kNotFound, "the snapshot has been removed");
    }
    top = record->layer_seq;
    size = record->size_bytes;
  }
  return target.ShareRange(environment.layout.Vdi(source.vdi), state, top, size, offset, end,
                           hold.has_value());
}

Result<uint64_t> Store::CopyRange(const CopySource& source, uint64_t source_offset,
                                  VdiHandle& target, uint64_t target_offset, uint64_t length) {
  std::shared_ptr<Image> image;
  VdiHandle source_handle;
  if (source.snapshot.IsNull()) {
    QUOIN_ASSIGN(source_handle, OpenVdi(source.vdi, Access::kRead));
    image = source_handle.vdi_;
  } else {
    QUOIN_ASSIGN(image, OpenSnapshot(source.vdi, source.snapshot));
  }
  const uint64_t source_size = image->size_bytes();
  if (source_offset >= source_size) return uint64_t{0};
  length = std::min(length, source_size - source_offset);
  const bool may_share = source_offset == target_offset && source.vdi != target->id();
  if (may_share) {
    QUOIN_ASSIGN(const bool shared,
                 shared_->ShareCopy(*this, source, *target, source_offset, source_offset + length));
    if (shared) return length;
  }
  return MoveBytes(*image, source_offset, *target, target_offset, length);
}

// Copies data as data and holes as holes, up to kMaxMovedBytes of data.
Result<uint64_t> Store::MoveBytes(Image& source, uint64_t source_offset, Vdi& target,
                                  uint64_t target_offset, uint64_t length) {
  std::vector<std::byte> buffer(kMovePieceBytes);
  uint64_t done = 0;
  uint64_t moved = 0;
  while (done < length && moved < kMaxMovedBytes) {
    const uint64_t at = source_offset + done;
    const Result<uint64_t> data = source.SeekData(at);
    if (!data && data.error().code != ErrorCode::kNoData) return Failure(data.error());
    const uint64_t hole_end = data ? std::min(*data, source_offset + length)
                                   : source_offset + length;
    if (hole_end > at) {
      const uint64_t end = target_offset + (hole_end - source_offset);
      const uint64_t end_sectors = (end + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
      if (end > target.size_bytes()) QUOIN_TRY(target.Resize(end_sectors));
      QUOIN_TRY(target.Zero(target_offset + done, hole_end - at));
      done = hole_end - source_offset;
      continue;
    }
    const uint64_t n = std::min(kMovePieceBytes, length - done);
    QUOIN_ASSIGN(const size_t got, source.Read(at, std::span(buffer).first(n)));
    if (got == 0) break;
    QUOIN_TRY(target.Write(target_offset + done, std::span(buffer).first(got)));
    done += got;
    moved += got;
  }
  return done;
}

}  // namespace quoin

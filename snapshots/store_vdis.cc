// Making, describing, changing and removing VDIs.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "blockstore/base/atomic_file.h"
#include "metadata/published.h"
#include "snapshots/layer_links.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

Status CheckSize(const std::string& name, uint64_t size_bytes) {
  if (size_bytes > kMaxVdiBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("cannot create vdis/{}: {} bytes are more than 256 TiB, the largest size "
                            "of a VDI", name, size_bytes));
  }
  if (size_bytes % kSectorBytes != 0) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot create vdis/{}: its size, {} bytes, is not a multiple of 512",
                            name, size_bytes),
                fmt::format("{} bytes would do", (size_bytes / kSectorBytes + 1) * kSectorBytes));
  }
  return {};
}

bool ChangesNothing(const AttributeChange& change, const Attributes& now) {
  return change.mode.value_or(now.mode) == now.mode && change.uid.value_or(now.uid) == now.uid &&
         change.gid.value_or(now.gid) == now.gid &&
         change.atime_ns.value_or(now.atime_ns) == now.atime_ns &&
         change.mtime_ns.value_or(now.mtime_ns) == now.mtime_ns;
}

// Until its lock is held, a store that is opened elsewhere may take a new folder for one whose maker
// died, and remove it; then it is made again.
constexpr int kNewFolderAttempts = 16;

Result<std::unique_ptr<WriterLock>> LockNewFolder(FileSystem& fs, const std::string& folder,
                                                  const HostIdentity& self) {
  QUOIN_TRY(fs.MakeDirectory(folder));
  QUOIN_ASSIGN(std::unique_ptr<WriterLock> lock, WriterLock::Create(fs, folder, self));
  QUOIN_TRY(lock->Verify());
  return lock;
}

}  // namespace

// The durable steps of making a VDI:
//   1. folder <id>.new with writer.lock (held), layers/, vdi.db, published.db, each synced, then
//      the folder and its parent
//   2. the name is linked: from here on the VDI exists
//   3. the folder gets its final name; whoever comes between finds it through SweepVdiFolders
// A crash before 2 leaves a folder that nobody names and nobody holds: swept.
Result<Id> Store::Shared::MakeVdi(const std::string& name, uint64_t size_bytes,
                                  const Attributes& attributes, const AddLayers& add_layers) {
  FileSystem& fs = environment.file_system;
  const StoreLayout& layout = environment.layout;
  QUOIN_TRY(ValidateVdiName(name));
  QUOIN_TRY(CheckSize(name, size_bytes));
  if (environment.names.Lookup(name)) {
    return Fail(ErrorCode::kExists, fmt::format("cannot create vdis/{}: the name is taken", name));
  }
  NewVdi made;
  Id id;
  Result<std::unique_ptr<WriterLock>> lock;
  for (int attempt = 1;; ++attempt) {
    id = Id::Random();
    made.folder = layout.UnfinishedVdi(id);
    lock = LockNewFolder(fs, made.folder, environment.self);
    if (lock) break;
    (void)RemoveTree(fs, made.folder);
    const ErrorCode code = lock.error().code;
    const bool was_swept =
        code == ErrorCode::kNotFound || code == ErrorCode::kExists || code == ErrorCode::kBusy ||
        code == ErrorCode::kLostOwnership;
    if (!was_swept || attempt == kNewFolderAttempts) return Failure(lock.error());
  }
  made.state.vdi.id = id;
  const auto fill = [&]() -> Status {
    QUOIN_TRY(FillFolder(made, **lock, size_bytes, attributes, add_layers));
    MutexLock names_lock(names_mutex);
    return environment.names.Claim(name, id);
  };
  if (const Status filled = fill(); !filled) {
    // Where a name could be neither made nor taken back, whoever opens the store finishes the VDI.
    const Result<NameFacts> named = environment.names.Lookup(name);
    if (!named || named->is_folder || named->vdi != id) (void)RemoveTree(fs, made.folder);
    return Failure(filled.error());
  }
  if (const Status renamed = fs.Rename(made.folder, layout.Vdi(id)); !renamed) {
    if (environment.names.Release(name)) (void)RemoveTree(fs, made.folder);
    return Failure(renamed.error());
  }
  QUOIN_TRY(fs.SyncDirectory(layout.Vdis()));
  (*lock)->FollowFolder(layout.Vdi(id));
  QUOIN_TRY((*lock)->ReleaseClean());
  environment.SetNameHint(id, name);
  environment.Tell([&](StoreObserver& o) { o.NameChanged(name); });
  return id;
}

Status Store::Shared::FillFolder(NewVdi& made, const WriterLock& lock, uint64_t size_bytes,
                                 const Attributes& attributes, const AddLayers& add_layers) {
  FileSystem& fs = environment.file_system;
  const StoreLayout& layout = environment.layout;
  QUOIN_TRY(fs.MakeDirectory(StoreLayout::Layers(made.folder)));
  VdiRecord& vdi = made.state.vdi;
  vdi.size_bytes = size_bytes;
  vdi.attributes = attributes;
  vdi.created_ns = NowNanoseconds();
  vdi.attributes.atime_ns = vdi.attributes.mtime_ns = vdi.attributes.ctime_ns = vdi.created_ns;
  vdi.epoch = lock.epoch();
  vdi.head_published = true;
  QUOIN_TRY(add_layers(made));
  LayerRecord head;
  head.seq = vdi.head_seq = vdi.next_seq++;
  head.parent_seq = made.top_seq;
  head.state = LayerState::kHead;
  head.name = fmt::format("{}-{}", head.seq, lock.epoch());
  head.size_bytes = size_bytes;
  made.state.layers.push_back(head);
  QUOIN_ASSIGN(const std::unique_ptr<Layer> layer,
               Layer::Create(fs, {StoreLayout::Layers(made.folder), head.name}, size_bytes));
  QUOIN_TRY(layer->Sync());
  {
    QUOIN_ASSIGN(const std::unique_ptr<VdiDatabase> database,
                 VdiDatabase::Create(fs, StoreLayout::Database(made.folder), made.state));
    QUOIN_TRY(database->Checkpoint());
  }
  QUOIN_TRY(WritePublished(fs, layout, made.folder, made.state));
  QUOIN_TRY(fs.SyncDirectory(made.folder));
  QUOIN_TRY(fs.SyncDirectory(layout.Vdis()));
  return {};
}

// The durable steps of making a VDI again:
//   1. a folder as above, under a name by which nobody takes it for a VDI that is being created:
//      names lead to the VDI already
//   2. the folder gets its final name
// A crash before 2 leaves a folder that the next rebuild begins anew, and names that lead nowhere, as
// before.
Status Store::Shared::RemakeVdi(const Id& id, uint64_t size_bytes, const Attributes& attributes,
                                const AddLayers& add_layers) {
  FileSystem& fs = environment.file_system;
  const StoreLayout& layout = environment.layout;
  NewVdi made;
  made.state.vdi.id = id;
  made.folder = layout.RebuiltVdi(id);
  QUOIN_TRY(RemoveTree(fs, made.folder));
  QUOIN_ASSIGN(const std::unique_ptr<WriterLock> lock,
               LockNewFolder(fs, made.folder, environment.self));
  const Status filled = FillFolder(made, *lock, size_bytes, attributes, add_layers);
  if (!filled) {
    (void)RemoveTree(fs, made.folder);
    return filled;
  }
  QUOIN_TRY(fs.Rename(made.folder, layout.Vdi(id)));
  QUOIN_TRY(fs.SyncDirectory(layout.Vdis()));
  lock->FollowFolder(layout.Vdi(id));
  return lock->ReleaseClean();
}

Result<Id> Store::CreateVdi(const std::string& name, uint64_t size_bytes,
                            const Attributes& attributes) {
  return shared_->MakeVdi(name, size_bytes, attributes,
                          [](Shared::NewVdi&) -> Status { return {}; });
}

// The durable steps of a removal:
//   1. the folder is renamed to <id>.removed: from here on the VDI is gone
//   2. the name goes, then the files; what a crash leaves is swept
Status Store::RemoveVdi(const std::string& name, bool with_snapshots) {
  QUOIN_ASSIGN(const NameFacts facts, Lookup(name));
  if (facts.is_folder) {
    return Fail(ErrorCode::kIsDirectory, fmt::format("cannot remove vdis/{}: it is a folder", name));
  }
  const std::shared_ptr<Vdi> vdi = shared_->GetVdi(facts.vdi);
  QUOIN_TRY(vdi->RemoveAsOwner(name, with_snapshots));
  shared_->published.Forget(facts.vdi);
  shared_->sealer->Consider(facts.vdi, 0, false);
  shared_->environment.Tell([&](StoreObserver& o) { o.NameChanged(name); });
  return {};
}

Result<std::shared_ptr<const PublishedVdi>> Store::Shared::PublishedState(Store& store,
                                                                          const Id& id) {
  const std::string folder = environment.layout.Vdi(id);
  if (last_owners.DiedHere(folder)) {
    // Opening for reading recovers and publishes what a process that died here had flushed. Where
    // the store is too full for that, what was recovered stays open as long as it is looked at.
    struct Unpublished {
      VdiHandle reader;
      PublishedVdi vdi;
    };
    if (Result<VdiHandle> reader = store.OpenVdi(id, Access::kRead)) {
      if (std::optional<PublishedVdi> vdi = (*reader)->UnpublishedState()) {
        auto found = std::make_shared<Unpublished>();
        found->reader = std::move(*reader);
        found->vdi = std::move(*vdi);
        const PublishedVdi* const state = &found->vdi;
        return std::shared_ptr<const PublishedVdi>(std::move(found), state);
      }
    }
  }
  return published.Get(id, folder);
}

Result<VdiState> Store::Shared::SharedState(Store& store, const Id& id) {
  if (const std::shared_ptr<Vdi> open = FindOpen(id)) {
    QUOIN_TRY(open->FinishFrozen());
    MutexLock lock(open->state_mutex_);
    if (KnowsNewest(*open)) return open->PublishableState();
  }
  QUOIN_ASSIGN(const std::shared_ptr<const PublishedVdi> found, PublishedState(store, id));
  return found->state;
}

Error Store::Shared::CannotDescribe(const Id& id, Error why) const {
  const std::string name = environment.NameHint(id);
  why.what = fmt::format("cannot describe {}: {}",
                         name.empty() ? "VDI " + id.ToString() : "vdis/" + name, why.what);
  return why;
}

Result<VdiInfo> Store::Describe(const Id& id) {
  VdiInfo info;
  info.id = id;
  const auto take = [&info](const VdiState& state) {
    info.size_bytes = state.vdi.size_bytes;
    info.data_blocks = state.vdi.data_blocks;
    info.layers = state.layers.size();
    info.snapshots = state.snapshots.size();
    info.attributes = state.vdi.attributes;
    info.created_ns = state.vdi.created_ns;
    info.parent_snapshot = state.vdi.parent_snapshot;
    info.parent_name = state.vdi.parent_name;
  };
  bool live = false;
  const std::shared_ptr<Vdi> open = shared_->FindOpen(id);
  if (open != nullptr && !open->becoming_owner_) {  // else as DescribeFile has it
    {
      MutexLock lock(open->lifecycle_mutex_);
      info.open_for_writing = open->writers_;
      info.open_handles = open->writers_ + open->readers_;
    }
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) {
      live = true;
      take(open->state_);
      const FileInfo file = shared_->FileOf(*open);
      info.size_bytes = file.size_bytes;
      info.data_blocks = file.data_blocks;
      info.attributes = file.attributes;
      info.unique_blocks = open->data_.head()->ownership().data_blocks();
      info.writer = open->lock_->record();
    }
  }
  if (!live) {
    const Result<std::shared_ptr<const PublishedVdi>> found = shared_->PublishedState(*this, id);
    if (!found) return Failure(shared_->CannotDescribe(id, found.error()));
    take((*found)->state);
    info.unique_blocks = (*found)->head_data_blocks;
    const Result<LockStatus> lock = InspectLock(id);
    if (lock && !lock->damaged && lock->held) info.writer = lock->record;
  }
  info.shared_blocks =
      info.data_blocks > info.unique_blocks ? info.data_blocks - info.unique_blocks : 0;
  return info;
}

FileInfo Store::Shared::FileOf(const Vdi& open) {
  FileInfo file{open.size_bytes(), open.data_blocks(), open.state_.vdi.attributes, false};
  file.attributes.mtime_ns = std::max(file.attributes.mtime_ns, open.mtime_ns_.load());
  file.attributes.ctime_ns = std::max(file.attributes.ctime_ns, file.attributes.mtime_ns);
  return file;
}

// While a VDI is opened for writing its mutexes may be held for as long as it takes to copy a dead owner's
// head; until then it is what is published.
Result<FileInfo> Store::DescribeFile(const Id& id) {
  const std::shared_ptr<Vdi> open = shared_->FindOpen(id);
  const bool is_passing = open != nullptr && open->becoming_owner_;
  if (open != nullptr && !is_passing) {
    MutexLock lock(open->state_mutex_);
    if (shared_->KnowsNewest(*open)) return shared_->FileOf(*open);
  }
  const Result<std::shared_ptr<const PublishedVdi>> found = shared_->PublishedState(*this, id);
  if (!found) return Failure(shared_->CannotDescribe(id, found.error()));
  const VdiRecord& vdi = (*found)->state.vdi;
  return FileInfo{vdi.size_bytes, vdi.data_blocks, vdi.attributes, is_passing};
}

bool Store::Shared::KnowsNewest(const Vdi& open) {
  if (open.knows_state()) return true;
  if (open.database_ == nullptr) return false;
  const Result<std::shared_ptr<const PublishedVdi>> found =
      published.Get(open.id(), environment.layout.Vdi(open.id()));
  return found && (*found)->state.vdi.epoch <= open.state_.vdi.epoch;
}

void Store::Shared::PublishFactsSoon(Vdi& vdi) {
  vdi.NoteFactsChanged();
  environment.finisher.Add(vdi.weak_from_this());
}

Status Store::ResizeVdi(const Id& id, uint64_t size_bytes, bool allow_shrink,
                        bool through_handle) {
  OwnerRequest request{.verb = OwnerVerb::kResize, .vdi = id};
  request.size_bytes = size_bytes;
  request.flag = allow_shrink;
  QUOIN_TRY(shared_->AsOwner(*this, request, [&](Vdi& vdi) -> Status {
    const uint64_t present = vdi.size_bytes();
    if (size_bytes < present && !allow_shrink) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("cannot resize {}: {} bytes are fewer than its {}, and what lies beyond "
                              "would be lost", vdi.Title(), size_bytes, present),
                  "say --shrink if that is what you want");
    }
    if (size_bytes < present) {
      MutexLock lock(vdi.lifecycle_mutex_);  // nobody opens it until it has been cut
      const uint64_t others = vdi.readers_ + vdi.writers_ - 1;  // one is ours
      if (others > (through_handle ? 1u : 0u)) {
        return Fail(ErrorCode::kBusy,
                    fmt::format("cannot shrink {}: it is open", vdi.Title()),
                    "stop the guest that uses it first");
      }
      return vdi.Resize(size_bytes);
    }
    QUOIN_TRY(vdi.Resize(size_bytes));
    shared_->PublishFactsSoon(vdi);
    return {};
  }));
  shared_->environment.Tell([&](StoreObserver& o) { o.SizeOrAttributesChanged(id); });
  return {};
}

// The end of a migration that waits asks for the owner that the disk has, while the other end is writing:
// asking for what is so already takes no right to change it.
Status Store::SetAttributes(const Id& id, const AttributeChange& change) {
  const Result<VdiInfo> now = Describe(id);
  const bool is_anothers = now && now->writer && now->writer->session != self().session;
  if (is_anothers && ChangesNothing(change, now->attributes)) return {};
  OwnerRequest request{.verb = OwnerVerb::kSetAttributes, .vdi = id};
  request.attributes = change;
  QUOIN_TRY(shared_->AsOwner(*this, request, [&](Vdi& vdi) -> Status {
    QUOIN_TRY(vdi.SetAttributes(change));
    shared_->PublishFactsSoon(vdi);
    return {};
  }));
  shared_->environment.Tell([&](StoreObserver& o) { o.SizeOrAttributesChanged(id); });
  return {};
}

}  // namespace quoin

// Opening a store, names, and the table of open VDIs.
#include "snapshots/store.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "blockstore/base/atomic_file.h"
#include "snapshots/store_shared.h"

namespace quoin {

int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// ------------------------------------------------------------------------------- handles

VdiHandle::~VdiHandle() { (void)Close(); }

VdiHandle::VdiHandle(VdiHandle&& other) noexcept
    : vdi_(std::move(other.vdi_)), access_(other.access_) {
  other.vdi_.reset();
}

VdiHandle& VdiHandle::operator=(VdiHandle&& other) noexcept {
  if (this != &other) {
    (void)Close();
    vdi_ = std::move(other.vdi_);
    access_ = other.access_;
    other.vdi_.reset();
  }
  return *this;
}

Status VdiHandle::Close() {
  if (vdi_ == nullptr) return {};
  const Status status = vdi_->DropHandle(access_);
  vdi_.reset();
  return status;
}

// ------------------------------------------------------------------------------- opening

Store::Store(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}

Store::~Store() {
  // Without its lease nobody comes to an end by waiting for it.
  if (!shared_->environment.lease.IsValid()) shared_->environment.lease.End();
  shared_->inbox.reset();
  {
    std::unordered_map<Id, std::shared_ptr<GroupParticipant>, IdHash> last;
    MutexLock lock(shared_->groups_mutex);
    last.swap(shared_->groups);
  }
  shared_->follower.reset();
  shared_->collector.reset();
  shared_->environment.finisher.Stop();  // it tells the sealer of what it has finished
  shared_->sealer.reset();
  shared_->environment.sealer = nullptr;
  shared_->temporaries_lock.reset();
  (void)RemoveTree(shared_->environment.file_system, shared_->environment.layout.Temporaries());
  shared_->environment.lease.End();
}

Result<std::unique_ptr<Store>> Store::Open(FileSystem& file_system, const std::string& root,
                                           HostIdentity self, StoreOptions options) {
  QUOIN_ASSIGN(Superblock superblock, ReadSuperblock(file_system, root));
  return OpenWith(file_system, root, std::move(self), std::move(options), std::move(superblock));
}

Result<std::unique_ptr<Store>> Store::OpenWith(FileSystem& file_system, const std::string& root,
                                               HostIdentity self, StoreOptions options,
                                               Superblock superblock) {
  QUOIN_TRY(CompleteStore(file_system, root));
  std::unique_ptr<Store> store(new Store(std::make_unique<Shared>(
      file_system, root, std::move(self), options, std::move(superblock))));
  QUOIN_TRY(store->shared_->TakeTemporaries());
  QUOIN_TRY(store->shared_->SweepTemporaries());
  StoreEnvironment& environment = store->shared_->environment;
  const Superblock& opened = store->shared_->superblock;
  const std::optional<Compression> compression = CompressionFromWord(opened.compression);
  environment.compression = compression.value_or(Compression::kLz4);  // the superblock was checked
  environment.store_id = opened.store_id;
  QUOIN_ASSIGN(environment.collection, CollectionLock::Open(file_system, environment.layout));
  if (options.announces_itself) QUOIN_TRY(environment.lease.Begin());
  store->shared_->sealer =
      std::make_unique<Sealer>(*store, environment, options.seals_in_background, options.seal_delay);
  environment.sealer = store->shared_->sealer.get();
  QUOIN_TRY(store->shared_->SweepVdiFolders());
  store->shared_->SweepGroups(*store);
  if (options.seals_in_background) {
    store->shared_->collector = std::make_unique<BackgroundCollector>(*store, environment);
  }
  // A store that is driven step by step has no thread that could answer.
  if (options.announces_itself && options.finishes_in_background) {
    QUOIN_TRY(store->shared_->OpenInbox(*store));
  }
  return store;
}

const Superblock& Store::superblock() const { return shared_->superblock; }
const std::string& Store::root() const { return shared_->environment.layout.root(); }
const HostIdentity& Store::self() const { return shared_->environment.self; }

// Whoever caches what it reads needs to be told of what other owners leave. The follower is gone before the
// observer is.
void Store::SetObserver(StoreObserver* observer) {
  shared_->follower.reset();
  shared_->environment.observer.store(observer, std::memory_order_release);
  if (observer == nullptr || !shared_->environment.options.announces_itself) return;
  shared_->follower = std::make_unique<PublishedFollower>(
      kFollowInterval, [shared = shared_.get()] { shared->FollowPublished(); });
}

std::shared_ptr<Vdi> Store::Shared::FindOpen(const Id& id) {
  MutexLock lock(table_mutex);
  const auto found = open_vdis.find(id);
  return found == open_vdis.end() ? nullptr : found->second.lock();
}

std::shared_ptr<Vdi> Store::Shared::GetVdi(const Id& id) {
  MutexLock lock(table_mutex);
  std::weak_ptr<Vdi>& slot = open_vdis[id];
  std::shared_ptr<Vdi> vdi = slot.lock();
  if (vdi == nullptr) {
    vdi = std::make_shared<Vdi>(environment, id, environment.layout.Vdi(id));
    slot = vdi;
    std::erase_if(open_vdis, [](const auto& entry) { return entry.second.expired(); });
  }
  return vdi;
}

std::vector<std::shared_ptr<Vdi>> Store::Shared::AllOpen() {
  std::vector<std::shared_ptr<Vdi>> open;
  MutexLock lock(table_mutex);
  for (const auto& [id, slot] : open_vdis) {
    if (std::shared_ptr<Vdi> vdi = slot.lock()) open.push_back(std::move(vdi));
  }
  return open;
}

void Store::Shared::LookAfterLapse() {
  // Whoever took over from us has removed our temporaries.
  const Result<bool> there = PathExists(environment.storage, environment.layout.TemporariesLock());
  if (there && !*there) {
    temporaries_lock.reset();
    if (const Status taken = TakeTemporaries(); !taken) spdlog::error("{}", taken.error().what);
  }
  for (const std::shared_ptr<Vdi>& vdi : AllOpen()) {
    if (vdi->KeepsOwnership()) continue;
    environment.Tell([&](StoreObserver& o) { o.ContentReplaced(vdi->id()); });
  }
}

void Store::Shared::TellOfNewContent(Vdi& vdi) {
  if (!vdi.TakeNewContent()) return;
  environment.Tell([&](StoreObserver& o) {
    o.ContentReplaced(vdi.id());
    o.SizeOrAttributesChanged(vdi.id());
  });
}

void Store::Shared::FollowPublished() {
  for (const std::shared_ptr<Vdi>& vdi : AllOpen()) {
    vdi->FollowPublished();
    TellOfNewContent(*vdi);
  }
}

uint64_t Store::Shared::CountRequests() {
  uint64_t requests = 0;
  for (const std::shared_ptr<Vdi>& vdi : AllOpen()) requests += vdi->requests();
  return requests;
}

void Store::Shared::PublishAll() {
  for (const std::shared_ptr<Vdi>& vdi : AllOpen()) {
    if (const Status finished = vdi->FinishFrozen(); !finished) {
      spdlog::warn("vdi {}: its snapshots are not published yet: {}", vdi->id().ToString(),
                   finished.error().what);
    }
  }
}

void Store::FlushAll() {
  for (const std::shared_ptr<Vdi>& vdi : shared_->AllOpen()) {
    if (!vdi->is_owner()) continue;
    Status flushed = vdi->Flush();
    if (flushed) flushed = vdi->FinishFrozen();
    if (!flushed) {
      spdlog::warn("vdi {} is not flushed: {}", vdi->id().ToString(), flushed.error().what);
    }
  }
}

Result<VdiHandle> Store::OpenVdi(const Id& id, Access access) {
  const std::shared_ptr<Vdi> vdi = shared_->GetVdi(id);
  const Status added = vdi->AddHandle(access);
  shared_->TellOfNewContent(*vdi);
  QUOIN_TRY(added);
  return VdiHandle(vdi, access);
}

uint64_t Store::open_vdis() const {
  MutexLock lock(shared_->table_mutex);
  uint64_t count = 0;
  for (const auto& [id, vdi] : shared_->open_vdis) count += vdi.expired() ? 0 : 1;
  return count;
}

bool Store::IsOpenForWriting(const Id& id) {
  const std::shared_ptr<Vdi> vdi = shared_->FindOpen(id);
  if (vdi == nullptr) return false;
  MutexLock lock(vdi->lifecycle_mutex_);
  return vdi->writers_ > 0;
}

// ------------------------------------------------------------------------------- names

Result<NameFacts> Store::Lookup(const std::string& name) {
  QUOIN_ASSIGN(const NameFacts facts, shared_->environment.names.Lookup(name));
  if (!facts.is_folder) shared_->environment.SetNameHint(facts.vdi, name);
  return facts;
}

Result<std::vector<NameEntry>> Store::List(const std::string& folder) {
  return shared_->environment.names.List(folder);
}

Result<std::vector<NamedVdi>> Store::ListAll(const std::string& folder,
                                             std::vector<std::string>* damaged) {
  return shared_->environment.names.ListAll(folder, damaged);
}

Result<std::string> Store::NameOf(const Id& id) {
  const std::string hint = shared_->environment.NameHint(id);
  if (!hint.empty()) {
    const Result<NameFacts> facts = Lookup(hint);
    if (facts && !facts->is_folder && facts->vdi == id) return hint;
  }
  QUOIN_ASSIGN(const std::vector<NamedVdi> all, ListAll(""));
  for (const NamedVdi& named : all) {
    if (named.id != id) continue;
    shared_->environment.SetNameHint(id, named.name);
    return named.name;
  }
  return Fail(ErrorCode::kNotFound, fmt::format("no name leads to VDI {}", id.ToString()));
}

Status Store::MakeFolder(const std::string& folder) {
  {
    MutexLock lock(shared_->names_mutex);
    QUOIN_TRY(shared_->environment.names.MakeFolder(folder));
  }
  shared_->environment.Tell([&](StoreObserver& o) { o.NameChanged(folder); });
  return {};
}

Status Store::RemoveFolder(const std::string& folder) {
  {
    MutexLock lock(shared_->names_mutex);
    QUOIN_TRY(shared_->environment.names.RemoveFolder(folder));
  }
  shared_->environment.Tell([&](StoreObserver& o) { o.NameChanged(folder); });
  return {};
}

Status Store::Rename(const std::string& from, const std::string& to) {
  QUOIN_ASSIGN(const NameFacts facts, Lookup(from));
  if (facts.is_folder) {
    MutexLock lock(shared_->names_mutex);
    QUOIN_TRY(shared_->environment.names.RenameFolder(from, to));
  } else {
    QUOIN_TRY(ValidateVdiName(to));
    // As the owner: whoever finds a VDI under two names after a crash may then tidy up alone.
    QUOIN_TRY(shared_->AsOwnerHere(*this, facts.vdi, [&](Vdi&) -> Status {
      MutexLock lock(shared_->names_mutex);
      const Names& names = shared_->environment.names;
      // A renaming of these two that was cut short has left both.
      const Result<NameFacts> there = names.Lookup(to);
      if (there && !there->is_folder && there->vdi == facts.vdi && to != from) {
        QUOIN_ASSIGN(const std::vector<std::string> left, names.ResolveDouble(facts.vdi));
        if (left == std::vector<std::string>{to}) return {};
      }
      Status renamed = names.Rename(from, to);
      if (!renamed && renamed.error().code == ErrorCode::kExists) {
        return Fail(ErrorCode::kExists,
                    fmt::format("cannot rename vdis/{} to vdis/{}: that name is taken", from, to));
      }
      return renamed;
    }));
    shared_->environment.SetNameHint(facts.vdi, to);
  }
  shared_->environment.Tell([&](StoreObserver& o) {
    o.NameChanged(from);
    o.NameChanged(to);
  });
  return {};
}

// ------------------------------------------------------------------------------- locks, space

Result<LockStatus> Store::InspectLock(const Id& vdi) {
  return WriterLock::Inspect(shared_->environment.storage,
                             shared_->environment.layout.Vdi(vdi));
}

Status Store::BreakLock(const std::string& name) {
  QUOIN_ASSIGN(const NameFacts facts, Lookup(name));
  if (facts.is_folder) {
    return Fail(ErrorCode::kIsDirectory, fmt::format("cannot break the lock of {}: it is a folder",
                                                     name));
  }
  return WriterLock::Break(shared_->environment.storage,
                           shared_->environment.layout.Vdi(facts.vdi), name,
                           shared_->environment.self);
}

Result<SpaceFacts> Store::Space() { return shared_->environment.file_system.Space(root()); }

}  // namespace quoin

#include "snapshots/store_rebuild.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "metadata/published.h"
#include "metadata/vdi_database.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

constexpr std::string_view kUnfinishedSuffix = ".rebuilt";
constexpr int kMaxPutAside = 1000;

// Of "a/b/c": "a", "a/b".
std::vector<std::string> ParentsOf(const std::string& name) {
  std::vector<std::string> parents;
  for (size_t slash = name.find('/'); slash != std::string::npos;
       slash = name.find('/', slash + 1)) {
    parents.push_back(name.substr(0, slash));
  }
  return parents;
}

// A failure to read of which the next attempt may know nothing.
bool IsDamageOrAbsence(const Error& error) {
  return error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kNotFound;
}

}  // namespace

bool RebuildReport::IsDamaged() const {
  return std::any_of(left_out.begin(), left_out.end(),
                     [](const LeftOut& left) { return left.is_damage; });
}

StoreRebuild::StoreRebuild(FileSystem& file_system, std::string root, HostIdentity self,
                           RebuildOptions options)
    : file_system_(file_system),
      layout_(std::move(root)),
      self_(std::move(self)),
      options_(std::move(options)),
      names_(file_system, layout_),
      roots_(file_system, layout_.Packs()) {}

StoreRebuild::~StoreRebuild() = default;

// The durable steps:
//   1. folders that are missing; the collector's lock
//   2. names of all that is to be made
//   3. each VDI: what cannot be read is put aside, the new folder gets its name
//   4. the superblock, if it is missing
Result<RebuildReport> StoreRebuild::Run() {
  QUOIN_TRY(ReadSuperblockIfAny());
  if (!options_.dry_run) QUOIN_TRY(OpenStore());
  QUOIN_TRY(roots_.Read());
  for (const Error& problem : roots_.problems()) LeaveOut("packs", problem.what);
  QUOIN_TRY(ReadFolders());
  QUOIN_TRY(ReadNames());
  QUOIN_TRY(FindLost());
  FindNameless();
  ReportUnreadable();
  ReportLostNames();
  ChooseNames();
  if (!options_.dry_run) {
    StoreEnvironment& environment = store_->shared_->environment;
    QUOIN_ASSIGN(const CollectionLock::SharedHold hold,
                 environment.collection->HoldShared(environment.options.collector_wait));
    QUOIN_TRY(ClaimNames());
    for (const Rebuilt& rebuilt : rebuilt_) {
      if (!rebuilt.is_there) QUOIN_TRY(Make(rebuilt));
    }
    QUOIN_TRY(FinishSuperblock());
  }
  for (const Rebuilt& rebuilt : rebuilt_) {
    report_.vdis.push_back(
        {rebuilt.vdi.id, rebuilt.name, rebuilt.snapshots, rebuilt.is_there, rebuilt.is_damaged});
  }
  std::sort(report_.vdis.begin(), report_.vdis.end(),
            [](const RebuiltVdi& a, const RebuiltVdi& b) { return a.name < b.name; });
  report_.new_superblock = !superblock_;
  report_.packs = roots_.packs();
  report_.records = roots_.records();
  return std::move(report_);
}

// ------------------------------------------------------------------------------- the store

Status StoreRebuild::ReadSuperblockIfAny() {
  Result<Superblock> found = ReadSuperblock(file_system_, layout_.root());
  if (found) {
    superblock_ = std::move(*found);
    return {};
  }
  superblock_is_damaged_ = found.error().code == ErrorCode::kCorrupt;
  if (!superblock_is_damaged_ && found.error().code != ErrorCode::kNotAStore) {
    return Failure(found.error());
  }
  QUOIN_ASSIGN(const bool has_packs, roots_.HasPacks());
  return has_packs ? Status() : Failure(found.error());
}

// As long as there is no superblock nobody else can open the store, so it is opened with one that
// is written only when all is done.
Status StoreRebuild::OpenStore() {
  QUOIN_TRY(RestoreFolders(file_system_, layout_.root()));
  Result<std::unique_ptr<CollectorLock>> lock =
      CollectorLock::Acquire(file_system_, layout_, self_);
  if (!lock && lock.error().code == ErrorCode::kBusy) {
    return Fail(ErrorCode::kBusy, "garbage is being collected, or another rebuild is at work",
                lock.error().next);
  }
  if (!lock) return Failure(lock.error());
  lock_ = std::move(*lock);
  QUOIN_TRY(RemoveUnfinished());
  Superblock superblock;
  if (superblock_) {
    superblock = *superblock_;
  } else {
    QUOIN_ASSIGN(superblock, NewSuperblock("lz4"));
  }
  QUOIN_ASSIGN(store_, Store::OpenWith(file_system_, layout_.root(), self_, options_.store,
                                       std::move(superblock)));
  return {};
}

Status StoreRebuild::RemoveUnfinished() {
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, file_system_.List(layout_.Vdis()));
  for (const DirectoryEntry& entry : entries) {
    if (!entry.name.ends_with(kUnfinishedSuffix)) continue;
    QUOIN_TRY(RemoveTree(file_system_, layout_.Vdis() + "/" + entry.name));
  }
  return {};
}

Status StoreRebuild::FinishSuperblock() {
  if (superblock_) return {};
  if (superblock_is_damaged_) {
    QUOIN_TRY(file_system_.Rename(layout_.Superblock(), layout_.Superblock() + ".damaged"));
  }
  return WriteSuperblock(file_system_, layout_.root(), store_->superblock());
}

// ------------------------------------------------------------------------------- what is missing

void StoreRebuild::LeaveOut(std::string object, std::string why, bool is_damage) {
  report_.left_out.push_back({std::move(object), std::move(why), is_damage});
}

Status StoreRebuild::ReadFolders() {
  QUOIN_ASSIGN(const bool exists, PathExists(file_system_, layout_.Vdis()));
  if (!exists) return {};
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, file_system_.List(layout_.Vdis()));
  for (const DirectoryEntry& entry : entries) {
    const std::string id_text = entry.name.substr(0, entry.name.find('.'));
    const std::optional<Id> id = Id::Parse(id_text);
    if (!id || entry.kind != EntryKind::kDirectory) continue;
    if (entry.name == id_text) {
      QUOIN_ASSIGN(folders_[*id], LookAt(*id));
    } else if (entry.name == id_text + ".new" || entry.name == id_text + ".removed") {
      unsettled_.insert(*id);
    }
  }
  return {};
}

Result<StoreRebuild::Folder> StoreRebuild::LookAt(const Id& id) {
  const std::string folder = layout_.Vdi(id);
  const Result<VdiState> published = ReadPublished(file_system_, folder);
  if (published && published->vdi.id == id) {
    return Folder{Found::kThere, true, published->snapshots.size(),
                  published->vdi.attributes.ctime_ns};
  }
  if (!published && published.error().code == ErrorCode::kNewerFormat) {
    return Folder{Found::kThere, true, 0, 0};
  }
  if (!published && !IsDamageOrAbsence(published.error())) return Failure(published.error());
  Folder looked_at;
  QUOIN_ASSIGN(looked_at.found, LookAtDatabase(id, folder));
  return looked_at;
}

// Whoever owns it can read it, or will say so.
Result<StoreRebuild::Found> StoreRebuild::LookAtDatabase(const Id& id, const std::string& folder) {
  const Result<LockStatus> lock = WriterLock::Inspect(file_system_, folder);
  if (lock && lock->held) return Found::kThere;
  const auto load = [&]() -> Result<VdiState> {
    QUOIN_ASSIGN(const std::unique_ptr<VdiDatabase> database,
                 VdiDatabase::Open(file_system_, StoreLayout::Database(folder)));
    return database->Load();
  };
  const Result<VdiState> state = load();
  if (state) return state->vdi.id == id ? Found::kThere : Found::kUnreadable;
  const ErrorCode code = state.error().code;
  if (code == ErrorCode::kBusy || code == ErrorCode::kNewerFormat) return Found::kThere;
  if (!IsDamageOrAbsence(state.error())) return Failure(state.error());
  return Found::kUnreadable;
}

Status StoreRebuild::ReadNames() {
  QUOIN_ASSIGN(const bool exists, PathExists(file_system_, layout_.Names()));
  if (!exists) return {};
  std::vector<std::string> damaged;
  QUOIN_ASSIGN(const std::vector<NamedVdi> all, names_.ListAll("", &damaged));
  for (const NamedVdi& named : all) names_of_[named.id].push_back(named.name);
  for (auto& [id, names] : names_of_) std::sort(names.begin(), names.end());
  for (const std::string& name : damaged) {
    LeaveOut("vdis/" + name, "the file that holds its id is damaged");
  }
  return {};
}

Status StoreRebuild::FindLost() {
  for (const auto& [id, records] : roots_.of_vdis()) {
    const auto folder = folders_.find(id);
    const Found found = folder == folders_.end() ? Found::kMissing : folder->second.found;
    // One that is being made or removed is settled when the store is opened, but not in a dry run.
    const bool is_settled = unsettled_.count(id) == 0 || names_of_.count(id) == 0;
    if (found == Found::kThere || !is_settled) continue;
    QUOIN_TRY(AddLost(id, found == Found::kUnreadable));
  }
  return {};
}

Status StoreRebuild::AddLost(const Id& id, bool is_damaged) {
  QUOIN_ASSIGN(LostVdi vdi,
               AssembleVdi(id, TitleOf(id), roots_.of_vdis().at(id), roots_, &report_.left_out));
  if (vdi.IsEmpty()) return {};
  Rebuilt rebuilt;
  rebuilt.snapshots = vdi.snapshots.size();
  rebuilt.vdi = std::move(vdi);
  rebuilt.is_damaged = is_damaged;
  rebuilt_.push_back(std::move(rebuilt));
  return {};
}

void StoreRebuild::FindNameless() {
  for (const auto& [id, folder] : folders_) {
    if (folder.found != Found::kThere || names_of_.count(id) > 0) continue;
    Rebuilt rebuilt;
    rebuilt.vdi.id = id;
    rebuilt.vdi.newest_ns = folder.changed_ns;
    rebuilt.is_there = true;
    rebuilt.snapshots = folder.snapshots;
    if (const auto records = roots_.of_vdis().find(id); records != roots_.of_vdis().end()) {
      rebuilt.vdi.recorded_name = RecordedName(records->second);
    }
    rebuilt_.push_back(std::move(rebuilt));
  }
}

// What is there and stays as it is, though something of it cannot be read.
void StoreRebuild::ReportUnreadable() {
  for (const auto& [id, folder] : folders_) {
    const auto is_it = [&id = id](const Rebuilt& rebuilt) { return rebuilt.vdi.id == id; };
    if (folder.found == Found::kThere && !folder.is_published) {
      LeaveOut(TitleOf(id),
               "its published.db cannot be read; opening it for writing publishes it again",
               /*is_damage=*/false);
    } else if (folder.found == Found::kUnreadable &&
               std::none_of(rebuilt_.begin(), rebuilt_.end(), is_it)) {
      LeaveOut(TitleOf(id), "it cannot be read, and nothing of it can be made of the packs");
    }
  }
}

// ------------------------------------------------------------------------------- names

void StoreRebuild::ReportLostNames() {
  std::set<Id> known = unsettled_;
  for (const auto& [id, folder] : folders_) known.insert(id);
  for (const Rebuilt& rebuilt : rebuilt_) known.insert(rebuilt.vdi.id);
  for (const auto& [id, names] : names_of_) {
    if (known.count(id) > 0) continue;
    for (const std::string& name : names) {
      LeaveOut("vdis/" + name,
               fmt::format("its folder, vdis/{} in the store, is missing, and nothing "
                           "of it can be made of the packs",
                           id.ToString()));
    }
  }
}

bool StoreRebuild::IsFree(const std::string& name) const {
  if (!ValidateVdiName(name) || chosen_.count(name) > 0) return false;
  for (const std::string& parent : ParentsOf(name)) {
    const Result<NameFacts> facts = names_.Lookup(parent);
    if (chosen_.count(parent) > 0 || (facts && !facts->is_folder)) return false;
  }
  const auto below = chosen_.lower_bound(name + "/");
  if (below != chosen_.end() && below->starts_with(name + "/")) return false;
  const Result<NameFacts> facts = names_.Lookup(name);
  return !facts && facts.error().code == ErrorCode::kNotFound;
}

// A name that leads to the VDI is better than what a record says, and of two VDIs with one name the
// later one has it.
void StoreRebuild::ChooseNames() {
  std::stable_sort(rebuilt_.begin(), rebuilt_.end(), [](const Rebuilt& a, const Rebuilt& b) {
    return a.vdi.newest_ns > b.vdi.newest_ns;
  });
  for (Rebuilt& rebuilt : rebuilt_) {
    const Id& id = rebuilt.vdi.id;
    if (const auto names = names_of_.find(id); names != names_of_.end()) {
      rebuilt.name = names->second.front();
      rebuilt.has_name = true;
      continue;
    }
    const std::string& recorded = rebuilt.vdi.recorded_name;
    const std::string short_id = id.ToString().substr(0, 8);
    for (const std::string& name : {recorded, recorded + "-rebuilt-" + short_id,
                                    "rebuilt-" + short_id, "rebuilt-" + id.ToString()}) {
      if (recorded.empty() && !name.starts_with("rebuilt-")) continue;
      if (!rebuilt.name.empty() || !IsFree(name)) continue;
      rebuilt.name = name;
      chosen_.insert(name);
    }
  }
}

Status StoreRebuild::MakeParents(const std::string& name) {
  for (const std::string& parent : ParentsOf(name)) {
    const Status made = names_.MakeFolder(parent);
    if (!made && made.error().code != ErrorCode::kExists) return made;
  }
  return {};
}

Status StoreRebuild::ClaimNames() {
  Store::Shared& shared = *store_->shared_;
  MutexLock lock(shared.names_mutex);
  for (const Rebuilt& rebuilt : rebuilt_) {
    // One that was renamed while names were read has one.
    if (rebuilt.has_name || (rebuilt.is_there && store_->NameOf(rebuilt.vdi.id))) continue;
    QUOIN_TRY(MakeParents(rebuilt.name));
    QUOIN_TRY(shared.environment.names.Claim(rebuilt.name, rebuilt.vdi.id));
  }
  return {};
}

std::string StoreRebuild::TitleOf(const Id& id) const {
  if (const auto names = names_of_.find(id); names != names_of_.end()) {
    return "vdis/" + names->second.front();
  }
  const auto records = roots_.of_vdis().find(id);
  const std::string name = records == roots_.of_vdis().end() ? "" : RecordedName(records->second);
  return name.empty() ? "VDI " + id.ToString() : "vdis/" + name;
}

// ------------------------------------------------------------------------------- VDIs

// Nobody owns it: its lock is held while its folder is renamed.
Status StoreRebuild::PutAside(const Id& id) {
  const std::string folder = layout_.Vdi(id);
  Result<std::unique_ptr<File>> lock =
      file_system_.Open(StoreLayout::WriterLock(folder), {Access::kReadWrite, Creation::kNever});
  if (!lock && lock.error().code != ErrorCode::kNotFound) return Failure(lock.error());
  if (lock) {
    QUOIN_ASSIGN(const bool taken, (*lock)->TryLock());
    if (!taken) {
      return Fail(ErrorCode::kBusy, fmt::format("{} cannot be read, and somebody owns it", folder),
                  "stop whoever uses it first");
    }
  }
  for (int n = 1; n <= kMaxPutAside; ++n) {
    const std::string aside = layout_.DamagedVdi(id) + (n == 1 ? "" : fmt::format("-{}", n));
    QUOIN_ASSIGN(const bool exists, PathExists(file_system_, aside));
    if (exists) continue;
    QUOIN_TRY(file_system_.Rename(folder, aside));
    spdlog::warn("{} could not be read; it is now {}", folder, aside);
    return file_system_.SyncDirectory(layout_.Vdis());
  }
  return Fail(ErrorCode::kExists, fmt::format("there are too many of {}", layout_.DamagedVdi(id)),
              "remove those that nobody needs");
}

Status StoreRebuild::Make(const Rebuilt& lost) {
  const LostVdi& vdi = lost.vdi;
  if (lost.is_damaged) QUOIN_TRY(PutAside(vdi.id));
  return store_->shared_->RemakeVdi(vdi.id, vdi.size_bytes, vdi.attributes,
                                    [&](Store::Shared::NewVdi& made) -> Status {
                                      VdiRecord& row = made.state.vdi;
                                      made.state.layers = vdi.layers;
                                      for (LayerRecord& layer : made.state.layers) {
                                        layer.name = fmt::format("{}-{}", layer.seq, row.epoch);
                                      }
                                      made.state.snapshots = vdi.snapshots;
                                      made.top_seq = vdi.base_seq;
                                      row.next_seq = static_cast<uint32_t>(vdi.layers.size()) + 1;
                                      row.created_ns = vdi.created_ns;
                                      row.data_blocks = vdi.data_blocks;
                                      if (vdi.is_cut_off) {
                                        // What its map holds beyond its size is settled by its next
                                        // owner, as after a copy.
                                        row.copy_origin = vdi.id;
                                        row.copied_to_bytes = vdi.size_bytes;
                                      }
                                      return {};
                                    });
}

}  // namespace quoin

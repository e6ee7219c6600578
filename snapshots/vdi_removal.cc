// Removing a VDI with its name and its files, by its owner.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

bool LeadsTo(const Names& names, const std::string& name, const Id& id) {
  const Result<NameFacts> facts = names.Lookup(name);
  return facts && !facts->is_folder && facts->vdi == id;
}

// The name that the VDI had when it was looked up, or what has become of it: folders are renamed
// without asking the owners of the VDIs in them.
Status ReleaseNamesOf(const Names& names, const std::string& name, const Id& id) {
  if (LeadsTo(names, name, id)) return names.Release(name);
  QUOIN_ASSIGN(const std::vector<NamedVdi> all, names.ListAll("", nullptr));
  for (const NamedVdi& named : all) {
    if (named.id == id) QUOIN_TRY(names.Release(named.name));
  }
  return {};
}

}  // namespace

Status Vdi::CheckRemovable(const std::string& name, bool with_snapshots) const {
  if (state_.snapshots.empty()) return {};
  if (!with_snapshots) {
    return Fail(ErrorCode::kNotEmpty,
                fmt::format("cannot remove vdis/{}: it has {} snapshots", name,
                            state_.snapshots.size()),
                fmt::format("quoin rm {} --with-snapshots", name));
  }
  for (const SnapshotRecord& snapshot : state_.snapshots) {
    if (!snapshot.is_protected) continue;
    return Fail(ErrorCode::kNotPermitted,
                fmt::format("cannot remove vdis/{}: its snapshot {} is protected", name,
                            snapshot.name),
                fmt::format("quoin snap unprotect {}@{}", name, snapshot.name));
  }
  return {};
}

Status Vdi::RemoveAsOwner(const std::string& name, bool with_snapshots) {
  FileSystem& fs = files_;
  const StoreLayout& layout = environment_.layout;
  MutexLock lifecycle(lifecycle_mutex_);
  if (readers_ + writers_ > 0) {
    return Fail(ErrorCode::kBusy, fmt::format("cannot remove vdis/{}: it is open", name),
                "stop the guest or program that uses it first");
  }
  QUOIN_TRY(BecomeOwner());
  MutexLock lock(state_mutex_);
  const std::shared_ptr<WriterLock> held = LetLockGo();
  Status removable = CheckRemovable(name, with_snapshots);
  // Only its owner renames a VDI, so from here on this stays as it is, but for its folder.
  if (!LeadsTo(environment_.names, name, id_)) {
    removable = Fail(ErrorCode::kNotFound,
                     fmt::format("cannot remove vdis/{}: it has just been renamed", name));
  }
  const std::vector<LayerRecord> layers = state_.layers;
  DropKeptHeads();
  Abandon();
  if (!removable) {
    (void)held->ReleaseClean();
    return removable;
  }
  const std::string removed = layout.RemovedVdi(id_);
  QUOIN_TRY(fs.Rename(folder_, removed));
  Status gone = fs.SyncDirectory(layout.Vdis());
  if (gone) gone = ReleaseNamesOf(environment_.names, name, id_);
  if (!gone) {
    // As long as the name leads to it, it had better be there.
    if (LeadsTo(environment_.names, name, id_) && fs.Rename(removed, folder_)) {
      (void)fs.SyncDirectory(layout.Vdis());
    }
    return gone;
  }
  environment_.removals.Count(layers);
  (void)fs.Remove(layout.Pin(id_));
  // The VDI is gone; what is left of its files is swept when a store is opened.
  if (const Status swept = RemoveTree(fs, removed); !swept) {
    spdlog::warn("vdis/{} is removed, but not yet all of its files: {}", name, swept.error().what);
  }
  return {};
}

}  // namespace quoin

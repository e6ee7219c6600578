// What opening a store finishes or clears away after crashes, of whatever host. Everything here is
// decided by locks that die with their holders, never by clocks.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "blockstore/base/atomic_file.h"
#include "snapshots/group_decision.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

constexpr std::string_view kNewSuffix = ".new";
constexpr std::string_view kRemovedSuffix = ".removed";
constexpr uint64_t kMaxGroupFileBytes = 1 << 20;
constexpr int kTakeTemporariesAttempts = 16;
constexpr int64_t kKeepNotTakenNs = int64_t{24} * 3600 * 1'000'000'000;

bool EndsWith(const std::string& text, std::string_view end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The lock of a folder whose owner may have died; null if someone living holds it.
Result<std::unique_ptr<File>> TakeFolderLock(FileSystem& fs, const std::string& path) {
  QUOIN_ASSIGN(std::unique_ptr<File> lock,
               fs.Open(path, {Access::kReadWrite, Creation::kIfMissing, 0600}));
  QUOIN_ASSIGN(const bool taken, lock->TryLock());
  if (!taken) lock.reset();
  return lock;
}

}  // namespace

// Several processes may be at it at once: what another one has removed is as good as removed.
Status RemoveTree(FileSystem& fs, const std::string& path) {
  const auto unless_gone = [](Status status) -> Status {
    if (!status && status.error().code == ErrorCode::kNotFound) return {};
    return status;
  };
  const Result<std::vector<DirectoryEntry>> entries = fs.List(path);
  if (!entries) {
    if (entries.error().code == ErrorCode::kNotFound) return {};
    return Failure(entries.error());
  }
  for (const DirectoryEntry& entry : *entries) {
    const std::string child = path + "/" + entry.name;
    QUOIN_TRY(unless_gone(entry.kind == EntryKind::kDirectory ? RemoveTree(fs, child)
                                                              : fs.Remove(child)));
  }
  return unless_gone(fs.RemoveDirectory(path));
}

// Also by the lease's thread after a lapse, while nothing else may be changed.
Status Store::Shared::TakeTemporaries() {
  FileSystem& fs = environment.storage;
  const StoreLayout& layout = environment.layout;
  for (int attempt = 1;; ++attempt) {
    const Status made = fs.MakeDirectory(layout.Temporaries());
    if (!made && made.error().code != ErrorCode::kExists) return made;
    // Until it is locked, a store that is opened elsewhere may take the folder for a dead one's.
    Result<std::unique_ptr<File>> lock = TakeFolderLock(fs, layout.TemporariesLock());
    if (lock && *lock != nullptr) {
      const Result<FileFacts> named = fs.Facts(layout.TemporariesLock());
      QUOIN_ASSIGN(const FileFacts locked, (*lock)->Facts());
      if (named && named->identity == locked.identity) {
        temporaries_lock = std::move(*lock);
        return {};
      }
    }
    if (!lock && lock.error().code != ErrorCode::kNotFound) return Failure(lock.error());
    if (attempt == kTakeTemporariesAttempts) {
      return Fail(ErrorCode::kBusy, fmt::format("{} is in use", layout.Temporaries()));
    }
  }
}

Status Store::Shared::SweepTemporaries() {
  FileSystem& fs = environment.file_system;
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries,
               fs.List(environment.layout.AllTemporaries()));
  for (const DirectoryEntry& entry : entries) {
    const std::string path = environment.layout.AllTemporaries() + "/" + entry.name;
    if (path == environment.layout.Temporaries()) continue;
    if (entry.kind != EntryKind::kDirectory) {
      (void)fs.Remove(path);
      continue;
    }
    const Result<std::unique_ptr<File>> lock = TakeFolderLock(fs, path + "/lock");
    if (lock && *lock != nullptr) (void)RemoveTree(fs, path);
  }
  return {};
}

// `<id>.new`: the name decides. It is linked last, so with a name the VDI is whole and gets its
// final folder; without, it goes. `<id>.removed`: the removal is decided; the name goes, then the
// folder.
Status Store::Shared::SweepVdiFolders() {
  FileSystem& fs = environment.file_system;
  const StoreLayout& layout = environment.layout;
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, fs.List(layout.Vdis()));
  for (const DirectoryEntry& entry : entries) {
    const bool is_new = EndsWith(entry.name, kNewSuffix);
    const bool is_removed = EndsWith(entry.name, kRemovedSuffix);
    if (!is_new && !is_removed) continue;
    const std::optional<Id> id = Id::Parse(entry.name.substr(0, entry.name.find('.')));
    if (!id) continue;
    const std::string folder = layout.Vdis() + "/" + entry.name;
    const Result<std::unique_ptr<File>> lock =
        TakeFolderLock(fs, StoreLayout::WriterLock(folder));
    if (!lock || *lock == nullptr) continue;
    QUOIN_ASSIGN(const std::vector<NamedVdi> all, environment.names.ListAll("", nullptr));
    std::vector<std::string> names;
    for (const NamedVdi& named : all) {
      if (named.id == *id) names.push_back(named.name);
    }
    if (is_new && !names.empty()) {
      const Status renamed = fs.Rename(folder, layout.Vdi(*id));
      if (!renamed && renamed.error().code == ErrorCode::kNotFound) continue;  // its maker did
      QUOIN_TRY(renamed);
      QUOIN_TRY(fs.SyncDirectory(layout.Vdis()));
      spdlog::info("vdis/{}: its creation was cut short and is finished now", names.front());
      continue;
    }
    for (const std::string& name : names) {
      const Status released = environment.names.Release(name);
      if (!released && released.error().code != ErrorCode::kNotFound) return released;
    }
    QUOIN_TRY(RemoveTree(fs, folder));
    spdlog::info("removed {}, left over from a {} that was cut short", folder,
                 is_new ? "creation" : "removal");
  }
  return {};
}

// A group's file says that its snapshots are decided. Each VDI that may still call its own pending
// is opened once, which decides it; then the file goes.
void Store::Shared::SweepGroups(Store& store) {
  FileSystem& fs = environment.file_system;
  const Result<std::vector<DirectoryEntry>> entries = fs.List(environment.layout.Groups());
  if (!entries) return;
  for (const DirectoryEntry& entry : *entries) {
    const std::string path = environment.layout.Groups() + "/" + entry.name;
    const Result<std::string> text = ReadWholeFile(fs, path, kMaxGroupFileBytes);
    if (!text) continue;
    if (SaysNotTaken(*text)) {
      // It tells a coordinator that comes late. None comes after so long.
      const Result<FileFacts> facts = fs.Facts(path);
      if (facts && NowNanoseconds() - facts->mtime_ns > kKeepNotTakenNs) (void)fs.Remove(path);
      continue;
    }
    bool all_decided = true;
    for (size_t at = 0; at < text->size();) {
      const size_t end = std::min(text->find('\n', at), text->size());
      const std::optional<Id> id = Id::Parse(text->substr(at, end - at));
      at = end + 1;
      if (!id) continue;
      Result<VdiHandle> handle = store.OpenVdi(*id, Access::kReadWrite);
      const bool gone = !handle && handle.error().code == ErrorCode::kNotFound;
      all_decided &= gone || (handle && handle->Close());
    }
    if (all_decided) (void)fs.Remove(path);
  }
}

}  // namespace quoin

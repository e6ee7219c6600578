#include "tests/support/simulated_file_system.h"

#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "tests/support/simulated_file.h"
#include "tests/support/simulated_system.h"

namespace quoin {

using simulation::EntryOf;
using simulation::InodePointer;
using simulation::Place;
using simulation::Refuse;
using simulation::SimulatedFile;
using simulation::SimulatedInode;
using simulation::SimulatedSystem;

SimulatedFileSystem::SimulatedFileSystem() : system_(std::make_shared<SimulatedSystem>()) {}
SimulatedFileSystem::~SimulatedFileSystem() = default;

Result<std::unique_ptr<File>> SimulatedFileSystem::Open(const std::string& path,
                                                        OpenOptions options) {
  system_->Observe(Call::kOpen, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kOpen, path));
  const std::string act = fmt::format("cannot open {}", path);
  QUOIN_ASSIGN(const Place place, system_->Locate(path, act));
  InodePointer inode = place.name.empty() ? system_->root : EntryOf(place);
  if (inode && options.creation == Creation::kExclusive) {
    return Refuse(ErrorCode::kExists, act, "it exists");
  }
  if (!inode && options.creation == Creation::kNever) {
    return Refuse(ErrorCode::kNotFound, act, "no such file");
  }
  if (inode && inode->kind == EntryKind::kDirectory) {
    return Refuse(ErrorCode::kIsDirectory, act, "it is a folder");
  }
  if (!inode) {
    QUOIN_ASSIGN(inode, system_->Create(place, path, options.mode));
  }
  return std::make_unique<SimulatedFile>(system_, inode, path,
                                         options.access == Access::kReadWrite);
}

Result<FileFacts> SimulatedFileSystem::Facts(const std::string& path) {
  system_->Observe(Call::kFacts, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kFacts, path));
  QUOIN_ASSIGN(const InodePointer inode, system_->Find(path, fmt::format("cannot stat {}", path)));
  return inode->Facts();
}

Result<std::vector<DirectoryEntry>> SimulatedFileSystem::List(const std::string& path) {
  system_->Observe(Call::kList, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kList, path));
  QUOIN_ASSIGN(const InodePointer folder,
               system_->FindFolder(path, fmt::format("cannot list {}", path)));
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, inode] : folder->folder.present()) entries.push_back({name, inode->kind});
  return entries;
}

Result<SpaceFacts> SimulatedFileSystem::Space(const std::string& path) {
  system_->Observe(Call::kSpace, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kSpace, path));
  QUOIN_TRY(system_->Find(path, fmt::format("cannot query the space of {}", path)));
  const uint64_t total = system_->capacity_bytes;
  const uint64_t free = total > system_->used_bytes ? total - system_->used_bytes : 0;
  constexpr uint64_t kFiles = uint64_t{1} << 32;
  return SpaceFacts{total, free, free, kFiles, kFiles - system_->next_inode};
}

Status SimulatedFileSystem::Link(const std::string& from, const std::string& to) {
  const std::string act = fmt::format("cannot link {} as {}", from, to);
  system_->Observe(Call::kLink, to);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kLink, to));
  QUOIN_ASSIGN(const InodePointer inode, system_->Find(from, act));
  QUOIN_ASSIGN(const Place place, system_->Locate(to, act));
  if (place.name.empty() || EntryOf(place)) return Refuse(ErrorCode::kExists, act, "it exists");
  if (inode->kind == EntryKind::kDirectory) {
    return Refuse(ErrorCode::kAccessDenied, act, "a folder has one name");
  }
  ++inode->link_count;
  system_->Enter(*place.folder, {{{place.name, inode}}});
  return {};
}

Status SimulatedFileSystem::Rename(const std::string& from, const std::string& to) {
  const std::string act = fmt::format("cannot rename {} to {}", from, to);
  system_->Observe(Call::kRename, to);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kRename, to));
  QUOIN_ASSIGN(const Place source, system_->Locate(from, act));
  QUOIN_ASSIGN(const Place target, system_->Locate(to, act));
  if (source.name.empty() || target.name.empty()) {
    return Refuse(ErrorCode::kBusy, act, "it is the root");
  }
  const InodePointer moved = EntryOf(source);
  if (!moved) return Refuse(ErrorCode::kNotFound, act, "no such file or folder");
  const InodePointer replaced = EntryOf(target);
  if (replaced == moved) return {};  // as POSIX has it: both names stay
  QUOIN_TRY(system_->CheckRename(source, target, *moved, replaced, act));
  system_->Rename(source, target, moved);
  if (replaced) system_->DropName(*replaced);
  return {};
}

Status SimulatedFileSystem::Remove(const std::string& path) {
  const std::string act = fmt::format("cannot remove {}", path);
  system_->Observe(Call::kRemove, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kRemove, path));
  QUOIN_ASSIGN(const Place place, system_->Locate(path, act));
  const InodePointer inode = place.name.empty() ? system_->root : EntryOf(place);
  if (!inode) return Refuse(ErrorCode::kNotFound, act, "no such file");
  if (inode->kind == EntryKind::kDirectory) {
    return Refuse(ErrorCode::kIsDirectory, act, "it is a folder");
  }
  system_->Enter(*place.folder, {{{place.name, nullptr}}});
  system_->DropName(*inode);
  return {};
}

Status SimulatedFileSystem::MakeDirectory(const std::string& path, uint32_t mode) {
  const std::string act = fmt::format("cannot make the folder {}", path);
  system_->Observe(Call::kMakeDirectory, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kMakeDirectory, path));
  QUOIN_ASSIGN(const Place place, system_->Locate(path, act));
  if (place.name.empty() || EntryOf(place)) return Refuse(ErrorCode::kExists, act, "it exists");
  InodePointer inode = system_->MakeInode(EntryKind::kDirectory, mode);
  inode->link_count = 1;
  system_->Enter(*place.folder, {{{place.name, std::move(inode)}}});
  return {};
}

Status SimulatedFileSystem::RemoveDirectory(const std::string& path) {
  const std::string act = fmt::format("cannot remove the folder {}", path);
  system_->Observe(Call::kRemoveDirectory, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kRemoveDirectory, path));
  QUOIN_ASSIGN(const Place place, system_->Locate(path, act));
  if (place.name.empty()) return Refuse(ErrorCode::kBusy, act, "it is the root");
  const InodePointer inode = EntryOf(place);
  if (!inode) return Refuse(ErrorCode::kNotFound, act, "no such folder");
  if (inode->kind != EntryKind::kDirectory) {
    return Refuse(ErrorCode::kNotDirectory, act, "it is a file");
  }
  if (!inode->folder.present().empty()) {
    return Refuse(ErrorCode::kNotEmpty, act, "the folder is not empty");
  }
  system_->Enter(*place.folder, {{{place.name, nullptr}}});
  system_->DropName(*inode);
  return {};
}

Status SimulatedFileSystem::SyncDirectory(const std::string& path) {
  system_->Observe(Call::kSyncDirectory, path);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(system_->faults.Admit(Call::kSyncDirectory, path));
  QUOIN_ASSIGN(const InodePointer folder,
               system_->FindFolder(path, fmt::format("cannot sync the folder {}", path)));
  SyncFolder(*folder);
  return {};
}

void SimulatedFileSystem::Crash(CrashMode mode, uint64_t seed) {
  const std::lock_guard lock(system_->mutex);
  system_->Restart(mode, seed);
}

void SimulatedFileSystem::FailAfter(uint64_t n, FaultMode mode, ErrorCode code) {
  Plan({n, mode, code});
}

void SimulatedFileSystem::Plan(Fault fault) {
  const std::lock_guard lock(system_->mutex);
  system_->faults.Plan(std::move(fault));
}

void SimulatedFileSystem::ClearFaults() {
  const std::lock_guard lock(system_->mutex);
  system_->faults.Clear();
}

bool SimulatedFileSystem::stopped() const {
  const std::lock_guard lock(system_->mutex);
  return system_->faults.stopped();
}

uint64_t SimulatedFileSystem::steps() const {
  const std::lock_guard lock(system_->mutex);
  return system_->faults.steps();
}

uint64_t SimulatedFileSystem::count(Call call) const {
  const std::lock_guard lock(system_->mutex);
  return system_->faults.count(call);
}

void SimulatedFileSystem::SetCapacity(uint64_t bytes) {
  const std::lock_guard lock(system_->mutex);
  system_->capacity_bytes = bytes;
}

uint64_t SimulatedFileSystem::used_bytes() const {
  const std::lock_guard lock(system_->mutex);
  return system_->used_bytes;
}

void SimulatedFileSystem::SetPunchingSupported(bool supported) {
  const std::lock_guard lock(system_->mutex);
  system_->punching_supported = supported;
}

void SimulatedFileSystem::LetTimePass(std::chrono::nanoseconds time) {
  const std::lock_guard lock(system_->mutex);
  system_->clock_ns += time.count();
}

uint64_t SimulatedFileSystem::open_handles() const {
  const std::lock_guard lock(system_->mutex);
  return system_->open_handles;
}

void SimulatedFileSystem::SetObserver(std::function<void(Call, const std::string&)> observer) {
  using Observer = simulation::SimulatedSystem::Observer;
  std::shared_ptr<const Observer> fresh;
  if (observer) fresh = std::make_shared<const Observer>(std::move(observer));
  const std::lock_guard lock(system_->observer_mutex);
  system_->observer.swap(fresh);
}

}  // namespace quoin

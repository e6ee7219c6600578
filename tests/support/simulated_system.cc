#include "tests/support/simulated_system.h"

#include <fmt/format.h>

#include <random>
#include <set>

namespace quoin::simulation {
namespace {

constexpr size_t kMaxNameBytes = 255;

}  // namespace

InodePointer EntryOf(const Place& place) {
  const SimulatedFolder::Entries& entries = place.folder->folder.present();
  const auto entry = entries.find(place.name);
  return entry == entries.end() ? nullptr : entry->second;
}

Failure Refuse(ErrorCode code, std::string_view act, std::string_view why) {
  return Fail(code, fmt::format("{}: {}", act, why));
}

SimulatedSystem::~SimulatedSystem() {
  for (const std::weak_ptr<SimulatedInode>& made : folders_made) {
    if (const InodePointer folder = made.lock()) folder->folder = SimulatedFolder();
  }
}

Result<Place> SimulatedSystem::Locate(const std::string& path, std::string_view act) const {
  if (path.empty()) return Refuse(ErrorCode::kNotFound, act, "the path is empty");
  Place place{root, "", {}};
  std::vector<InodePointer> folders{root};
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") continue;
    if (!place.name.empty()) {
      const InodePointer next = EntryOf(place);
      if (!next) return Refuse(ErrorCode::kNotFound, act, "no such folder on the way");
      if (next->kind != EntryKind::kDirectory) {
        return Refuse(ErrorCode::kNotDirectory, act, "a file is on the way");
      }
      folders.push_back(next);
    }
    if (name == "..") {
      return Refuse(ErrorCode::kInvalid, act, "the simulation knows no '..'");
    }
    if (name.size() > kMaxNameBytes) return Refuse(ErrorCode::kNameTooLong, act, "name too long");
    place.folder = folders.back();
    place.name = name;
  }
  for (const InodePointer& folder : folders) place.way.push_back(folder.get());
  return place;
}

Result<InodePointer> SimulatedSystem::Find(const std::string& path, std::string_view act) const {
  QUOIN_ASSIGN(const Place place, Locate(path, act));
  if (place.name.empty()) return root;
  if (InodePointer inode = EntryOf(place)) return inode;
  return Refuse(ErrorCode::kNotFound, act, "no such file or folder");
}

Result<InodePointer> SimulatedSystem::FindFolder(const std::string& path,
                                                 std::string_view act) const {
  QUOIN_ASSIGN(InodePointer inode, Find(path, act));
  if (inode->kind != EntryKind::kDirectory) {
    return Refuse(ErrorCode::kNotDirectory, act, "it is a file");
  }
  return inode;
}

Result<InodePointer> SimulatedSystem::Create(const Place& place, const std::string& path,
                                             uint32_t mode) {
  QUOIN_TRY(faults.Admit(Call::kCreate, path));
  InodePointer inode = MakeInode(EntryKind::kFile, mode);
  inode->link_count = 1;
  Enter(*place.folder, {{{place.name, inode}}});
  return inode;
}

Status SimulatedSystem::CheckRename(const Place& from, const Place& to, const SimulatedInode& moved,
                                    const InodePointer& replaced, std::string_view act) const {
  const bool is_folder = moved.kind == EntryKind::kDirectory;
  if (std::find(to.way.begin(), to.way.end(), &moved) != to.way.end()) {
    return Refuse(ErrorCode::kInvalid, act, "a folder cannot move into itself");
  }
  if (!replaced) return {};
  if (std::find(from.way.begin(), from.way.end(), replaced.get()) != from.way.end()) {
    return Refuse(ErrorCode::kNotEmpty, act, "the folder holds what is to replace it");
  }
  const bool replaces_folder = replaced->kind == EntryKind::kDirectory;
  if (replaces_folder && !is_folder) return Refuse(ErrorCode::kIsDirectory, act, "it is a folder");
  if (!replaces_folder && is_folder) return Refuse(ErrorCode::kNotDirectory, act, "it is a file");
  if (replaces_folder && !replaced->folder.present().empty()) {
    return Refuse(ErrorCode::kNotEmpty, act, "the folder is not empty");
  }
  return {};
}

void SimulatedSystem::Rename(const Place& from, const Place& to, const InodePointer& moved) {
  if (from.folder == to.folder) {
    Enter(*from.folder, {{{from.name, nullptr}, {to.name, moved}}});
    return;
  }
  const uint64_t rename = next_rename++;
  const bool is_folder = moved->kind == EntryKind::kDirectory;
  Enter(*from.folder, {{{from.name, nullptr}}, rename, to.folder, true});
  Enter(*to.folder, {{{to.name, moved}}, rename, from.folder, is_folder});
}

void SimulatedSystem::Restart(CrashMode mode, uint64_t seed) {
  std::mt19937_64 random(seed);
  ++start;
  open_handles = 0;
  used_bytes = 0;
  faults.Clear();
  if (mode != CrashMode::kProcessOnly) {
    const std::vector<InodePointer> folders = FoldersOnDisk(root);
    std::vector<size_t> keep(folders.size(), 0);
    if (mode == CrashMode::kRandom) keep = DrawSurvivingChanges(folders, random);
    for (size_t i = 0; i < folders.size(); ++i) folders[i]->folder.Settle(keep[i]);
    for (const InodePointer& folder : folders) folder->folder.RestartFromDurable();
  }
  std::vector<InodePointer> inodes{root};
  std::set<const SimulatedInode*> seen{root.get()};
  for (size_t i = 0; i < inodes.size(); ++i) {
    const InodePointer folder = inodes[i];
    for (const auto& [name, inode] : folder->folder.present()) {
      if (seen.insert(inode.get()).second) {
        inode->link_count = 0;
        inode->open_handles = 0;
        inode->lock_holder = nullptr;
        inode->lock_sharers.clear();
        if (mode == CrashMode::kLoseAll) inode->content.LoseUnsynced();
        if (mode == CrashMode::kRandom) inode->content.TearUnsynced(random);
        used_bytes += inode->content.allocated_bytes();
        inodes.push_back(inode);
      }
      ++inode->link_count;
    }
  }
}

}  // namespace quoin::simulation

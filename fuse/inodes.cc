#include "fuse/inodes.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <vector>

#include "metadata/names.h"

namespace quoin {
namespace {

// How long after its CREATE a touch may set the times of the snapshot that it made.
constexpr std::chrono::seconds kTouchGrace{10};
// Deeper than any name can be: a chain that is longer has gone in a circle.
constexpr size_t kMaxFolderDepth = kMaxNameBytes / 2;
// Expired places are swept when this many are known.
constexpr size_t kSweepPlacesAbove = 4096;

}  // namespace

Inodes::Inodes(KeptSession* kept) : kept_(kept) {
  for (auto kind = NodeKind::kRoot; kind <= NodeKind::kVersion;
       kind = static_cast<NodeKind>(static_cast<int>(kind) + 1)) {
    const NodeKey key{kind, {}, {}, 0};
    const uint64_t number = PreferredNumber(key);
    auto node = std::make_shared<Node>(number, key);
    node->lookups = 1;  // ours: never forgotten
    nodes_.emplace(number, std::move(node));
  }
}

void Inodes::Resume() {
  if (kept_ == nullptr) return;
  MutexLock lock(mutex_);
  for (KeptInode* const kept : kept_->Inodes()) {
    const NodeKey key = kept->key.ToKey();
    if (kept->lookups.load() == 0) {  // was just being forgotten
      kept_->FreeInode(kept);
      continue;
    }
    auto node = std::make_shared<Node>(kept->number, key);
    node->lookups = kept->lookups.load();
    node->kept = kept;
    node->creator = kept->creator.load();
    node->created_at = std::chrono::steady_clock::time_point(
        std::chrono::nanoseconds(kept->created_at_ns.load()));
    const uint64_t parent_folder = kept->parent_folder.load();
    const std::shared_ptr<FolderPlace> parent =
        parent_folder == 0 ? nullptr : PlaceOf(parent_folder);
    if (key.kind == NodeKind::kFolder || key.kind == NodeKind::kSnapshotFolder) {
      node->place = PlaceOf(key.folder_number);
      node->place->parent = parent;
      node->place->name = kept->Name();
    } else if (key.kind == NodeKind::kSnapshotVdi) {
      node->parent = parent;
      node->name = kept->Name();
    } else if (key.kind == NodeKind::kSnapshot) {
      node->snapshot = kept->ToSnapshot();
    }
    if (kept->number != PreferredNumber(key)) moved_numbers_[key] = kept->number;
    nodes_[kept->number] = std::move(node);
  }
}

void Inodes::Keep(Node& node) {
  if (kept_ == nullptr) return;
  KeptInode* const kept = kept_->NewInode();
  if (kept == nullptr) {
    spdlog::warn("more nodes than are kept: one is unknown to the next daemon");
    return;
  }
  kept->key.Set(node.key);
  kept->number = node.number;
  kept->lookups.store(node.lookups);
  if (node.snapshot) kept->SetSnapshot(*node.snapshot);
  node.kept = kept;
}

// The name last: until it is there the place counts as not known.
void Inodes::KeepPlace(Node& node) {
  if (node.kept == nullptr) return;
  const bool is_folder = node.place != nullptr;
  if (!is_folder && node.key.kind != NodeKind::kSnapshotVdi) return;
  const FolderPlace* const parent = is_folder ? node.place->parent.get() : node.parent.get();
  const uint64_t parent_folder = parent == nullptr ? 0 : parent->folder_number;
  if (node.kept->parent_folder.load() != parent_folder) {
    node.kept->name_bytes.store(0);
    node.kept->parent_folder.store(parent_folder);
  }
  node.kept->SetName(is_folder ? node.place->name : node.name);
}

std::shared_ptr<Node> Inodes::Find(uint64_t number) const {
  MutexLock lock(mutex_);
  const auto found = nodes_.find(number);
  return found == nodes_.end() ? nullptr : found->second;
}

uint64_t Inodes::NumberFor(const NodeKey& key) const {
  if (const auto moved = moved_numbers_.find(key); moved != moved_numbers_.end()) {
    return moved->second;
  }
  uint64_t number = PreferredNumber(key);
  for (auto found = nodes_.find(number); found != nodes_.end() && !(found->second->key == key);
       found = nodes_.find(number)) {
    number = NextNumber(number);
  }
  return number;
}

uint64_t Inodes::NumberOf(const NodeKey& key) const {
  MutexLock lock(mutex_);
  return NumberFor(key);
}

std::shared_ptr<Node> Inodes::Remember(const NodeKey& key, const Node& parent,
                                       const std::string& name, const SnapshotRecord* snapshot) {
  MutexLock lock(mutex_);
  const uint64_t number = NumberFor(key);
  std::shared_ptr<Node>& node = nodes_[number];
  if (node == nullptr) {
    node = std::make_shared<Node>(number, key);
    if (snapshot != nullptr) node->snapshot = *snapshot;
    if (number != PreferredNumber(key)) moved_numbers_[key] = number;
    Keep(*node);
  }
  ++node->lookups;
  SetPlace(*node, parent, name);
  if (node->kept != nullptr) {
    node->kept->lookups.store(node->lookups);
    KeepPlace(*node);
    node->kept->is_used.store(1);
  }
  return node;
}

void Inodes::Forget(uint64_t number, uint64_t references) {
  std::shared_ptr<Node> last;  // destroyed after the mutex is let go
  MutexLock lock(mutex_);
  const auto found = nodes_.find(number);
  if (found == nodes_.end() || IsFixed(found->second->key.kind)) return;
  Node& node = *found->second;
  node.lookups -= std::min(references, node.lookups);
  if (node.kept != nullptr) node.kept->lookups.store(node.lookups);
  if (node.lookups != 0) return;
  if (node.kept != nullptr) kept_->FreeInode(std::exchange(node.kept, nullptr));
  if (number != PreferredNumber(node.key)) moved_numbers_.erase(node.key);
  last = std::move(found->second);
  nodes_.erase(found);
}

std::shared_ptr<FolderPlace> Inodes::PlaceOf(uint64_t folder_number) {
  if (places_.size() > kSweepPlacesAbove) {
    std::erase_if(places_, [](const auto& entry) { return entry.second.expired(); });
  }
  std::weak_ptr<FolderPlace>& known = places_[folder_number];
  std::shared_ptr<FolderPlace> place = known.lock();
  if (place == nullptr) {
    place = std::make_shared<FolderPlace>();
    place->folder_number = folder_number;
    known = place;
  }
  return place;
}

void Inodes::SetPlace(Node& node, const Node& parent, const std::string& name) {
  if (node.key.kind == NodeKind::kFolder || node.key.kind == NodeKind::kSnapshotFolder) {
    if (node.place == nullptr) node.place = PlaceOf(node.key.folder_number);
    node.place->parent = parent.place;
    node.place->name = name;
  } else if (node.key.kind == NodeKind::kSnapshotVdi) {
    node.parent = parent.place;
    node.name = name;
  }
}

Result<std::string> Inodes::PathOfPlace(const FolderPlace* place) const {
  std::vector<const std::string*> parts;
  for (; place != nullptr; place = place->parent.get()) {
    if (place->name.empty() || parts.size() == kMaxFolderDepth) {
      return Fail(ErrorCode::kNotFound, "the folder has been moved or removed");
    }
    parts.push_back(&place->name);
  }
  std::string path;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!path.empty()) path += '/';
    path += **part;
  }
  return path;
}

Result<std::string> Inodes::PathOf(const Node& folder) const {
  MutexLock lock(mutex_);
  if (folder.key.kind != NodeKind::kSnapshotVdi) return PathOfPlace(folder.place.get());
  QUOIN_ASSIGN(std::string path, PathOfPlace(folder.parent.get()));
  if (!path.empty()) path += '/';
  return path + folder.name;
}

Result<std::string> Inodes::PathIn(const Node& folder, const std::string& name) const {
  QUOIN_ASSIGN(std::string path, PathOf(folder));
  if (!path.empty()) path += '/';
  return path + name;
}

uint64_t Inodes::ParentNumber(const Node& node) const {
  MutexLock lock(mutex_);
  const bool in_vdis = node.key.kind == NodeKind::kFolder;
  if (IsFixed(node.key.kind)) return PreferredNumber({NodeKind::kRoot, {}, {}, 0});
  const FolderPlace* parent = node.key.kind == NodeKind::kSnapshotVdi ? node.parent.get()
                              : node.place != nullptr                 ? node.place->parent.get()
                                                                      : nullptr;
  if (parent == nullptr) {
    return PreferredNumber({in_vdis ? NodeKind::kVdis : NodeKind::kSnapshots, {}, {}, 0});
  }
  return NumberFor({in_vdis ? NodeKind::kFolder : NodeKind::kSnapshotFolder, {}, {},
                    parent->folder_number});
}

void Inodes::MoveFolder(uint64_t folder_number, const Node& new_parent, const std::string& name) {
  MutexLock lock(mutex_);
  const auto known = places_.find(folder_number);
  if (known == places_.end()) return;
  const std::shared_ptr<FolderPlace> place = known->second.lock();
  if (place == nullptr) return;
  place->parent = new_parent.place;
  place->name = name;
  for (const NodeKind kind : {NodeKind::kFolder, NodeKind::kSnapshotFolder}) {
    const auto node = nodes_.find(NumberFor({kind, {}, {}, folder_number}));
    if (node != nodes_.end()) KeepPlace(*node->second);
  }
}

void Inodes::SetCreator(Node& snapshot, pid_t creator) {
  MutexLock lock(mutex_);
  snapshot.creator = creator;
  snapshot.created_at = std::chrono::steady_clock::now();
  if (snapshot.kept == nullptr) return;
  snapshot.kept->created_at_ns.store(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                         snapshot.created_at.time_since_epoch())
                                         .count());
  snapshot.kept->creator.store(creator);
}

bool Inodes::WasJustCreatedBy(const Node& snapshot, pid_t caller) const {
  MutexLock lock(mutex_);
  return snapshot.creator != 0 && snapshot.creator == caller &&
         std::chrono::steady_clock::now() - snapshot.created_at < kTouchGrace;
}

}  // namespace quoin

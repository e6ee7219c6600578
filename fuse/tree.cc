#include "fuse/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "fuse/attributes.h"

namespace quoin {
namespace {

struct FixedEntry {
  NodeKind folder;
  const char* name;
  NodeKind kind;
};

constexpr std::array kFixedEntries = {
    FixedEntry{NodeKind::kRoot, kControlName, NodeKind::kControl},
    FixedEntry{NodeKind::kRoot, kSnapshotsName, NodeKind::kSnapshots},
    FixedEntry{NodeKind::kRoot, kVdisName, NodeKind::kVdis},
    FixedEntry{NodeKind::kControl, kMetricsName, NodeKind::kMetrics},
    FixedEntry{NodeKind::kControl, kStatusName, NodeKind::kStatus},
    FixedEntry{NodeKind::kControl, kVersionName, NodeKind::kVersion},
};

int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

NodeKey KeyOf(NodeKind kind) { return {kind, {}, {}, 0}; }
NodeKey KeyOf(NodeKind kind, const Id& vdi) { return {kind, vdi, {}, 0}; }
NodeKey KeyOf(const Id& vdi, const SnapshotRecord& snapshot) {
  return {NodeKind::kSnapshot, vdi, snapshot.id, 0};
}

Found FoundSnapshot(const Id& vdi, SnapshotRecord snapshot) {
  Found found{KeyOf(vdi, snapshot), SnapshotAttributes(snapshot), {}};
  found.snapshot = std::move(snapshot);
  return found;
}

Failure NothingCalled(const std::string& name) {
  return Fail(ErrorCode::kNotFound, fmt::format("there is nothing called {}", name));
}

}  // namespace

double AttributeSeconds(const Found& found) {
  if (found.is_passing) return 0;
  return found.key.kind == NodeKind::kSnapshot ? kFixedSeconds : kAttributeSeconds;
}

Tree::Tree(Store& store, const Inodes& inodes)
    : store_(store), inodes_(inodes), mounted_ns_(NowNanoseconds()) {}

Result<Found> Tree::Look(const Node& folder, const std::string& name) const {
  if (name.size() > kMaxNamePartBytes) {
    return Fail(ErrorCode::kNameTooLong,
                fmt::format("a name has at most {} bytes", kMaxNamePartBytes));
  }
  switch (folder.key.kind) {
    case NodeKind::kRoot:
    case NodeKind::kControl:
      for (const FixedEntry& entry : kFixedEntries) {
        if (entry.folder != folder.key.kind || name != entry.name) continue;
        QUOIN_ASSIGN(const struct stat attributes, FixedAttributes(entry.kind));
        return Found{KeyOf(entry.kind), attributes, {}};
      }
      return NothingCalled(name);
    case NodeKind::kVdis:
    case NodeKind::kFolder:
    case NodeKind::kSnapshots:
    case NodeKind::kSnapshotFolder:
      return LookForVdi(folder, name);
    case NodeKind::kSnapshotVdi:
      return LookForSnapshot(folder, name);
    default:
      return Fail(ErrorCode::kNotDirectory, fmt::format("cannot look for {} in a file", name));
  }
}

Result<NodeKey> Tree::Identify(const Node& folder, const std::string& name) const {
  if (!HoldsVdis(folder.key.kind) && !MirrorsVdis(folder.key.kind)) {
    QUOIN_ASSIGN(const Found found, Look(folder, name));
    return found.key;
  }
  const bool mirrored = MirrorsVdis(folder.key.kind);
  QUOIN_ASSIGN(const std::string path, inodes_.PathIn(folder, name));
  QUOIN_ASSIGN(const NameFacts facts, store_.Lookup(path));
  if (!facts.is_folder) {
    return KeyOf(mirrored ? NodeKind::kSnapshotVdi : NodeKind::kVdi, facts.vdi);
  }
  return NodeKey{
      mirrored ? NodeKind::kSnapshotFolder : NodeKind::kFolder, {}, {}, facts.folder_number};
}

Result<Found> Tree::LookForVdi(const Node& folder, const std::string& name) const {
  const bool mirrored = MirrorsVdis(folder.key.kind);
  QUOIN_ASSIGN(const std::string path, inodes_.PathIn(folder, name));
  QUOIN_ASSIGN(const NameFacts facts, store_.Lookup(path));
  if (facts.is_folder) {
    return Found{
        {mirrored ? NodeKind::kSnapshotFolder : NodeKind::kFolder, {}, {}, facts.folder_number},
        FolderAttributes(facts),
        {}};
  }
  if (mirrored) {
    QUOIN_ASSIGN(const struct stat attributes, SnapshotVdiStat(facts.vdi));
    return Found{KeyOf(NodeKind::kSnapshotVdi, facts.vdi), attributes, {}};
  }
  return FoundVdi(facts.vdi);
}

Result<Found> Tree::FoundVdi(const Id& vdi) const {
  QUOIN_ASSIGN(const FileInfo info, store_.DescribeFile(vdi));
  return Found{KeyOf(NodeKind::kVdi, vdi), VdiAttributes(info), {}, info.is_passing};
}

Result<Found> Tree::LookForSnapshot(const Node& folder, const std::string& name) const {
  const Id& vdi = folder.key.vdi;
  if (name == kLatestName) {
    QUOIN_ASSIGN(const SnapshotRecord newest, store_.NewestSnapshot(vdi));
    return Found{KeyOf(NodeKind::kLatest, vdi), LatestAttributes(newest), {}};
  }
  QUOIN_ASSIGN(SnapshotRecord snapshot, store_.FindSnapshot(vdi, name));
  return FoundSnapshot(vdi, std::move(snapshot));
}

Result<Found> Tree::Describe(const Node& node) const {
  if (node.key.kind == NodeKind::kVdi) return FoundVdi(node.key.vdi);
  QUOIN_ASSIGN(const struct stat attributes, Attributes(node));
  return Found{node.key, attributes, {}};
}

Result<struct stat> Tree::Attributes(const Node& node) const {
  switch (node.key.kind) {
    case NodeKind::kFolder:
    case NodeKind::kSnapshotFolder:
      return FolderStat(node);
    case NodeKind::kSnapshotVdi:
      return SnapshotVdiStat(node.key.vdi);
    case NodeKind::kSnapshot:
      return SnapshotAttributes(*node.snapshot);
    case NodeKind::kLatest: {
      QUOIN_ASSIGN(const SnapshotRecord newest, store_.NewestSnapshot(node.key.vdi));
      return LatestAttributes(newest);
    }
    default:
      return FixedAttributes(node.key.kind);
  }
}

Result<struct stat> Tree::FixedAttributes(NodeKind kind) const {
  switch (kind) {
    case NodeKind::kStatus:
    case NodeKind::kMetrics:
    case NodeKind::kVersion:
      return ControlFileAttributes(mounted_ns_);
    case NodeKind::kControl:
      return FixedFolderAttributes(0555, mounted_ns_);
    default:
      return FixedFolderAttributes(0755, mounted_ns_);
  }
}

Result<struct stat> Tree::FolderStat(const Node& folder) const {
  QUOIN_ASSIGN(const std::string path, inodes_.PathOf(folder));
  QUOIN_ASSIGN(const NameFacts facts, store_.Lookup(path));
  if (!facts.is_folder || facts.folder_number != folder.key.folder_number) {
    return NothingCalled(path);
  }
  return FolderAttributes(facts);
}

Result<struct stat> Tree::SnapshotVdiStat(const Id& vdi) const {
  QUOIN_ASSIGN(const HistoryInfo info, store_.DescribeHistory(vdi));
  return SnapshotVdiAttributes(info);
}

Result<std::vector<Listed>> Tree::List(const Node& folder) const {
  if (HoldsVdis(folder.key.kind) || MirrorsVdis(folder.key.kind)) return ListVdis(folder);
  if (folder.key.kind == NodeKind::kSnapshotVdi) return ListSnapshots(folder);
  return ListFixed(folder.key.kind);
}

Result<std::vector<Listed>> Tree::ListFixed(NodeKind kind) const {
  std::vector<Listed> entries;
  for (const FixedEntry& entry : kFixedEntries) {
    if (entry.folder != kind) continue;
    QUOIN_ASSIGN(const struct stat attributes, FixedAttributes(entry.kind));
    entries.push_back(
        {entry.name, attributes.st_mode & S_IFMT, Found{KeyOf(entry.kind), attributes, {}}});
  }
  return entries;
}

Result<std::vector<Listed>> Tree::ListVdis(const Node& folder) const {
  QUOIN_ASSIGN(const std::string path, inodes_.PathOf(folder));
  QUOIN_ASSIGN(std::vector<NameEntry> names, store_.List(path));
  std::vector<Listed> entries;
  entries.reserve(names.size());
  for (NameEntry& entry : names) {
    const bool shown_as_folder = entry.is_folder || MirrorsVdis(folder.key.kind);
    entries.push_back(
        {std::move(entry.name), static_cast<mode_t>(shown_as_folder ? S_IFDIR : S_IFREG), {}});
  }
  return entries;
}

Result<std::vector<Listed>> Tree::ListSnapshots(const Node& folder) const {
  const Id& vdi = folder.key.vdi;
  QUOIN_ASSIGN(std::vector<SnapshotRecord> snapshots, store_.ListSnapshots(vdi));
  std::vector<Listed> entries;
  entries.reserve(snapshots.size() + 1);
  if (!snapshots.empty()) {
    entries.push_back({kLatestName, S_IFLNK,
                       Found{KeyOf(NodeKind::kLatest, vdi), LatestAttributes(snapshots.back()), {}}});
  }
  for (SnapshotRecord& snapshot : snapshots) {
    std::string name = snapshot.name;
    entries.push_back({std::move(name), S_IFREG, FoundSnapshot(vdi, std::move(snapshot))});
  }
  return entries;
}

Result<std::string> Tree::LatestTarget(const Id& vdi) const {
  QUOIN_ASSIGN(SnapshotRecord newest, store_.NewestSnapshot(vdi));
  return std::move(newest.name);
}

Result<std::string> Tree::VdiName(const Node& snapshot_vdi) const {
  if (Result<std::string> path = inodes_.PathOf(snapshot_vdi)) {
    const Result<NameFacts> facts = store_.Lookup(*path);
    if (facts && !facts->is_folder && facts->vdi == snapshot_vdi.key.vdi) return path;
  }
  return store_.NameOf(snapshot_vdi.key.vdi);
}

}  // namespace quoin

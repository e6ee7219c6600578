// What the mounted tree holds: which object a name in a folder is, what a folder lists, what stat
// shows. Speaks of nodes and names, not of the kernel's requests. Owned by Operations; thread-safe,
// without state of its own: every answer comes from the Store.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "fuse/inodes.h"
#include "fuse/node.h"
#include "snapshots/store.h"

namespace quoin {

inline constexpr char kVdisName[] = "vdis";
inline constexpr char kSnapshotsName[] = "snapshots";
inline constexpr char kControlName[] = ".quoin";
inline constexpr char kStatusName[] = "status.json";
inline constexpr char kMetricsName[] = "metrics";
inline constexpr char kVersionName[] = "version";
inline constexpr char kLatestName[] = "latest";

// An object and what stat shows of it (st_ino is not filled in).
struct Found {
  NodeKey key;
  struct stat attributes {};
  std::optional<SnapshotRecord> snapshot;  // of a kSnapshot
  bool is_passing = false;                 // the kernel is not to keep the attributes
};

// Seconds for which the kernel may keep the attributes.
double AttributeSeconds(const Found& found);

// An entry of a folder. What is not known without asking the Store again is left to Look.
struct Listed {
  std::string name;
  mode_t type = 0;  // S_IFREG, S_IFDIR or S_IFLNK
  std::optional<Found> found;
};

class Tree {
 public:
  // Both must outlive the tree.
  Tree(Store& store, const Inodes& inodes);

  // What `name` in the folder is; kNotFound, kNameTooLong, kCorrupt.
  Result<Found> Look(const Node& folder, const std::string& name) const;
  // Which object it is, without its attributes: cheaper.
  Result<NodeKey> Identify(const Node& folder, const std::string& name) const;
  // kNotFound if the object has been removed.
  Result<Found> Describe(const Node& node) const;
  // Sorted by name, snapshots by order of taking. Without "." and "..".
  Result<std::vector<Listed>> List(const Node& folder) const;
  // What `latest` points to; kNotFound without snapshots.
  Result<std::string> LatestTarget(const Id& vdi) const;
  // The VDI's name, where a node of its snapshots' folder says that it is or wherever it has gone.
  Result<std::string> VdiName(const Node& snapshot_vdi) const;

 private:
  Result<Found> LookForVdi(const Node& folder, const std::string& name) const;
  Result<Found> LookForSnapshot(const Node& folder, const std::string& name) const;
  Result<Found> FoundVdi(const Id& vdi) const;
  Result<struct stat> Attributes(const Node& node) const;  // of all but VDIs
  Result<struct stat> FixedAttributes(NodeKind kind) const;
  Result<struct stat> FolderStat(const Node& folder) const;
  Result<struct stat> SnapshotVdiStat(const Id& vdi) const;
  Result<std::vector<Listed>> ListFixed(NodeKind kind) const;
  Result<std::vector<Listed>> ListVdis(const Node& folder) const;
  Result<std::vector<Listed>> ListSnapshots(const Node& folder) const;

  Store& store_;
  const Inodes& inodes_;
  const int64_t mounted_ns_;
};

}  // namespace quoin

// What the kernel knows by a number: a folder or file of the tree. Made and owned by Inodes, shared
// with the requests and handles that use it.
//
// A node's number is its inode number. It is derived from stored ids alone, so that it is the same
// after a remount and on every host. What outlives the daemon of it is in KeptSession.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blockstore/base/id.h"
#include "metadata/vdi_records.h"

namespace quoin {

struct KeptInode;

enum class NodeKind : uint8_t {
  kRoot,            // MOUNT
  kVdis,            // MOUNT/vdis
  kSnapshots,       // MOUNT/snapshots
  kControl,         // MOUNT/.quoin
  kStatus,          // MOUNT/.quoin/status.json
  kMetrics,         // MOUNT/.quoin/metrics
  kVersion,         // MOUNT/.quoin/version
  kFolder,          // vdis/lab
  kVdi,             // vdis/lab/db02
  kSnapshotFolder,  // snapshots/lab
  kSnapshotVdi,     // snapshots/lab/db02: a folder with the VDI's snapshots
  kSnapshot,        // snapshots/lab/db02/monday
  kLatest,          // snapshots/lab/db02/latest
};

// Which object a node stands for, whatever its name is just now.
struct NodeKey {
  NodeKind kind = NodeKind::kRoot;
  Id vdi;                      // kVdi, kSnapshotVdi, kSnapshot, kLatest
  Id snapshot;                 // kSnapshot
  uint64_t folder_number = 0;  // kFolder, kSnapshotFolder

  bool operator==(const NodeKey&) const = default;
};

struct NodeKeyHash {
  size_t operator()(const NodeKey& key) const;
};

// Numbers below this are the fixed nodes': one more than their NodeKind.
inline constexpr uint64_t kFirstFreeNumber = 16;

// The number that the object would like. Below 2^63, since some backup tools keep inode numbers in
// signed columns.
uint64_t PreferredNumber(const NodeKey& key);
// The next one to try when a number is another object's.
uint64_t NextNumber(uint64_t number);

// Kinds of which there is one, with a fixed number.
bool IsFixed(NodeKind kind);
bool IsFolder(NodeKind kind);
// vdis/ and the user's folders in it; snapshots/ and its mirror of them.
bool HoldsVdis(NodeKind kind);
bool MirrorsVdis(NodeKind kind);
bool IsControl(NodeKind kind);

// Where one of the user's folders is, shared by its node in vdis/ and its node in snapshots/. Guarded
// by the mutex of Inodes.
struct FolderPlace {
  uint64_t folder_number = 0;
  std::shared_ptr<FolderPlace> parent;  // null: directly below vdis/ and snapshots/
  std::string name;
};

struct Node {
  Node(uint64_t its_number, const NodeKey& its_key) : number(its_number), key(its_key) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const uint64_t number;
  const NodeKey key;

  // Of a kSnapshot, constant once the node is shared: all but the name never changes.
  std::optional<SnapshotRecord> snapshot;

  // Open files that use the page cache. A direct write looks here to know whether the kernel may hold
  // pages that it has just made old.
  std::atomic<uint32_t> cached_handles{0};

  // Guarded by the mutex of Inodes.
  uint64_t lookups = 0;                 // the kernel's references
  KeptInode* kept = nullptr;            // the same for the next daemon; null of those with fixed numbers
  std::shared_ptr<FolderPlace> place;   // kFolder, kSnapshotFolder: its own
  std::shared_ptr<FolderPlace> parent;  // kSnapshotVdi: of the folder that it is in; null: the top
  std::string name;                     // kSnapshotVdi: its last part
  pid_t creator = 0;                    // kSnapshot: the thread whose touch made it
  std::chrono::steady_clock::time_point created_at;
};

}  // namespace quoin

// The nodes that the kernel holds references to, and where the user's folders are. Owned by
// Operations; thread-safe; in memory, and in that of the KeptSession for the next daemon.
//
// Holds one mutex of rank kTree, for moments: never across a call of the Store or a reply.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "blockstore/base/error.h"
#include "blockstore/base/mutex.h"
#include "fuse/kept_session.h"
#include "fuse/node.h"

namespace quoin {

class Inodes {
 public:
  // `kept`, if not null, outlives it.
  explicit Inodes(KeptSession* kept = nullptr);

  // Knows again what a daemon before has kept.
  void Resume();

  // Null for a number that the kernel has no reference to.
  std::shared_ptr<Node> Find(uint64_t number) const;
  // The number that a node has or would get; without making one.
  uint64_t NumberOf(const NodeKey& key) const;

  // The node of an object that was found as `name` in `parent`, with one reference more. `snapshot`
  // is the record of a kSnapshot.
  std::shared_ptr<Node> Remember(const NodeKey& key, const Node& parent, const std::string& name,
                                 const SnapshotRecord* snapshot);
  void Forget(uint64_t number, uint64_t references);

  // The name in the store of what lies in a folder: "" and "db02" for vdis/, "lab" and "lab/db02" for
  // vdis/lab or snapshots/lab. kNotFound if the folder's place is not known.
  Result<std::string> PathOf(const Node& folder) const;
  Result<std::string> PathIn(const Node& folder, const std::string& name) const;
  // The folder in which a node lies, for readdir's "..".
  uint64_t ParentNumber(const Node& node) const;

  // One of the user's folders is now `name` in `new_parent` (a node of vdis/).
  void MoveFolder(uint64_t folder_number, const Node& new_parent, const std::string& name);

  // Who made a snapshot by touch, just now.
  void SetCreator(Node& snapshot, pid_t creator);
  bool WasJustCreatedBy(const Node& snapshot, pid_t caller) const;

 private:
  uint64_t NumberFor(const NodeKey& key) const QUOIN_REQUIRES(mutex_);
  std::shared_ptr<FolderPlace> PlaceOf(uint64_t folder_number) QUOIN_REQUIRES(mutex_);
  void SetPlace(Node& node, const Node& parent, const std::string& name) QUOIN_REQUIRES(mutex_);
  Result<std::string> PathOfPlace(const FolderPlace* place) const QUOIN_REQUIRES(mutex_);

  void Keep(Node& node) QUOIN_REQUIRES(mutex_);
  static void KeepPlace(Node& node);

  KeptSession* const kept_;
  mutable Mutex mutex_{LockRank::kTree};
  std::unordered_map<uint64_t, std::shared_ptr<Node>> nodes_ QUOIN_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, std::weak_ptr<FolderPlace>> places_ QUOIN_GUARDED_BY(mutex_);
  // Only of objects whose preferred number another object has.
  std::unordered_map<NodeKey, uint64_t, NodeKeyHash> moved_numbers_ QUOIN_GUARDED_BY(mutex_);
};

}  // namespace quoin

// `quoin check`: reads everything that describes the content of a store and compares it with what
// must hold, without changing a byte: superblock, names, folders of VDIs, lock records, both
// databases of each VDI, every layer's files and set of owned blocks, snapshots, hard links,
// groups, and what nobody refers to. Contents of blocks are not read.
//
// Runs beside living owners. A VDI that somebody owns is checked as far as it is published; its own
// database belongs to its owner. The database of a VDI that nobody owns is looked at in a copy,
// made in `scratch_folder`, which the caller makes and removes. What changes under the check is
// looked at again. One thread; a crash leaves nothing in the store.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/maps/node_cache.h"
#include "blockstore/packs/pack_store.h"
#include "metadata/names.h"
#include "metadata/store_layout.h"

namespace quoin {

enum class Severity {
  kNote,     // as it should be after a crash, or while an owner is at work
  kWarning,  // takes space or is unexpected, harms nothing
  kDamage,   // something cannot be read or is not what it was
};

// A stable word: "note", "warning", "damage".
std::string_view ToWord(Severity severity);

struct Finding {
  Severity severity = Severity::kDamage;
  std::string object;  // "vdis/web01", "quoin.store", ...
  std::string what;
  std::string next;  // what the user can do; may be empty
};

struct CheckReport {
  uint64_t vdis = 0;
  uint64_t snapshots = 0;
  uint64_t layers = 0;
  std::vector<Finding> findings;

  bool IsDamaged() const;
};

// Files of layers by identity: the hard links of each that were found in folders of VDIs.
struct LayerLinks {
  uint64_t found = 0;
  std::string path;  // one of them
};
using LinkCensus = std::map<std::pair<uint64_t, uint64_t>, LayerLinks>;

class StoreCheck {
 public:
  StoreCheck(FileSystem& file_system, std::string root, FileSystem& scratch,
             std::string scratch_folder);

  // What was found. An error only if the store cannot be examined at all: it is none, it is of a
  // newer format, or a folder that holds everything cannot be read.
  Result<CheckReport> Run();

 private:
  static constexpr size_t kNodeCacheBytes = size_t{64} << 20;

  struct Folder {
    std::string suffix;  // "", ".new" or ".removed"
  };

  void Add(Severity severity, std::string object, std::string what, std::string next = {});
  Status ReadFolders();
  bool IsOfARebuild(const DirectoryEntry& entry);
  Status ReadNames();
  void CheckNames();
  void CheckFolders();
  Status CheckVdis();
  void CountLinks();
  void CheckGroups();
  void CheckTemporaries();
  std::string ObjectOf(const Id& id) const;

  FileSystem& file_system_;
  const StoreLayout layout_;
  FrameCache frames_{0};  // only maps are read, and of each frame only where it lies
  NodeCache nodes_{kNodeCacheBytes};
  PackStore packs_;
  FileSystem& scratch_;
  const std::string scratch_folder_;

  std::map<Id, Folder> folders_;
  std::vector<std::string> put_aside_;  // names of folders in vdis/ that a rebuild left
  std::map<Id, std::vector<std::string>> names_;
  bool someone_at_work_ = false;  // a VDI is owned, so files may come and go
  CheckReport report_;
};

}  // namespace quoin

// `quoin rebuild`: makes a store again of its packs, as far as anything of it is missing:
// superblock, folders, names, VDIs. What is there and can be read is left as it is; what cannot be
// read is put aside, and nothing is removed. Every sealed snapshot that a root record tells of
// comes back, with its id, name, digest and bytes; so does what was removed and has not been
// collected.
//
// One thread, one run. No collector and no second rebuild may be at work in the store (kBusy);
// living owners of other VDIs do not mind. It may be stopped at any point and run again: a VDI is
// there whole or not at all, names come before VDIs, so that a collector knows what is missing, and
// a new superblock comes last, so that nobody takes half of a store for a whole one. The order of
// the steps is in README.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "metadata/collection_lock.h"
#include "metadata/collector_lock.h"
#include "snapshots/lost_vdi.h"
#include "snapshots/packed_roots.h"
#include "snapshots/store.h"

namespace quoin {

struct RebuildOptions {
  bool dry_run = false;  // say what would be done
  StoreOptions store;
};

struct RebuiltVdi {
  Id id;
  std::string name;
  uint64_t snapshots = 0;
  bool only_name = false;    // all else was there
  bool was_damaged = false;  // what was there was put aside, as vdis/<id>.damaged
};

struct RebuildReport {
  bool new_superblock = false;
  uint64_t packs = 0;
  uint64_t records = 0;
  std::vector<RebuiltVdi> vdis;  // by name
  std::vector<LeftOut> left_out;

  bool IsDamaged() const;  // something was left out because it is damaged or lost
};

class StoreRebuild {
 public:
  // `file_system` must outlive it.
  StoreRebuild(FileSystem& file_system, std::string root, HostIdentity self,
               RebuildOptions options);
  ~StoreRebuild();

  // kNotAStore if there is neither a superblock nor a pack, kNewerFormat, kBusy; kIo if something
  // cannot be read now that may be there: what was made by then stays.
  Result<RebuildReport> Run();

 private:
  // A VDI that gets a name, and all else if it is lost.
  struct Rebuilt {
    LostVdi vdi;
    std::string name;
    bool has_name = false;  // a name leads to it already
    bool is_there = false;  // all but the name
    bool is_damaged = false;
    uint64_t snapshots = 0;
  };
  enum class Found { kMissing, kThere, kUnreadable };
  struct Folder {
    Found found = Found::kMissing;
    bool is_published = false;
    uint64_t snapshots = 0;
    int64_t changed_ns = 0;
  };

  Status ReadSuperblockIfAny();
  Status OpenStore();
  Status RemoveUnfinished();
  // Folders before names, so that a VDI that is made meanwhile has its name.
  Status ReadFolders();
  Status ReadNames();
  Status FindLost();
  Status AddLost(const Id& id, bool is_damaged);
  void FindNameless();
  Result<Folder> LookAt(const Id& id);
  Result<Found> LookAtDatabase(const Id& id, const std::string& folder);
  void ReportUnreadable();
  void ReportLostNames();
  void ChooseNames();
  bool IsFree(const std::string& name) const;
  Status ClaimNames();
  Status MakeParents(const std::string& name);
  Status PutAside(const Id& id);
  Status Make(const Rebuilt& lost);
  Status FinishSuperblock();
  void LeaveOut(std::string object, std::string why, bool is_damage = true);
  std::string TitleOf(const Id& id) const;

  FileSystem& file_system_;
  const StoreLayout layout_;
  const HostIdentity self_;
  const RebuildOptions options_;
  RebuildReport report_;
  std::optional<Superblock> superblock_;
  bool superblock_is_damaged_ = false;
  std::unique_ptr<CollectorLock> lock_;
  std::unique_ptr<Store> store_;  // null in a dry run
  Names names_;
  PackedRoots roots_;
  std::map<Id, std::vector<std::string>> names_of_;
  std::set<std::string> chosen_;
  std::map<Id, Folder> folders_;  // in their final place
  std::set<Id> unsettled_;        // VDIs that are being made or removed
  std::vector<Rebuilt> rebuilt_;
};

}  // namespace quoin

// All maps that anything in a store refers to: the pins of owners, then the published state of each
// VDI, in whatever folder it lies. Read once without a lock, and again, as far as it has changed,
// while nobody may refer to anything new. One thread; changes nothing but to make durable what it
// has seen.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/maps/map_root.h"
#include "metadata/names.h"
#include "metadata/store_layout.h"
#include "metadata/vdi_records.h"
#include "snapshots/root_record.h"

namespace quoin {

class StoreRoots {
 public:
  struct Root {
    MapRoot map;
    Id vdi;
  };

  StoreRoots(FileSystem& file_system, const StoreLayout& layout)
      : file_system_(file_system), layout_(layout) {}

  // The roots that no earlier call has returned. An error, which names the VDI, if a pin or a
  // published state cannot be read: what it refers to is not known then.
  Result<std::vector<Root>> Read();
  // kCorrupt if a name leads to a VDI that is not there: what a VDI referred to that was lost, not
  // removed, must not be taken for garbage. To be asked after a Read.
  Status CheckNames() const;
  // All that was read is durable after it: nothing older comes back after a power cut.
  Status MakeDurable();

  // True if what the record names is there: its snapshot with this map or, without one, its VDI with a
  // layer that has it. Of a VDI whose owner has a pin that is not known, so it is true of any.
  bool IsThere(const RootRecord& record) const;
  // Pins of VDIs that are gone. To be asked after a Read under the exclusive lock.
  std::vector<Id> LostPins() const;

  struct Vdi {
    FileIdentity file;
    int64_t ctime_ns = 0;
    bool in_place = false;  // in its final folder
    VdiState state;
  };
  const std::map<Id, Vdi>& vdis() const { return vdis_; }
  std::string TitleOf(const Id& vdi) const;

 private:
  enum class Found { kRead, kGone, kMoved };

  Status ReadOnce(bool* moved);
  Result<Found> ReadVdi(const Id& id, const std::string& suffix);
  void Add(const Id& vdi, const MapRoot& map);

  FileSystem& file_system_;
  const StoreLayout& layout_;
  std::set<Id> pinned_;
  std::map<Id, Vdi> vdis_;
  std::set<Id> seen_;      // by the last Read
  std::set<Id> unsynced_;  // of which the folders are to be synced
  std::set<SlotLocation> known_;
  std::vector<Root> added_;
};

}  // namespace quoin

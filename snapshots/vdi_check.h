// The part of StoreCheck that looks at one VDI's folder. Made for one VDI and used once, by one
// thread; changes nothing in the store.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "blockstore/layers/layer.h"
#include "metadata/store_layout.h"
#include "metadata/vdi_database.h"
#include "metadata/vdi_records.h"
#include "metadata/writer_lock.h"
#include "snapshots/layer_stack.h"
#include "snapshots/store_check.h"

namespace quoin {

struct VdiCheckReport {
  std::vector<Finding> findings;
  uint64_t snapshots = 0;
  uint64_t layers = 0;
  bool is_owned = false;  // by a living session, so only what is published was checked
  bool is_gone = false;   // removed meanwhile; nothing else counts
};

class VdiCheck {
 public:
  VdiCheck(FileSystem& file_system, const StoreLayout& layout, PackStore& packs, NodeCache& nodes,
           FileSystem& scratch, std::string scratch_folder, const Id& id);

  // `object` names the VDI in findings, `name` is what its users call it ("" if it has none). An
  // error only if the scratch folder cannot take a copy of its database.
  Result<VdiCheckReport> Run(const std::string& object, const std::string& name);

 private:
  // What tells that a VDI has changed under the check.
  struct Stamp {
    uint64_t epoch = 0;
    bool held = false;
    FileIdentity published;
    int64_t published_ctime_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  // How the layers of one state get their sets of owned blocks.
  struct Source {
    VdiDatabase* database = nullptr;  // null: the state is the published one
    const char* file = "";            // for messages
  };

  void Add(Severity severity, std::string what, std::string next = {});
  Stamp TakeStamp() const;
  Status RunOnce();
  void CheckLock();
  std::optional<VdiState> CheckPublished();
  Result<std::optional<VdiState>> CheckDatabase();
  Result<bool> CopyDatabase();
  void CheckState(const VdiState& state, const Source& source);
  void CheckRecord(const VdiState& state, const Source& source);
  void CheckLayer(const LayerRecord& record, const VdiState& state, const Source& source);
  Status CheckSealed(const LayerRecord& record);
  Result<std::unique_ptr<OwnershipSet>> LoadOwned(const LayerRecord& record, const VdiState& state,
                                                  const Source& source);
  void CheckHeadIsOurs(const LayerRecord& record);
  void CheckSnapshot(const SnapshotRecord& snapshot, const VdiState& state, const Source& source);
  std::optional<LayerStack> StackFrom(uint32_t top_seq, const VdiState& state) const;
  void CheckReachable(const VdiState& state);
  void CheckFiles(const VdiState& state);
  void CompareStates(const VdiState& owned, const VdiState& published);

  FileSystem& file_system_;
  PackStore& packs_;
  NodeCache& nodes_;
  const std::string folder_;
  FileSystem& scratch_;
  const std::string scratch_folder_;
  const Id id_;
  std::string object_;
  std::string name_;

  VdiCheckReport report_;
  LockStatus lock_;
  // Of the state being checked, by seq; a layer that could not be opened is missing.
  std::map<uint32_t, std::shared_ptr<const Layer>> layers_;
  std::map<uint32_t, std::shared_ptr<const SealedLayer>> sealed_;
};

}  // namespace quoin

// What the packs tell by themselves: all root records in them, and which of the maps that these
// name are whole. Changes nothing. One thread; no collector may run meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "blockstore/maps/map_walk.h"
#include "blockstore/maps/node_cache.h"
#include "blockstore/packs/pack_store.h"
#include "snapshots/root_record.h"

namespace quoin {

class PackedRoots {
 public:
  PackedRoots(FileSystem& file_system, const std::string& packs_folder)
      : packs_(file_system, packs_folder, frames_) {}

  // Whether there is any pack.
  Result<bool> HasPacks();
  // Reads the root records of every pack. What is damaged is left out, with a line in problems();
  // an error, kIo and kNewerFormat among them, means that more may be there than can be read now.
  Status Read();

  const std::map<Id, std::vector<RootRecord>>& of_vdis() const { return of_vdis_; }
  const std::vector<Error>& problems() const { return problems_; }
  uint64_t packs() const { return pack_count_; }
  uint64_t records() const { return record_count_; }

  // kNotFound if the map refers to something that is not in the packs: it was collected or lost.
  // kCorrupt if it cannot be told what it refers to. Of blocks it is only looked at whether they
  // are there, not at their bytes.
  Status CheckMap(const MapRoot& root);
  // Of a map that is whole: blocks with data below `blocks`, and whether there are any beyond.
  Result<uint64_t> CountData(const MapRoot& root, uint64_t blocks);
  Result<bool> HasDataBeyond(const MapRoot& root, uint64_t blocks);

 private:
  class Walk;

  Status ReadPack(const Id& id);
  Status ReadRecordAt(const SlotLocation& at);
  Status RequireSlots(const SlotLocation& first, uint64_t count, FrameKind kind);
  Result<std::unique_ptr<const Map>> OpenMap(const MapRoot& root);

  FrameCache frames_{0};  // only records are read, and each once
  NodeCache nodes_{kWalkCacheBytes};
  PackStore packs_;
  std::map<Id, std::vector<RootRecord>> of_vdis_;
  std::vector<Error> problems_;
  uint64_t pack_count_ = 0;
  uint64_t record_count_ = 0;
  std::map<SlotLocation, MapRoot> whole_;  // roots
  std::unordered_set<SlotLocation, SlotLocationHash> whole_nodes_;
};

}  // namespace quoin

// What of a VDI is to be sealed, and what has become of it. Plain data.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/layers/layer.h"
#include "blockstore/maps/map_root.h"
#include "snapshots/root_record.h"

namespace quoin {

// Frozen layers that become one sealed layer: one that a snapshot or the head stands on, and those
// below it that nothing else needs.
struct SealStep {
  uint32_t top_seq = 0;
  std::vector<uint32_t> seqs;                         // topmost first
  std::vector<std::shared_ptr<const Layer>> layers;  // the same
  uint32_t base_seq = 0;  // the sealed layer below (perhaps of an earlier step); 0: none
  std::vector<RootRecord> records;  // of what stands on it, but for the map
};

struct SealPlan {
  std::vector<SealStep> steps;
  // The layers that are sealed already and that steps stand on.
  std::vector<std::pair<uint32_t, MapRoot>> bases;
  uint64_t data_blocks = 0;  // in all the layers
  uint64_t unsealed_layers = 0;  // that the VDI has, planned or not
  // Of what is sealed already and has no root record yet.
  std::vector<RootRecord> missing_records;

  bool IsEmpty() const { return steps.empty() && missing_records.empty(); }
};

struct SealedStep {
  uint32_t top_seq = 0;
  std::vector<uint32_t> seqs;
  uint32_t base_seq = 0;
  MapRoot base;
  MapRoot root;
  std::vector<BlockRange> turned_holes;
};

struct SealedPlan {
  std::vector<SealedStep> steps;
  std::vector<RootRecord> records;  // all that the packs of the job hold
};

}  // namespace quoin

// What must hold of the records of a VDI, checked before they are written (a break is the caller's
// mistake: kInvalid) and again after they were read (a break is damage: kCorrupt). Pure functions.
#pragma once

#include <optional>
#include <string>

#include "metadata/vdi_records.h"

namespace quoin {

inline constexpr size_t kMaxLayerNameBytes = 64;

// What is wrong with the record, as a sentence without its end; nothing if it is right.
std::optional<std::string> FindProblem(const VdiRecord& vdi);
// A sealed layer has no parent and no files, and its map is possible: the empty map is MapRoot(),
// any other has a location, a digest and data. No other layer has a map, or is recorded.
std::optional<std::string> FindProblem(const LayerRecord& layer);
std::optional<std::string> FindProblem(const SnapshotRecord& snapshot);

// Each record by itself and all of them together: numbers and names are unique, the head is there
// and is the only one, every parent and every snapshot's layer is there and is frozen or sealed,
// no layer lies below itself, no snapshot of a layer that is not sealed has a digest or is
// recorded.
std::optional<std::string> FindProblem(const VdiState& state);

}  // namespace quoin

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
std::optional<std::string> FindProblem(const LayerRecord& layer);
std::optional<std::string> FindProblem(const SnapshotRecord& snapshot);

// Each record by itself and all of them together: numbers and names are unique, the head and the
// spare are there and are the only ones, every parent is there, is frozen (but for the spare's,
// which may be the head) and no layer lies below itself, every snapshot's layer is frozen.
std::optional<std::string> FindProblem(const VdiState& state);

}  // namespace quoin

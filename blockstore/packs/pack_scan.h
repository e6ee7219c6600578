// Finds a pack's frames without its table, by their headers: how a pack whose table is damaged
// stays readable.
#pragma once

#include <cstdint>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/packs/pack_format.h"

namespace quoin {

// The frames of `pack` whose headers are whole and whose payloads end before `end`, in the order of
// their slots. Damaged parts are skipped; of two frames that claim the same slot the one that lies
// further ahead counts. Payloads are not looked at. Fails only if the file cannot be read. Memory:
// one window of the file and what is found.
Result<std::vector<FrameEntry>> ScanFrames(File& file, const Id& pack, uint64_t end);

}  // namespace quoin

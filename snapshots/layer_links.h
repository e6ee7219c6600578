// Hard links of frozen layers from one VDI's folder into another's: how clones and copies share data
// without depending on each other.
#pragma once

#include <string>
#include <vector>

#include "blockstore/base/file_system.h"
#include "metadata/vdi_records.h"

namespace quoin {

// Links the layers from `top` down (each with its `.owned` file) into the layers folder of
// `target_folder`, named "<seq>-<epoch>" with seqs from `first_seq` on, and syncs that folder.
// Returns the rows for the target, lowest layer first: the last one is the top; empty if `top` is 0.
// kNotFound if the source was removed meanwhile; files linked so far are then removed again.
Result<std::vector<LayerRecord>> LinkLayers(FileSystem& file_system,
                                            const std::string& source_folder,
                                            const VdiState& source_state, uint32_t top,
                                            const std::string& target_folder, uint64_t epoch,
                                            uint32_t first_seq);

}  // namespace quoin

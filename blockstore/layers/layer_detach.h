// Gives a layer files that no descriptor of anybody else points to: whoever still has the old ones open
// for writing (an owner that was cut off, and comes back) changes nothing that counts any more.
#pragma once

#include <functional>
#include <string>

#include "blockstore/base/file_system.h"
#include "blockstore/layers/layer.h"
#include "blockstore/layers/ownership_set.h"

namespace quoin {

// Each file of the layer is copied, as far as the layer owns data in it, to a temporary, synced, and
// renamed over the old one; then the folder is synced. Copies all data that is owned. A crash leaves some
// files copied and some not, all with the right bytes, and perhaps a temporary. What is written to the old
// files meanwhile is in the copy or not, block by block, as a crash may leave what no flush recorded.
// kCorrupt if a file that must be there is missing or too short.
Status DetachLayerFiles(FileSystem& file_system, const Layer::Location& location,
                        const OwnershipSet& owned,
                        const std::function<std::string()>& new_temporary);

}  // namespace quoin

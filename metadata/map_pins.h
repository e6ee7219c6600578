// Pins: maps that are in use though no published.db says so yet. An owner writes the pin of its VDI
// before the transaction that makes it refer to a map, and removes it once that is published; a crash
// in between leaves the pin, and the next owner publishes and removes it. Collectors read all pins
// first and published states after, so a map is always in one of the two. Thread-safe.
//
// Format of gc/pins/<vdi id>: "quoin-pin-v01\n"; for each map a line "<pack id> <slot> <height>
// <digest> <data blocks>"; and the XXH3-128 of everything before as 32 hexadecimal digits and a line
// end. Replaced whole, by rename.
#pragma once

#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/maps/map_root.h"
#include "metadata/store_layout.h"

namespace quoin {

// Durable when it returns. Maps that were pinned for this VDI before stay pinned too.
Status WriteMapPin(FileSystem& file_system, const StoreLayout& layout, const Id& vdi,
                   const std::vector<MapRoot>& roots);

// Of one VDI; empty if it has none. kCorrupt.
Result<std::vector<MapRoot>> ReadMapPin(FileSystem& file_system, const StoreLayout& layout,
                                        const Id& vdi);

struct MapPins {
  std::vector<MapRoot> roots;
  std::vector<Id> vdis;  // that have a pin
};
// Of all VDIs. kCorrupt if one of them cannot be read: then nothing must be collected.
Result<MapPins> ReadMapPins(FileSystem& file_system, const StoreLayout& layout);

}  // namespace quoin

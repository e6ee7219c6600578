// Where a map begins, and what it holds: all that a sealed layer is known by.
#pragma once

#include <cstdint>

#include "blockstore/base/digest.h"
#include "blockstore/packs/slot.h"

namespace quoin {

struct MapRoot {
  SlotLocation location;     // null: the empty map, all holes
  uint8_t height = 0;        // inner nodes above a region's node; the map spans 16^height regions
  Digest digest;             // of the content (map_node.h); null for the empty map
  uint64_t data_blocks = 0;  // that hold data

  bool operator==(const MapRoot&) const = default;
  bool IsEmpty() const { return location.IsNull(); }
};

}  // namespace quoin

// A sealed layer: what frozen layers held down to the bottom, now in packs. A map says where each
// block lies, the packs hold its bytes. Immutable and thread-safe; borrows what it reads through.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "blockstore/maps/map.h"
#include "blockstore/packs/pack_store.h"

namespace quoin {

class SealedLayer {
 public:
  // kCorrupt if no map can have such a root. Reads nothing.
  static Result<std::shared_ptr<const SealedLayer>> Open(PackStore& packs, NodeCache& nodes,
                                                         const MapRoot& root);

  const Map& map() const { return *map_; }
  const MapRoot& root() const { return map_->root(); }

  // Bytes of blocks that lie in consecutive slots from `first` on, from `byte_offset` on.
  Status ReadSlots(const SlotLocation& first, uint64_t byte_offset,
                   std::span<std::byte> buffer) const;

 private:
  SealedLayer(PackStore& packs, std::unique_ptr<const Map> map)
      : packs_(packs), map_(std::move(map)) {}

  PackStore& packs_;
  const std::unique_ptr<const Map> map_;
};

}  // namespace quoin

#include "snapshots/sealed_layer.h"

#include "blockstore/base/block.h"

namespace quoin {

Result<std::shared_ptr<const SealedLayer>> SealedLayer::Open(PackStore& packs, NodeCache& nodes,
                                                             const MapRoot& root) {
  QUOIN_ASSIGN(std::unique_ptr<const Map> map, Map::Open(packs, nodes, root));
  return std::shared_ptr<const SealedLayer>(new SealedLayer(packs, std::move(map)));
}

Status SealedLayer::ReadSlots(const SlotLocation& first, uint64_t byte_offset,
                              std::span<std::byte> buffer) const {
  const uint64_t count = BlocksOf(byte_offset + buffer.size());
  return packs_.ReadBlocks(first, static_cast<uint32_t>(count), byte_offset, buffer);
}

}  // namespace quoin

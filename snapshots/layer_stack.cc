#include "snapshots/layer_stack.h"

#include <algorithm>
#include <cstring>

namespace quoin {

LayerStack LayerStack::WithOnTop(std::shared_ptr<const Layer> layer) const {
  std::vector<std::shared_ptr<const Layer>> layers;
  layers.reserve(layers_.size() + 1);
  layers.push_back(std::move(layer));
  layers.insert(layers.end(), layers_.begin(), layers_.end());
  return LayerStack(std::move(layers));
}

OwnedRun LayerStack::Resolve(uint64_t block, uint64_t limit) const {
  for (const auto& layer : layers_) {
    const BlockRun run = layer->ownership().RunAt(block, limit);
    if (run.state != BlockState::kAbsent) return {layer.get(), run.state, run.count};
    limit = run.count;
  }
  return {nullptr, BlockState::kAbsent, limit};
}

uint64_t LayerStack::CountData(uint64_t first, uint64_t count) const {
  uint64_t data = 0;
  const uint64_t end = first + count;
  while (first < end && !layers_.empty()) {
    const OwnedRun run = Resolve(first, end - first);
    if (run.state == BlockState::kData) data += run.count;
    first += run.count;
  }
  return data;
}

OwnedRun ResolveOver(const Layer* top, const LayerStack& below, uint64_t block, uint64_t limit) {
  if (top != nullptr) {
    const BlockRun run = top->ownership().RunAt(block, limit);
    if (run.state != BlockState::kAbsent) return {top, run.state, run.count};
    limit = run.count;
  }
  return below.Resolve(block, limit);
}

Status ReadOver(const Layer* top, const LayerStack& below, uint64_t offset,
                std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    const uint64_t block = offset / kBlockBytes;
    const uint64_t last = (offset + buffer.size() - 1) / kBlockBytes;
    const OwnedRun run = ResolveOver(top, below, block, last - block + 1);
    const uint64_t run_end = (block + run.count) * kBlockBytes;
    const size_t n = std::min<uint64_t>(buffer.size(), run_end - offset);
    if (run.state == BlockState::kData) {
      QUOIN_TRY(run.layer->Read(offset, buffer.first(n)));
    } else {
      std::memset(buffer.data(), 0, n);
    }
    buffer = buffer.subspan(n);
    offset += n;
  }
  return {};
}

uint64_t FindBlock(const Layer* top, const LayerStack& below, uint64_t block, uint64_t end,
                   bool data) {
  while (block < end) {
    const OwnedRun run = ResolveOver(top, below, block, end - block);
    if ((run.state == BlockState::kData) == data) return block;
    block += run.count;
  }
  return end;
}

}  // namespace quoin

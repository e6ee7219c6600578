#include "snapshots/layer_stack.h"

#include <algorithm>
#include <cstring>

namespace quoin {

LayerStack LayerStack::WithOnTop(std::shared_ptr<const Layer> layer) const {
  std::vector<std::shared_ptr<const Layer>> frozen;
  frozen.reserve(frozen_.size() + 1);
  frozen.push_back(std::move(layer));
  frozen.insert(frozen.end(), frozen_.begin(), frozen_.end());
  return LayerStack(std::move(frozen), sealed_);
}

Result<VisibleRun> LayerStack::Resolve(uint64_t block, uint64_t limit) const {
  for (const auto& layer : frozen_) {
    const BlockRun run = layer->ownership().RunAt(block, limit);
    if (run.state != BlockState::kAbsent) return VisibleRun{run.state, run.count, layer.get(), {}};
    limit = run.count;
  }
  if (sealed_ == nullptr) return VisibleRun{BlockState::kAbsent, limit, nullptr, {}};
  QUOIN_ASSIGN(const MapRun run, sealed_->map().FindRun(block, limit));
  return VisibleRun{run.data ? BlockState::kData : BlockState::kAbsent, run.count, nullptr,
                    run.first};
}

Result<uint64_t> LayerStack::CountData(uint64_t first, uint64_t count) const {
  if (frozen_.empty()) {
    return sealed_ == nullptr ? Result<uint64_t>(0) : sealed_->map().CountData(first, count);
  }
  uint64_t data = 0;
  const uint64_t end = first + count;
  while (first < end) {
    // Where no frozen layer owns anything the map counts whole subtrees in one step.
    uint64_t limit = end - first;
    BlockState state = BlockState::kAbsent;
    for (const auto& layer : frozen_) {
      const BlockRun run = layer->ownership().RunAt(first, limit);
      limit = run.count;
      state = run.state;
      if (state != BlockState::kAbsent) break;
    }
    if (state == BlockState::kData) {
      data += limit;
    } else if (state == BlockState::kAbsent && sealed_ != nullptr) {
      QUOIN_ASSIGN(const uint64_t sealed_data, sealed_->map().CountData(first, limit));
      data += sealed_data;
    }
    first += limit;
  }
  return data;
}

Result<VisibleRun> ResolveOver(const Layer* top, const LayerStack& below, uint64_t block,
                               uint64_t limit) {
  if (top != nullptr) {
    const BlockRun run = top->ownership().RunAt(block, limit);
    if (run.state != BlockState::kAbsent) return VisibleRun{run.state, run.count, top, {}};
    limit = run.count;
  }
  return below.Resolve(block, limit);
}

Status ReadOver(const Layer* top, const LayerStack& below, uint64_t offset,
                std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    const uint64_t block = offset / kBlockBytes;
    const uint64_t last = (offset + buffer.size() - 1) / kBlockBytes;
    QUOIN_ASSIGN(const VisibleRun run, ResolveOver(top, below, block, last - block + 1));
    const uint64_t run_end = (block + run.count) * kBlockBytes;
    const auto part = buffer.first(std::min<uint64_t>(buffer.size(), run_end - offset));
    if (run.state != BlockState::kData) {
      std::memset(part.data(), 0, part.size());
    } else if (run.layer != nullptr) {
      QUOIN_TRY(run.layer->Read(offset, part));
    } else {
      QUOIN_TRY(below.sealed()->ReadSlots(run.slots, offset % kBlockBytes, part));
    }
    buffer = buffer.subspan(part.size());
    offset += part.size();
  }
  return {};
}

Result<uint64_t> FindBlock(const Layer* top, const LayerStack& below, uint64_t block, uint64_t end,
                           bool data) {
  while (block < end) {
    QUOIN_ASSIGN(const VisibleRun run, ResolveOver(top, below, block, end - block));
    if ((run.state == BlockState::kData) == data) return block;
    block += run.count;
  }
  return end;
}

}  // namespace quoin

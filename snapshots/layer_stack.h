// Layers that never change, one over the other: what lies under a head, or what a snapshot is. Frozen
// layers on top, and below them at most one sealed layer, which holds all that was sealed before.
// Immutable, so it is shared freely and needs no lock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockstore/layers/layer.h"
#include "snapshots/sealed_layer.h"

namespace quoin {

// Consecutive blocks with one answer: data in the file of `layer`, data in the packs from `slots` on
// (layer null), zeros, or nothing (kAbsent: nobody owns them).
struct VisibleRun {
  BlockState state = BlockState::kAbsent;
  uint64_t count = 0;
  const Layer* layer = nullptr;
  SlotLocation slots;
};

class LayerStack {
 public:
  LayerStack() = default;
  // Topmost first; `sealed` may be null.
  explicit LayerStack(std::vector<std::shared_ptr<const Layer>> frozen,
                      std::shared_ptr<const SealedLayer> sealed = nullptr)
      : frozen_(std::move(frozen)), sealed_(std::move(sealed)) {}

  // This stack with one more layer on top.
  LayerStack WithOnTop(std::shared_ptr<const Layer> layer) const;

  // The longest run from `block`, at most `limit` blocks, that one layer answers for. Fails only if
  // the map of the sealed layer cannot be read.
  Result<VisibleRun> Resolve(uint64_t block, uint64_t limit) const;

  // Blocks of [first, first + count) that hold data.
  Result<uint64_t> CountData(uint64_t first, uint64_t count) const;

  bool empty() const { return frozen_.empty() && sealed_ == nullptr; }
  const std::vector<std::shared_ptr<const Layer>>& frozen() const { return frozen_; }
  const std::shared_ptr<const SealedLayer>& sealed() const { return sealed_; }

 private:
  std::vector<std::shared_ptr<const Layer>> frozen_;
  std::shared_ptr<const SealedLayer> sealed_;
};

// One layer's answer for a run, or what `below` says where it has none.
Result<VisibleRun> ResolveOver(const Layer* top, const LayerStack& below, uint64_t block,
                               uint64_t limit);

// Reads [offset, offset + buffer.size()) of a head (may be null) over a stack.
Status ReadOver(const Layer* top, const LayerStack& below, uint64_t offset,
                std::span<std::byte> buffer);

// The first block in [block, end) that holds data (`data` true) or not; `end` if there is none.
Result<uint64_t> FindBlock(const Layer* top, const LayerStack& below, uint64_t block, uint64_t end,
                           bool data);

}  // namespace quoin

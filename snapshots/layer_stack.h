// Frozen layers, one over the other: what lies under a head, or what a snapshot is. Immutable, so
// it is shared freely and needs no lock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockstore/layers/layer.h"

namespace quoin {

// Consecutive blocks with one answer: `layer` owns them (as data or zeros), or nobody does
// (layer null, kAbsent).
struct OwnedRun {
  const Layer* layer = nullptr;
  BlockState state = BlockState::kAbsent;
  uint64_t count = 0;
};

class LayerStack {
 public:
  LayerStack() = default;
  // Topmost first.
  explicit LayerStack(std::vector<std::shared_ptr<const Layer>> layers)
      : layers_(std::move(layers)) {}

  // This stack with one more layer on top.
  LayerStack WithOnTop(std::shared_ptr<const Layer> layer) const;

  // The longest run from `block`, at most `limit` blocks, that one layer answers for.
  OwnedRun Resolve(uint64_t block, uint64_t limit) const;

  // Blocks of [first, first + count) that hold data.
  uint64_t CountData(uint64_t first, uint64_t count) const;

  bool empty() const { return layers_.empty(); }
  const std::vector<std::shared_ptr<const Layer>>& layers() const { return layers_; }

 private:
  std::vector<std::shared_ptr<const Layer>> layers_;
};

// One layer's answer for a run, or what `below` says where it has none.
OwnedRun ResolveOver(const Layer* top, const LayerStack& below, uint64_t block, uint64_t limit);

// Reads [offset, offset + buffer.size()) of a head (may be null) over a stack.
Status ReadOver(const Layer* top, const LayerStack& below, uint64_t offset,
                std::span<std::byte> buffer);

// The first block in [block, end) that holds data (`data` true) or not; `end` if there is none.
uint64_t FindBlock(const Layer* top, const LayerStack& below, uint64_t block, uint64_t end,
                   bool data);

}  // namespace quoin

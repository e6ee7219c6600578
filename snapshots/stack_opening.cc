#include "snapshots/stack_opening.h"

#include <fmt/format.h>

#include <algorithm>

#include "snapshots/store_environment.h"

namespace quoin {

Result<LayerStack> OpenLayerStack(StoreEnvironment& environment, const VdiState& state,
                                  uint32_t top_seq, const OpenFrozenLayerCall& open_frozen,
                                  const std::string& title) {
  std::vector<std::shared_ptr<const Layer>> frozen;
  std::shared_ptr<const SealedLayer> sealed;
  for (uint32_t seq = top_seq; seq != 0 && sealed == nullptr;) {
    // Rows are in the order of their numbers.
    const auto layer = std::lower_bound(state.layers.begin(), state.layers.end(), seq,
                                        [](const LayerRecord& l, uint32_t s) { return l.seq < s; });
    if (layer == state.layers.end() || layer->seq != seq || frozen.size() > state.layers.size()) {
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: layer {} is not recorded", title, seq));
    }
    if (layer->state == LayerState::kSealed) {
      QUOIN_ASSIGN(sealed, SealedLayer::Open(environment.packs, environment.nodes, layer->map));
    } else {
      QUOIN_ASSIGN(std::shared_ptr<const Layer> opened, open_frozen(*layer));
      frozen.push_back(std::move(opened));
    }
    seq = layer->parent_seq;
  }
  return LayerStack(std::move(frozen), std::move(sealed));
}

}  // namespace quoin

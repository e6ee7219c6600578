// From rows to something that can be read: the stack of layers under a head or a snapshot.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "metadata/vdi_records.h"
#include "snapshots/layer_stack.h"

namespace quoin {

struct StoreEnvironment;

using OpenFrozenLayerCall =
    std::function<Result<std::shared_ptr<const Layer>>(const LayerRecord& layer)>;

// The layers of `state` from `top_seq` (0: none) down to a sealed one or to the bottom. kCorrupt if
// one of them is not recorded; `title` is for messages.
Result<LayerStack> OpenLayerStack(StoreEnvironment& environment, const VdiState& state,
                                  uint32_t top_seq, const OpenFrozenLayerCall& open_frozen,
                                  const std::string& title);

}  // namespace quoin

#include "snapshots/layer_links.h"

#include <fmt/format.h>

#include <algorithm>

#include "blockstore/layers/layer.h"
#include "metadata/store_layout.h"

namespace quoin {

Result<std::vector<LayerRecord>> LinkLayers(FileSystem& file_system,
                                            const std::string& source_folder,
                                            const VdiState& source_state, uint32_t top,
                                            const std::string& target_folder, uint64_t epoch,
                                            uint32_t first_seq) {
  std::vector<LayerRecord> chain;  // topmost first
  for (uint32_t seq = top; seq != 0;) {
    const auto layer = std::find_if(source_state.layers.begin(), source_state.layers.end(),
                                    [seq](const LayerRecord& l) { return l.seq == seq; });
    if (layer == source_state.layers.end() || chain.size() > source_state.layers.size()) {
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: layer {} is not recorded", source_folder, seq));
    }
    chain.push_back(*layer);
    seq = layer->parent_seq;
  }
  std::reverse(chain.begin(), chain.end());

  const std::string target_layers = StoreLayout::Layers(target_folder);
  uint32_t next_seq = first_seq;
  uint32_t parent_seq = 0;
  for (LayerRecord& layer : chain) {
    const Layer::Location from{StoreLayout::Layers(source_folder), layer.name};
    layer.seq = next_seq++;
    layer.parent_seq = parent_seq;
    layer.name = fmt::format("{}-{}", layer.seq, epoch);
    parent_seq = layer.seq;
    layer.is_recorded = false;  // what is recorded of it is another VDI's
    if (layer.state == LayerState::kSealed) continue;  // its row is all there is of it
    layer.state = LayerState::kFrozen;
    layer.has_ownership_file = true;
    const Layer::Location to{target_layers, layer.name};
    // Left by an attempt that failed before its rows were committed; nothing refers to it.
    QUOIN_TRY(Layer::RemoveFiles(file_system, to));
    const Status linked = Layer::LinkFiles(file_system, from, to);
    if (!linked) {
      for (const LayerRecord& made : chain) {
        if (made.seq < first_seq || made.seq >= next_seq) continue;
        (void)Layer::RemoveFiles(file_system, {target_layers, made.name});
      }
      return Failure(linked.error());
    }
  }
  QUOIN_TRY(file_system.SyncDirectory(target_layers));
  return chain;
}

}  // namespace quoin

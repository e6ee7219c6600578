#include "metadata/record_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "blockstore/base/block.h"
#include "metadata/names.h"

namespace quoin {
namespace {

using Problem = std::optional<std::string>;

// SQLite's integers are signed.
constexpr uint64_t kMaxInteger = std::numeric_limits<int64_t>::max();
constexpr uint32_t kPermissionBits = 07777;
constexpr size_t kMaxParentNameBytes = kMaxNameBytes + 1 + kMaxNamePartBytes;

// 16^6 regions are the largest VDI (map_root.h).
constexpr uint8_t kMaxMapHeight = 6;
static_assert(uint64_t{1} << (4 * kMaxMapHeight) == kMaxVdiRegions);

bool IsVdiSize(uint64_t bytes) { return bytes <= kMaxVdiBytes && bytes % kSectorBytes == 0; }

// Becomes part of a path, so it must be one harmless part of one.
bool IsFileName(std::string_view name, size_t limit_bytes) {
  return !name.empty() && name.size() <= limit_bytes && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' ||
                  c == '_';
         });
}

class LayerTable {
 public:
  explicit LayerTable(const std::vector<LayerRecord>& layers) {
    for (const LayerRecord& layer : layers) by_seq_.emplace(layer.seq, &layer);
  }

  const LayerRecord* Find(uint32_t seq) const {
    const auto it = by_seq_.find(seq);
    return it == by_seq_.end() ? nullptr : it->second;
  }

 private:
  std::unordered_map<uint32_t, const LayerRecord*> by_seq_;
};

Problem FindEachProblem(const VdiState& state) {
  if (Problem problem = FindProblem(state.vdi)) return problem;
  std::unordered_set<uint32_t> seqs;
  std::unordered_set<std::string_view> names;
  for (const LayerRecord& layer : state.layers) {
    if (Problem problem = FindProblem(layer)) return problem;
    if (!seqs.insert(layer.seq).second) return fmt::format("two layers have number {}", layer.seq);
    if (!names.insert(layer.name).second) return fmt::format("two layers are {}", layer.name);
    if (layer.seq >= state.vdi.next_seq) {
      return fmt::format("layer {} is beyond the next number, {}", layer.seq, state.vdi.next_seq);
    }
  }
  std::unordered_set<Id, IdHash> ids;
  std::unordered_set<uint64_t> ordinals;
  names.clear();
  for (const SnapshotRecord& snapshot : state.snapshots) {
    if (Problem problem = FindProblem(snapshot)) return problem;
    if (!names.insert(snapshot.name).second) return "two snapshots are named " + snapshot.name;
    if (!ids.insert(snapshot.id).second || !ordinals.insert(snapshot.ordinal).second) {
      return "two snapshots have one id or ordinal: " + snapshot.name;
    }
  }
  return std::nullopt;
}

Problem FindHeadProblem(const VdiState& state, const LayerTable& table) {
  const LayerRecord* head = table.Find(state.vdi.head_seq);
  if (head == nullptr || head->state != LayerState::kHead) {
    return fmt::format("the head, layer {}, is not there or not a head", state.vdi.head_seq);
  }
  for (const LayerRecord& layer : state.layers) {
    if (layer.state == LayerState::kHead && &layer != head) {
      return fmt::format("layer {} is a second head", layer.seq);
    }
  }
  return std::nullopt;
}

Problem FindParentProblem(const VdiState& state, const LayerTable& table) {
  for (const LayerRecord& layer : state.layers) {
    if (layer.parent_seq == 0) continue;
    const LayerRecord* parent = table.Find(layer.parent_seq);
    if (parent == nullptr) {
      return fmt::format("layer {}, below layer {}, is not there", layer.parent_seq, layer.seq);
    }
    if (parent->state == LayerState::kHead) {
      return fmt::format("layer {}, below layer {}, is the head", parent->seq, layer.seq);
    }
  }
  for (const SnapshotRecord& snapshot : state.snapshots) {
    if (snapshot.layer_seq == 0) continue;
    const LayerRecord* layer = table.Find(snapshot.layer_seq);
    if (layer == nullptr || layer->state == LayerState::kHead) {
      return fmt::format("layer {} of snapshot {} is not there or is the head", snapshot.layer_seq,
                         snapshot.name);
    }
    if (layer->state != LayerState::kSealed && !snapshot.digest.IsNull()) {
      return fmt::format("snapshot {} has a digest although its layer is not sealed",
                         snapshot.name);
    }
    if (layer->state != LayerState::kSealed && snapshot.is_recorded) {
      return fmt::format("snapshot {} is recorded although its layer is not sealed",
                         snapshot.name);
    }
  }
  return std::nullopt;
}

Problem FindMapProblem(const LayerRecord& layer) {
  const MapRoot& map = layer.map;
  if (layer.state != LayerState::kSealed) {
    if (layer.is_recorded) {
      return fmt::format("layer {} is recorded although it is not sealed", layer.seq);
    }
    if (map == MapRoot()) return std::nullopt;
    return fmt::format("layer {} has a map although it is not sealed", layer.seq);
  }
  if (layer.parent_seq != 0) return fmt::format("layer {} is sealed and has a parent", layer.seq);
  if (layer.has_ownership_file) return fmt::format("layer {} is sealed and has files", layer.seq);
  if (map == MapRoot()) return std::nullopt;
  const bool is_possible = !map.IsEmpty() && !map.digest.IsNull() && map.height <= kMaxMapHeight &&
                           map.data_blocks > 0 && map.data_blocks <= kMaxVdiBlocks;
  if (!is_possible) return fmt::format("the map of layer {} is impossible", layer.seq);
  return std::nullopt;
}

// Walks down from every layer until it meets one that is known to end; linear in all.
Problem FindCycle(const VdiState& state, const LayerTable& table) {
  std::unordered_set<uint32_t> known_to_end;
  for (const LayerRecord& start : state.layers) {
    std::unordered_set<uint32_t> path;
    const LayerRecord* layer = &start;
    while (layer != nullptr && known_to_end.count(layer->seq) == 0) {
      if (!path.insert(layer->seq).second) {
        return fmt::format("layer {} lies below itself", layer->seq);
      }
      layer = table.Find(layer->parent_seq);
    }
    known_to_end.insert(path.begin(), path.end());
  }
  return std::nullopt;
}

}  // namespace

Problem FindProblem(const VdiRecord& vdi) {
  if (vdi.id.IsNull()) return "the VDI has no id";
  if (!IsVdiSize(vdi.size_bytes)) return fmt::format("the VDI's size is {}", vdi.size_bytes);
  if (vdi.attributes.mode > kPermissionBits) return "the VDI's mode has unknown bits";
  if (vdi.epoch > kMaxInteger) return "the VDI's epoch is out of range";
  if (vdi.head_seq == 0) return "the VDI has no head";
  if (vdi.data_blocks > kMaxVdiBlocks) return "the VDI has more data than the largest VDI";
  if (vdi.copied_to_bytes > kMaxVdiBytes) return "the VDI's copy reaches beyond the largest VDI";
  if (vdi.parent_name.size() > kMaxParentNameBytes)
    return "the name of the VDI's origin is too long";
  if (!vdi.head_ownership_file.empty() && !IsFileName(vdi.head_ownership_file, kMaxNamePartBytes)) {
    return "the name of the head's ownership file is impossible";
  }
  return std::nullopt;
}

Problem FindProblem(const LayerRecord& layer) {
  if (layer.seq == 0) return "a layer has number 0";
  if (layer.parent_seq == layer.seq) return fmt::format("layer {} lies below itself", layer.seq);
  if (!IsFileName(layer.name, kMaxLayerNameBytes)) {
    return fmt::format("the name of layer {} is impossible", layer.seq);
  }
  if (layer.size_bytes > kMaxVdiBytes) return fmt::format("layer {} is too large", layer.seq);
  return FindMapProblem(layer);
}

Problem FindProblem(const SnapshotRecord& snapshot) {
  if (snapshot.id.IsNull()) return "a snapshot has no id";
  if (!ValidateSnapshotName(snapshot.name)) return "the name of a snapshot is impossible";
  if (snapshot.ordinal == 0 || snapshot.ordinal > kMaxInteger) {
    return fmt::format("the ordinal of snapshot {} is out of range", snapshot.name);
  }
  if (!IsVdiSize(snapshot.size_bytes)) {
    return fmt::format("the size of snapshot {} is {}", snapshot.name, snapshot.size_bytes);
  }
  if (snapshot.data_blocks > kMaxVdiBlocks) {
    return fmt::format("snapshot {} has more data than the largest VDI", snapshot.name);
  }
  if (snapshot.attributes.mode > kPermissionBits) {
    return fmt::format("the mode of snapshot {} has unknown bits", snapshot.name);
  }
  return std::nullopt;
}

Problem FindProblem(const VdiState& state) {
  if (Problem problem = FindEachProblem(state)) return problem;
  const LayerTable table(state.layers);
  if (Problem problem = FindHeadProblem(state, table)) return problem;
  if (Problem problem = FindParentProblem(state, table)) return problem;
  return FindCycle(state, table);
}

}  // namespace quoin

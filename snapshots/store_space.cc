// What takes space in a store: one pass over all maps and the tables of all packs, and for each VDI
// another one for each 512 packs.
#include <algorithm>
#include <set>

#include "snapshots/collector.h"
#include "snapshots/slot_owners.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

// So that SlotOwners takes at most 256 MiB: 2^17 slots of 4 bytes each.
constexpr uint64_t kPacksInOnePass = 512;

const LayerRecord* Find(const VdiState& state, uint32_t seq) {
  const auto found = std::find_if(state.layers.begin(), state.layers.end(),
                                  [seq](const LayerRecord& l) { return l.seq == seq; });
  return found == state.layers.end() ? nullptr : &*found;
}

// The layers from `top` on down, the sealed one at the bottom included.
std::vector<const LayerRecord*> ChainOf(const VdiState& state, uint32_t top) {
  std::vector<const LayerRecord*> chain;
  const LayerRecord* layer = Find(state, top);
  while (layer != nullptr && chain.size() <= state.layers.size()) {
    chain.push_back(layer);
    layer = Find(state, layer->parent_seq);
  }
  return chain;
}

class SpaceMeasure {
 public:
  SpaceMeasure(StoreEnvironment& environment, bool of_each)
      : environment_(environment), of_each_(of_each) {}

  Result<SpaceReport> Run() {
    CollectOptions options;
    options.dry_run = true;
    Collector collector(environment_, options);
    QUOIN_ASSIGN(const CollectReport found, collector.Run());
    report_.unique_bytes = found.unique_blocks * kBlockBytes;
    report_.stored_bytes = found.block_bytes;
    report_.map_bytes = found.record_bytes;
    report_.table_bytes = found.table_bytes;
    report_.reclaimable_bytes = found.garbage_bytes;
    report_.packs = found.packs;
    report_.pack_bytes = found.pack_bytes;
    for (const auto& [id, vdi] : collector.roots().vdis()) {
      if (vdi.in_place) AddVdi(id, vdi.state);
    }
    report_.unique_bytes += report_.layer_bytes;
    report_.shared_bytes =
        report_.logical_bytes - std::min(report_.logical_bytes, report_.unique_bytes);
    if (of_each_) QUOIN_TRY(FindOwners());
    return std::move(report_);
  }

 private:
  // Of a layer's files; each file of the store counts once.
  uint64_t AddFile(const std::string& path, bool* is_alone) {
    const Result<FileFacts> facts = environment_.file_system.Facts(path);
    *is_alone = facts && facts->link_count == 1;
    if (!facts) return 0;
    if (files_.insert({facts->identity.device, facts->identity.inode}).second) {
      report_.layer_bytes += facts->allocated_bytes;
    }
    return facts->allocated_bytes;
  }

  void AddVdi(const Id& id, const VdiState& state) {
    const std::string folder = environment_.layout.Vdi(id);
    for (const std::string& file : {StoreLayout::Database(folder), StoreLayout::Published(folder),
                                    StoreLayout::Database(folder) + "-wal"}) {
      const Result<FileFacts> facts = environment_.file_system.Facts(file);
      if (facts) report_.database_bytes += facts->allocated_bytes;
    }
    VdiSpace space;
    space.id = id;
    space.logical_bytes = state.vdi.data_blocks * kBlockBytes;
    report_.logical_bytes += space.logical_bytes;
    std::map<uint32_t, uint64_t> alone;  // bytes of layers that no other VDI links
    for (const LayerRecord& layer : state.layers) {
      if (layer.state == LayerState::kSealed) continue;
      bool is_alone = false;
      const uint64_t bytes = AddFile(StoreLayout::Layers(folder) + "/" + layer.name, &is_alone);
      if (!is_alone) continue;
      alone[layer.seq] = bytes;
      space.file_bytes += bytes;
    }
    const auto vdi = static_cast<uint32_t>(vdis_.size());
    std::map<uint32_t, int> uses;
    const auto add_unit = [&](uint32_t top) {
      Unit unit{vdi, {}};
      for (const LayerRecord* layer : ChainOf(state, top)) {
        ++uses[layer->seq];
        if (layer->state == LayerState::kSealed) unit.map = layer->map;
      }
      units_.push_back(unit);
    };
    add_unit(state.vdi.head_seq);
    for (const SnapshotRecord& snapshot : state.snapshots) add_unit(snapshot.layer_seq);
    for (const SnapshotRecord& snapshot : state.snapshots) {
      SnapshotSpace of_snapshot{snapshot.name, snapshot.data_blocks * kBlockBytes, 0};
      report_.logical_bytes += of_snapshot.logical_bytes;
      for (const LayerRecord* layer : ChainOf(state, snapshot.layer_seq)) {
        if (uses[layer->seq] == 1 && alone.count(layer->seq) > 0) {
          of_snapshot.freed_bytes += alone[layer->seq];
        }
      }
      space.snapshots.push_back(std::move(of_snapshot));
    }
    vdis_.push_back(std::move(space));
  }

  Status FindOwners() {
    FrameCache frames(0);
    NodeCache nodes(kWalkCacheBytes);
    PackStore packs(environment_.file_system, environment_.layout.Packs(), frames);
    std::vector<uint64_t> of_units(units_.size());
    std::vector<uint64_t> of_vdis(vdis_.size());
    const uint64_t parts = report_.packs / kPacksInOnePass + 1;
    for (uint64_t part = 0; part < parts; ++part) {
      SlotOwners owners(part, parts);
      for (uint32_t unit = 0; unit < units_.size(); ++unit) {
        owners.Begin(unit, units_[unit].vdi);
        QUOIN_TRY(VisitReachable(packs, units_[unit].map, owners, &nodes));
      }
      owners.Count(&of_units, &of_vdis);
    }
    size_t unit = 0;
    for (size_t vdi = 0; vdi < vdis_.size(); ++vdi) {
      vdis_[vdi].unique_bytes = of_vdis[vdi] * kBlockBytes;
      ++unit;  // what it is now
      for (SnapshotSpace& snapshot : vdis_[vdi].snapshots) {
        snapshot.freed_bytes += of_units[unit++] * kBlockBytes;
      }
    }
    report_.vdis = std::move(vdis_);
    return {};
  }

  struct Unit {
    uint32_t vdi = 0;
    MapRoot map;
  };

  StoreEnvironment& environment_;
  const bool of_each_;
  SpaceReport report_;
  std::vector<VdiSpace> vdis_;
  std::vector<Unit> units_;  // of each VDI: what it is now, then its snapshots
  std::set<std::pair<uint64_t, uint64_t>> files_;
};

}  // namespace

Result<SpaceReport> Store::MeasureSpace(bool of_each) {
  shared_->PublishAll();
  return SpaceMeasure(shared_->environment, of_each).Run();
}

}  // namespace quoin

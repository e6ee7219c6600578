// What the owner of a VDI does to have frozen layers sealed: says which, and swaps them for a map.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "blockstore/maps/content_digest.h"
#include "metadata/map_pins.h"
#include "snapshots/sealer.h"
#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {

namespace {

// Of one job: the records of a VDI with more snapshots follow in the next one.
constexpr size_t kMaxRecords = 4096;

// Each block once, in order: one that two layers held as zeros has turned into one hole.
std::vector<BlockRange> Union(std::vector<BlockRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const BlockRange& a, const BlockRange& b) { return a.first < b.first; });
  std::vector<BlockRange> united;
  for (const BlockRange& range : ranges) {
    const uint64_t end = range.first + range.count;
    if (united.empty() || united.back().first + united.back().count < range.first) {
      united.push_back(range);
    } else if (united.back().first + united.back().count < end) {
      united.back().count = end - united.back().first;
    }
  }
  return united;
}

}  // namespace

uint64_t Vdi::CountUnsealed() const {
  return static_cast<uint64_t>(
      std::count_if(state_.layers.begin(), state_.layers.end(),
                    [](const LayerRecord& l) { return l.state == LayerState::kFrozen; }));
}

RootRecord Vdi::RecordOf(const SnapshotRecord& snapshot, const MapRoot& map) const {
  const Attributes& attributes = snapshot.attributes;
  return {id_, environment_.NameHint(id_), snapshot.id, snapshot.name, snapshot.ordinal,
          snapshot.size_bytes, snapshot.created_ns, attributes.mode, attributes.uid, attributes.gid,
          map};
}

RootRecord Vdi::RecordOfBase(const MapRoot& map) const {
  const SnapshotRecord* const newest = NewestSnapshot();
  const Attributes& attributes = state_.vdi.attributes;
  // Later than the snapshot that it comes after, whatever the clocks of the hosts say.
  const int64_t now = newest == nullptr ? NowNanoseconds()
                                        : std::max(NowNanoseconds(), newest->created_ns + 1);
  return {id_, environment_.NameHint(id_), Id(), "", 0, data_.size_bytes(), now, attributes.mode,
          attributes.uid, attributes.gid, map};
}

const SnapshotRecord* Vdi::NewestSnapshot() const {
  const auto newest = std::find_if(state_.snapshots.rbegin(), state_.snapshots.rend(),
                                   [](const auto& s) { return s.pending_group.IsNull(); });
  return newest == state_.snapshots.rend() ? nullptr : &*newest;
}

bool Vdi::LacksRecord(const SnapshotRecord& snapshot) const {
  if (snapshot.is_recorded || !snapshot.pending_group.IsNull()) return false;
  const LayerRecord* const layer = FindLayer(snapshot.layer_seq);
  return layer == nullptr || layer->state == LayerState::kSealed;
}

// What lies under frozen layers will not be what the VDI stands on for long.
bool Vdi::NeedsRecord(const LayerRecord& layer) const {
  if (!state_.vdi.copy_origin.IsNull()) return false;  // its size is not yet what it will be
  const LayerRecord* const head = FindLayer(state_.vdi.head_seq);
  return head != nullptr && head->parent_seq == layer.seq && !layer.is_recorded;
}

std::vector<RootRecord> Vdi::MissingRecords(size_t limit) const {
  std::vector<RootRecord> missing;
  for (const SnapshotRecord& snapshot : state_.snapshots) {
    if (missing.size() == limit) return missing;
    if (!LacksRecord(snapshot)) continue;
    const LayerRecord* const layer = FindLayer(snapshot.layer_seq);
    missing.push_back(RecordOf(snapshot, layer == nullptr ? MapRoot() : layer->map));
  }
  for (const LayerRecord& layer : state_.layers) {
    if (missing.size() == limit) return missing;
    if (layer.state == LayerState::kSealed && NeedsRecord(layer)) {
      missing.push_back(RecordOfBase(layer.map));
    }
  }
  return missing;
}

void Vdi::TellSealer() const {
  if (environment_.sealer == nullptr) return;
  const bool lacks_record = !MissingRecords(1).empty();
  environment_.sealer->Consider(id_, CountUnsealed(), lacks_record);
}

// A layer is worth a map of its own if a snapshot shows it, if the head stands on it, or if more than
// one layer does. Others are sealed together with the one above. A layer's number is greater than
// those of the layers below, so in rising order every base comes before what stands on it.
Result<SealPlan> Vdi::PlanSeal(size_t max_steps) {
  MutexLock lock(state_mutex_);
  QUOIN_TRY(RequireOwner());
  std::map<uint32_t, int> children;
  for (const LayerRecord& layer : state_.layers) ++children[layer.parent_seq];
  std::set<uint32_t> wanted;
  for (const SnapshotRecord& snapshot : state_.snapshots) wanted.insert(snapshot.layer_seq);
  for (const LayerRecord& layer : state_.layers) {
    if (layer.seq == state_.vdi.head_seq) wanted.insert(layer.parent_seq);
    if (children[layer.seq] > 1) wanted.insert(layer.seq);
  }
  SealPlan plan;
  plan.unsealed_layers = CountUnsealed();
  std::set<uint32_t> planned;
  for (const LayerRecord& top : state_.layers) {
    if (plan.steps.size() >= max_steps) break;
    if (top.state != LayerState::kFrozen || wanted.count(top.seq) == 0) continue;
    SealStep step;
    step.top_seq = top.seq;
    bool ready = true;
    for (uint32_t seq = top.seq; seq != 0 && ready;) {
      const LayerRecord* const layer = FindLayer(seq);
      const bool is_sealed = layer->state == LayerState::kSealed;
      if (is_sealed || planned.count(seq) > 0) {
        step.base_seq = seq;
        if (is_sealed) plan.bases.emplace_back(seq, layer->map);
        break;
      }
      // If not, its blocks are still to be written down by the finisher.
      ready = layer->has_ownership_file && (seq == top.seq || wanted.count(seq) == 0);
      if (!ready) break;
      QUOIN_ASSIGN(std::shared_ptr<const Layer> opened, OpenFrozenLayer(*layer));
      plan.data_blocks += opened->ownership().data_blocks();
      step.seqs.push_back(seq);
      step.layers.push_back(std::move(opened));
      seq = layer->parent_seq;
    }
    if (!ready) continue;
    for (const SnapshotRecord& snapshot : state_.snapshots) {
      if (snapshot.layer_seq != top.seq || !snapshot.pending_group.IsNull()) continue;
      step.records.push_back(RecordOf(snapshot, {}));
    }
    if (NeedsRecord(top)) step.records.push_back(RecordOfBase({}));
    planned.insert(top.seq);
    plan.steps.push_back(std::move(step));
  }
  plan.missing_records = MissingRecords(kMaxRecords);
  return plan;
}

// What the records name is where they say; what has been removed or was not sealed is passed over.
void Vdi::MarkRecorded(const std::vector<RootRecord>& records, VdiState& state,
                       SealChanges& changes) const {
  const auto is_at = [&state](uint32_t seq, const MapRoot& map) {
    if (seq == 0) return map.IsEmpty();
    return std::any_of(state.layers.begin(), state.layers.end(), [&](const LayerRecord& l) {
      return l.seq == seq && l.state == LayerState::kSealed && l.map == map;
    });
  };
  for (const RootRecord& record : records) {
    for (SnapshotRecord& snapshot : state.snapshots) {
      if (snapshot.id != record.snapshot || !is_at(snapshot.layer_seq, record.map)) continue;
      snapshot.is_recorded = true;
      changes.snapshots.insert(snapshot.id);
    }
    if (!record.snapshot.IsNull()) continue;
    for (LayerRecord& layer : state.layers) {
      if (layer.state != LayerState::kSealed || layer.map != record.map) continue;
      layer.is_recorded = true;
      changes.layers.insert(layer.seq);
    }
  }
}

Status Vdi::PinMapsOf(const std::vector<LayerRecord>& layers) {
  std::vector<MapRoot> roots;
  for (const LayerRecord& layer : layers) {
    if (layer.state == LayerState::kSealed && !layer.map.IsEmpty()) roots.push_back(layer.map);
  }
  if (roots.empty()) return {};
  pinned_ = true;
  return WriteMapPin(files_, environment_.layout, id_, roots);
}

Status Vdi::Unpin() {
  if (!pinned_) return {};
  const Status removed = files_.Remove(environment_.layout.Pin(id_));
  if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  pinned_ = false;
  return {};
}

Status Vdi::CommitRows(VdiState changed, const SealChanges& changes,
                       const std::vector<LayerRecord>& gone) {
  if (changes.IsEmpty()) return {};
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database_->Begin());
  for (const LayerRecord& layer : changed.layers) {
    if (changes.layers.count(layer.seq) > 0) QUOIN_TRY(transaction.PutLayer(layer));
  }
  for (const SnapshotRecord& snapshot : changed.snapshots) {
    if (changes.snapshots.count(snapshot.id) > 0) QUOIN_TRY(transaction.PutSnapshot(snapshot));
  }
  for (const LayerRecord& layer : gone) QUOIN_TRY(transaction.RemoveLayer(layer.seq));
  QUOIN_TRY(Commit(transaction));
  state_ = std::move(changed);
  return {};
}

// The durable steps:
//   1. the packs are published (by the caller), then a pin of the new maps: from here on no collector
//      takes them for garbage, whatever database names them
//   2. one transaction: the frozen layers' rows become sealed ones
//   3. published.db, then the pin goes, then the files of the frozen layers
// A crash before 2 leaves packs that nothing refers to and a pin that the next owner removes; after 2
// files that no row names. Where there are only records, there is no pin: what they name is published
// before the transaction, or a collector would take them for those of what was removed.
Status Vdi::CommitSealed(const SealedPlan& done) {
  MutexLock finishing(finish_mutex_);
  bool publish_first = false;
  {
    MutexLock lock(state_mutex_);
    QUOIN_TRY(RequireOwner());
    publish_first = done.steps.empty() && head_changed_;
  }
  if (publish_first) QUOIN_TRY(PublishUnlocked());
  {
    MutexLock lock(state_mutex_);
    QUOIN_TRY(CommitSealedRows(done));
    if (!publish_needed_) return {};
  }
  return PublishUnlocked();
}

Status Vdi::CommitSealedRows(const SealedPlan& done) {
  QUOIN_TRY(RequireOwner());
  QUOIN_TRY(CheckWritable());
  VdiState changed = state_;
  const auto find = [&changed](uint32_t seq) {
    return std::find_if(changed.layers.begin(), changed.layers.end(),
                        [seq](const LayerRecord& l) { return l.seq == seq; });
  };
  std::vector<LayerRecord> sealed;
  SealChanges changes;
  std::vector<BlockRange> turned_holes;
  for (const SealedStep& step : done.steps) {
    // It must be what it was when it was planned: the same frozen layers over the same map.
    bool same = true;
    uint32_t below = step.top_seq;
    for (const uint32_t seq : step.seqs) {
      const auto layer = find(seq);
      same = same && layer != changed.layers.end() && seq == below &&
             layer->state == LayerState::kFrozen;
      if (same) below = layer->parent_seq;
    }
    const auto base = find(step.base_seq);
    same = same && below == step.base_seq &&
           (step.base_seq == 0 || (base != changed.layers.end() &&
                                   base->state == LayerState::kSealed && base->map == step.base));
    if (!same) continue;
    LayerRecord& layer = *find(step.top_seq);
    layer.state = LayerState::kSealed;
    layer.parent_seq = 0;
    layer.has_ownership_file = false;
    layer.map = step.root;
    sealed.push_back(layer);
    changes.layers.insert(layer.seq);
    turned_holes.insert(turned_holes.end(), step.turned_holes.begin(), step.turned_holes.end());
    QUOIN_ASSIGN(const std::shared_ptr<const SealedLayer> opened,
                 SealedLayer::Open(environment_.packs, environment_.nodes, step.root));
    for (SnapshotRecord& snapshot : changed.snapshots) {
      if (snapshot.layer_seq != step.top_seq) continue;
      snapshot.digest = ContentDigest(snapshot.size_bytes, step.root);
      QUOIN_ASSIGN(snapshot.data_blocks,
                   opened->map().CountData(0, BlocksOf(snapshot.size_bytes)));
      changes.snapshots.insert(snapshot.id);
    }
  }
  MarkRecorded(done.records, changed, changes);
  if (done.steps.empty()) return CommitRows(std::move(changed), changes, {});
  if (sealed.empty()) return {};

  const VdiState before = std::exchange(state_, std::move(changed));
  const std::vector<LayerRecord> gone = UnreachableLayers(state_.snapshots);
  changed = std::exchange(state_, before);
  std::erase_if(changed.layers, [&gone](const LayerRecord& layer) {
    return std::any_of(gone.begin(), gone.end(),
                       [&](const LayerRecord& g) { return g.seq == layer.seq; });
  });
  QUOIN_ASSIGN(LayerStack below, OpenStack(find(changed.vdi.head_seq)->parent_seq, changed));
  QUOIN_TRY(PinMapsOf(sealed));
  QUOIN_TRY(CommitRows(std::move(changed), changes, gone));
  data_.ReplaceBelow(std::move(below), Union(std::move(turned_holes)));
  for (const LayerRecord& old : before.layers) {
    if (old.state != LayerState::kFrozen) continue;
    const LayerRecord* const now = FindLayer(old.seq);
    if (now == nullptr || now->state != LayerState::kFrozen) removed_layers_.push_back(old.name);
  }
  publish_needed_ = head_changed_ = true;
  return {};
}

}  // namespace quoin

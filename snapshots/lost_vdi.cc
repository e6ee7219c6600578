#include "snapshots/lost_vdi.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "blockstore/base/block.h"
#include "blockstore/maps/content_digest.h"
#include "metadata/names.h"

namespace quoin {
namespace {

bool IsEarlier(const RootRecord& a, const RootRecord& b) {
  return std::tie(a.ordinal, a.created_ns) < std::tie(b.ordinal, b.created_ns);
}

class Assembly {
 public:
  Assembly(PackedRoots& roots, std::string title, std::vector<LeftOut>* left_out)
      : roots_(roots), title_(std::move(title)), left_out_(left_out) {}

  Result<LostVdi> Run(const Id& id, std::vector<RootRecord> records);

 private:
  Status AddSnapshots(const std::vector<RootRecord>& records);
  Status AddSnapshot(const RootRecord& record);
  Status ChooseBase(const std::vector<RootRecord>& records);
  // Says nothing of a map that is whole.
  Result<bool> IsWhole(const RootRecord& record, std::optional<Error>* problem);
  void LeaveOut(const RootRecord& record, const Error& problem);
  LayerRecord& LayerOf(const RootRecord& record);
  std::string FreeName(const SnapshotRecord& snapshot) const;
  void NameSnapshots();

  PackedRoots& roots_;
  const std::string title_;
  std::vector<LeftOut>* const left_out_;
  LostVdi vdi_;
  const RootRecord* newest_snapshot_ = nullptr;
  std::set<std::string> names_;
};

Result<LostVdi> Assembly::Run(const Id& id, std::vector<RootRecord> records) {
  std::stable_sort(records.begin(), records.end(), IsEarlier);
  vdi_.id = id;
  vdi_.recorded_name = RecordedName(records);
  const auto [oldest, newest] =
      std::minmax_element(records.begin(), records.end(),
                          [](const auto& a, const auto& b) { return a.created_ns < b.created_ns; });
  vdi_.created_ns = oldest->created_ns;
  vdi_.newest_ns = newest->created_ns;
  QUOIN_TRY(AddSnapshots(records));
  NameSnapshots();
  QUOIN_TRY(ChooseBase(records));
  return std::move(vdi_);
}

Result<bool> Assembly::IsWhole(const RootRecord& record, std::optional<Error>* problem) {
  const Status checked = roots_.CheckMap(record.map);
  if (checked) return true;
  const ErrorCode code = checked.error().code;
  if (code != ErrorCode::kNotFound && code != ErrorCode::kCorrupt) return Failure(checked.error());
  // Of several records the one that is damaged says more than one of what was collected.
  if (!*problem || code == ErrorCode::kCorrupt) *problem = checked.error();
  return false;
}

void Assembly::LeaveOut(const RootRecord& record, const Error& problem) {
  const bool is_damage = problem.code == ErrorCode::kCorrupt;
  left_out_->push_back(
      {record.snapshot.IsNull() ? title_ : title_ + "@" + record.snapshot_name,
       is_damage ? problem.what
                 : fmt::format("it was removed and collected, or lost: {}", problem.what),
       is_damage});
}

// A seal that was cut short leaves a record of a map that nobody refers to: a snapshot may have
// several, of the same content.
Status Assembly::AddSnapshots(const std::vector<RootRecord>& records) {
  std::set<Id> done;
  for (const RootRecord& first : records) {
    if (first.snapshot.IsNull() || !done.insert(first.snapshot).second) continue;
    std::optional<Error> problem;
    const RootRecord* whole = nullptr;
    for (const RootRecord& record : records) {
      if (record.snapshot != first.snapshot || whole != nullptr) continue;
      QUOIN_ASSIGN(const bool is_whole, IsWhole(record, &problem));
      if (is_whole) whole = &record;
    }
    if (whole == nullptr) {
      LeaveOut(first, *problem);
      continue;
    }
    QUOIN_TRY(AddSnapshot(*whole));
    newest_snapshot_ = whole;
  }
  return {};
}

Status Assembly::AddSnapshot(const RootRecord& record) {
  SnapshotRecord snapshot;
  snapshot.id = record.snapshot;
  snapshot.name = record.snapshot_name;
  // One that was removed may have had the ordinal of a later one.
  snapshot.ordinal = vdi_.snapshots.empty()
                         ? record.ordinal
                         : std::max(record.ordinal, vdi_.snapshots.back().ordinal + 1);
  snapshot.layer_seq = LayerOf(record).seq;
  snapshot.size_bytes = record.size_bytes;
  QUOIN_ASSIGN(snapshot.data_blocks, roots_.CountData(record.map, BlocksOf(record.size_bytes)));
  snapshot.created_ns = record.created_ns;
  snapshot.attributes = {record.mode,       record.uid,        record.gid,
                         record.created_ns, record.created_ns, record.created_ns};
  snapshot.digest = ContentDigest(record.size_bytes, record.map);
  snapshot.is_recorded = true;
  vdi_.snapshots.push_back(std::move(snapshot));
  return {};
}

LayerRecord& Assembly::LayerOf(const RootRecord& record) {
  auto layer = std::find_if(vdi_.layers.begin(), vdi_.layers.end(),
                            [&](const LayerRecord& l) { return l.map == record.map; });
  if (layer == vdi_.layers.end()) {
    LayerRecord made;
    made.seq = static_cast<uint32_t>(vdi_.layers.size()) + 1;
    made.state = LayerState::kSealed;
    made.map = record.map;
    layer = vdi_.layers.insert(layer, made);
  }
  layer->size_bytes = std::max(layer->size_bytes, record.size_bytes);
  return *layer;
}

std::string Assembly::FreeName(const SnapshotRecord& snapshot) const {
  for (const std::string& name :
       {snapshot.name, fmt::format("{}-{}", snapshot.name, snapshot.ordinal),
        fmt::format("rebuilt-{}", snapshot.ordinal)}) {
    if (ValidateSnapshotName(name) && names_.count(name) == 0) return name;
  }
  return snapshot.id.ToString();
}

// The latest first: it keeps its name.
void Assembly::NameSnapshots() {
  for (auto snapshot = vdi_.snapshots.rbegin(); snapshot != vdi_.snapshots.rend(); ++snapshot) {
    snapshot->name = FreeName(*snapshot);
    names_.insert(snapshot->name);
  }
}

// What the VDI stood on last, if that was recorded after its newest snapshot was taken; else that.
Status Assembly::ChooseBase(const std::vector<RootRecord>& records) {
  std::vector<const RootRecord*> bases;
  for (const RootRecord& record : records) {
    const bool is_older =
        newest_snapshot_ != nullptr && record.created_ns <= newest_snapshot_->created_ns;
    if (record.snapshot.IsNull() && !is_older) bases.push_back(&record);
  }
  std::stable_sort(bases.begin(), bases.end(),
                   [](const auto* a, const auto* b) { return a->created_ns > b->created_ns; });
  const RootRecord* base = newest_snapshot_;
  const RootRecord* missing = nullptr;
  std::optional<Error> problem;
  for (const RootRecord* const candidate : bases) {
    QUOIN_ASSIGN(const bool is_whole, IsWhole(*candidate, &problem));
    if (is_whole) {
      base = candidate;
      break;
    }
    if (missing == nullptr) missing = candidate;
  }
  if (missing != nullptr) LeaveOut(*missing, *problem);
  if (base == nullptr) return {};
  LayerRecord& layer = LayerOf(*base);
  vdi_.base_seq = layer.seq;
  vdi_.size_bytes = base->size_bytes;
  const bool is_snapshot = !base->snapshot.IsNull();
  layer.is_recorded = std::any_of(records.begin(), records.end(), [&](const RootRecord& r) {
    return r.snapshot.IsNull() && r.map == base->map;
  });
  // A snapshot has the VDI's mode but for the right to write.
  vdi_.attributes.mode = is_snapshot ? base->mode | 0200 : base->mode;
  vdi_.attributes.uid = base->uid;
  vdi_.attributes.gid = base->gid;
  QUOIN_ASSIGN(vdi_.data_blocks, roots_.CountData(base->map, BlocksOf(base->size_bytes)));
  QUOIN_ASSIGN(vdi_.is_cut_off, roots_.HasDataBeyond(base->map, BlocksOf(base->size_bytes)));
  return {};
}

}  // namespace

std::string RecordedName(const std::vector<RootRecord>& records) {
  const RootRecord* newest = nullptr;
  for (const RootRecord& record : records) {
    if (record.vdi_name.empty()) continue;
    if (newest == nullptr || record.created_ns >= newest->created_ns) newest = &record;
  }
  return newest == nullptr ? "" : newest->vdi_name;
}

Result<LostVdi> AssembleVdi(const Id& id, const std::string& title, std::vector<RootRecord> records,
                            PackedRoots& roots, std::vector<LeftOut>* left_out) {
  return Assembly(roots, title, left_out).Run(id, std::move(records));
}

}  // namespace quoin

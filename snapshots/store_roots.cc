#include "snapshots/store_roots.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "metadata/map_pins.h"
#include "metadata/published.h"

namespace quoin {
namespace {

// A VDI that is made, renamed or removed moves its folder once or twice.
constexpr int kAttempts = 8;
constexpr std::array kSuffixes = {"", ".new", ".removed"};

}  // namespace

std::string StoreRoots::TitleOf(const Id& vdi) const {
  const Names names(file_system_, layout_);
  if (const Result<std::vector<NamedVdi>> all = names.ListAll("", nullptr)) {
    for (const NamedVdi& named : *all) {
      if (named.id == vdi) return "vdis/" + named.name;
    }
  }
  return "VDI " + vdi.ToString();
}

void StoreRoots::Add(const Id& vdi, const MapRoot& map) {
  if (!map.IsEmpty() && known_.insert(map.location).second) added_.push_back({map, vdi});
}

// The pins first: a map is in a pin, or in the published state that is read after it.
Result<std::vector<StoreRoots::Root>> StoreRoots::Read() {
  added_.clear();
  QUOIN_ASSIGN(const MapPins pins, ReadMapPins(file_system_, layout_));
  pinned_ = {pins.vdis.begin(), pins.vdis.end()};
  for (const Id& vdi : pins.vdis) {
    QUOIN_ASSIGN(const std::vector<MapRoot> maps, ReadMapPin(file_system_, layout_, vdi));
    for (const MapRoot& map : maps) Add(vdi, map);
  }
  for (const MapRoot& map : pins.roots) Add(Id(), map);  // of pins that went in between
  bool moved = true;
  for (int attempt = 1; moved; ++attempt) {
    if (attempt > kAttempts) {
      return Fail(ErrorCode::kBusy, "VDIs are being made or removed all the time", "try again");
    }
    moved = false;
    QUOIN_TRY(ReadOnce(&moved));
  }
  return std::move(added_);
}

Status StoreRoots::ReadOnce(bool* moved) {
  seen_.clear();
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, file_system_.List(layout_.Vdis()));
  for (const DirectoryEntry& entry : entries) {
    const size_t dot = std::min(entry.name.find('.'), entry.name.size());
    const std::optional<Id> id = Id::Parse(entry.name.substr(0, dot));
    const std::string suffix = entry.name.substr(dot);
    const bool known = std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end();
    if (!id || !known) continue;
    QUOIN_ASSIGN(const Found found, ReadVdi(*id, suffix));
    if (found == Found::kMoved) *moved = true;
    if (found == Found::kRead) seen_.insert(*id);
  }
  // A folder that is renamed while the list is read may be missing from it.
  for (const auto& [id, vdi] : vdis_) {
    if (seen_.count(id) > 0) continue;
    for (const char* suffix : kSuffixes) {
      QUOIN_ASSIGN(const bool exists, PathExists(file_system_, layout_.Vdi(id) + suffix));
      if (!exists) continue;
      QUOIN_ASSIGN(const Found found, ReadVdi(id, suffix));
      if (found == Found::kMoved) *moved = true;
      if (found == Found::kRead) seen_.insert(id);
    }
  }
  return {};
}

Result<StoreRoots::Found> StoreRoots::ReadVdi(const Id& id, const std::string& suffix) {
  const std::string folder = layout_.Vdi(id) + suffix;
  const auto missing = [&]() -> Result<Found> {
    QUOIN_ASSIGN(const bool exists, PathExists(file_system_, folder));
    if (!exists) return Found::kMoved;
    // Whoever makes a VDI publishes it before anything counts; whoever removes one has begun.
    if (!suffix.empty()) return Found::kGone;
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format("{} has no published.db, so what it refers to is not known", TitleOf(id)),
        "open it for writing and close it, which writes it anew");
  };
  const Result<FileFacts> facts = file_system_.Facts(StoreLayout::Published(folder));
  if (!facts && facts.error().code == ErrorCode::kNotFound) return missing();
  if (!facts) return Failure(facts.error());
  const auto known = vdis_.find(id);
  if (known != vdis_.end() && known->second.file == facts->identity &&
      known->second.ctime_ns == facts->ctime_ns) {
    known->second.in_place = suffix.empty();
    return Found::kRead;
  }
  Result<VdiState> state = ReadPublished(file_system_, folder);
  if (!state && state.error().code == ErrorCode::kNotFound) return missing();
  if (!state) {
    return Fail(
        state.error().code,
        fmt::format("{}: what it refers to is not known: {}", TitleOf(id), state.error().what),
        "quoin check shows what is damaged");
  }
  if (state->vdi.id != id) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: its published.db is of another VDI, {}",
                                                 TitleOf(id), state->vdi.id.ToString()));
  }
  unsynced_.insert(id);
  for (const LayerRecord& layer : state->layers) {
    if (layer.state == LayerState::kSealed) Add(id, layer.map);
  }
  vdis_[id] = {facts->identity, facts->ctime_ns, suffix.empty(), std::move(*state)};
  return Found::kRead;
}

Status StoreRoots::CheckNames() const {
  const Names names(file_system_, layout_);
  std::vector<std::string> damaged;  // of those it is not known where they lead
  QUOIN_ASSIGN(const std::vector<NamedVdi> all, names.ListAll("", &damaged));
  for (const NamedVdi& named : all) {
    if (seen_.count(named.id) > 0) continue;
    bool exists = false;  // made or being removed since
    for (const char* suffix : kSuffixes) {
      QUOIN_ASSIGN(const bool there, PathExists(file_system_, layout_.Vdi(named.id) + suffix));
      exists |= there;
    }
    const Result<NameFacts> now = names.Lookup(named.name);
    if (exists || !now || now->is_folder || now->vdi != named.id) continue;
    return Fail(ErrorCode::kCorrupt,
                fmt::format("vdis/{}: its folder {} is missing, so what it referred to is not known",
                            named.name, layout_.Vdi(named.id)),
                "quoin rebuild makes it anew from what the packs know of it");
  }
  return {};
}

Status StoreRoots::MakeDurable() {
  for (const Id& id : unsynced_) {
    for (const char* suffix : kSuffixes) {  // wherever it has moved since
      const Status synced = file_system_.SyncDirectory(layout_.Vdi(id) + suffix);
      if (!synced && synced.error().code != ErrorCode::kNotFound) return synced;
    }
  }
  unsynced_.clear();
  const Status pins = file_system_.SyncDirectory(layout_.Pins());
  if (!pins && pins.error().code != ErrorCode::kNotFound) return pins;
  return file_system_.SyncDirectory(layout_.Vdis());
}

bool StoreRoots::IsThere(const RootRecord& record) const {
  if (pinned_.count(record.vdi) > 0) return true;
  const auto found = vdis_.find(record.vdi);
  if (found == vdis_.end() || seen_.count(record.vdi) == 0) return false;
  const VdiState& state = found->second.state;
  const auto has_map = [&](const LayerRecord& layer) {
    return layer.state == LayerState::kSealed && layer.map == record.map;
  };
  if (record.snapshot.IsNull()) {
    return std::any_of(state.layers.begin(), state.layers.end(), has_map);
  }
  const auto snapshot =
      std::find_if(state.snapshots.begin(), state.snapshots.end(),
                   [&](const SnapshotRecord& s) { return s.id == record.snapshot; });
  if (snapshot == state.snapshots.end()) return false;
  if (snapshot->layer_seq == 0) return record.map.IsEmpty();
  return std::any_of(state.layers.begin(), state.layers.end(), [&](const LayerRecord& l) {
    return l.seq == snapshot->layer_seq && has_map(l);
  });
}

std::vector<Id> StoreRoots::LostPins() const {
  std::vector<Id> lost;
  for (const Id& vdi : pinned_) {
    bool exists = false;
    for (const char* suffix : kSuffixes) {
      const Result<bool> there = PathExists(file_system_, layout_.Vdi(vdi) + suffix);
      exists |= !there || *there;
    }
    if (!exists) lost.push_back(vdi);
  }
  return lost;
}

}  // namespace quoin

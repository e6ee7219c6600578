#include "snapshots/packed_roots.h"

#include <fmt/format.h>

namespace quoin {
namespace {

// What is wrong with the thing itself, and will be the next time too.
bool IsDamage(const Error& error) { return error.code == ErrorCode::kCorrupt; }

}  // namespace

// Through one map. Its nodes count as whole only if all of the map is.
class PackedRoots::Walk final : public MapVisitor {
 public:
  explicit Walk(PackedRoots& owner) : owner_(owner) {}

  Result<bool> VisitNode(const SlotLocation& at) override {
    if (owner_.whole_nodes_.count(at) > 0 || !nodes_.insert(at).second) return false;
    QUOIN_TRY(owner_.RequireSlots(at, 1, FrameKindOf(RecordKind::kMapNode)));
    return true;
  }
  // Read with the node, whole or not at all; as a node of its own it has not been looked at.
  Status VisitBase(const SlotLocation& at) override {
    return owner_.RequireSlots(at, 1, FrameKindOf(RecordKind::kMapNode));
  }
  Status VisitExtent(const SlotLocation& first, uint64_t count) override {
    return owner_.RequireSlots(first, count, FrameKind::kBlocks);
  }
  void KeepNodes() { owner_.whole_nodes_.merge(nodes_); }

 private:
  PackedRoots& owner_;
  std::unordered_set<SlotLocation, SlotLocationHash> nodes_;
};

Result<bool> PackedRoots::HasPacks() {
  const Result<std::vector<Id>> ids = packs_.List();
  if (!ids && ids.error().code == ErrorCode::kNotFound) return false;
  if (!ids) return Failure(ids.error());
  return !ids->empty();
}

Status PackedRoots::Read() {
  QUOIN_ASSIGN(const std::vector<Id> ids, packs_.List());
  for (const Id& id : ids) QUOIN_TRY(ReadPack(id));
  return {};
}

Status PackedRoots::ReadPack(const Id& id) {
  const Result<std::shared_ptr<const Pack>> pack = packs_.Get(id);
  if (!pack && !IsDamage(pack.error())) return Failure(pack.error());
  ++pack_count_;
  if (!pack) {
    problems_.push_back(pack.error());
    return {};
  }
  if (!(*pack)->is_complete()) {
    problems_.push_back(
        {ErrorCode::kCorrupt,
         fmt::format("{}: its table is damaged, and perhaps not all of what it held "
                     "was found",
                     (*pack)->Title())});
  }
  for (const FrameEntry& frame : (*pack)->frames()) {
    if (frame.kind() != FrameKindOf(RecordKind::kRoot)) continue;
    QUOIN_TRY(ReadRecordAt({id, frame.first_slot()}));
  }
  return {};
}

Status PackedRoots::ReadRecordAt(const SlotLocation& at) {
  const auto bytes = packs_.ReadRecord(RecordKind::kRoot, at);
  if (!bytes && !IsDamage(bytes.error())) return Failure(bytes.error());
  const Result<RootRecord> record = bytes ? DecodeRootRecord(**bytes) : Failure(bytes.error());
  if (record) {
    of_vdis_[record->vdi].push_back(*record);
    ++record_count_;
    return {};
  }
  problems_.push_back(
      {ErrorCode::kCorrupt, fmt::format("the root record in slot {} of pack {} cannot be read: {}",
                                        at.slot, at.pack.ToString(), record.error().what)});
  return {};
}

// Packs that were salvaged with a loss may have held what is missing.
Status PackedRoots::RequireSlots(const SlotLocation& first, uint64_t count, FrameKind kind) {
  const Result<std::shared_ptr<const Pack>> pack = packs_.Get(first.pack);
  if (!pack) {
    const ErrorCode code = pack.error().code;
    if (code != ErrorCode::kNotFound) return Failure(pack.error());
    return Fail(code, fmt::format("pack {} is not there", first.pack.ToString()));
  }
  const uint64_t end = first.slot + count;
  for (uint64_t slot = first.slot; slot < end;) {
    const std::optional<size_t> number =
        slot < kMaxPackSlots ? (*pack)->FrameOf(static_cast<uint32_t>(slot)) : std::nullopt;
    if (!number) {
      return Fail((*pack)->is_complete() ? ErrorCode::kNotFound : ErrorCode::kCorrupt,
                  fmt::format("slot {} of pack {} is not there", slot, first.pack.ToString()));
    }
    const FrameEntry& frame = (*pack)->frames()[*number];
    if (frame.kind() != kind) {
      return Fail(ErrorCode::kCorrupt, fmt::format("slot {} of pack {} holds something else", slot,
                                                   first.pack.ToString()));
    }
    slot = frame.end_slot();
  }
  return {};
}

Result<std::unique_ptr<const Map>> PackedRoots::OpenMap(const MapRoot& root) {
  return Map::Open(packs_, nodes_, root);
}

Status PackedRoots::CheckMap(const MapRoot& root) {
  if (root.IsEmpty()) return {};
  if (const auto known = whole_.find(root.location); known != whole_.end()) {
    if (known->second == root) return {};
    return Fail(ErrorCode::kCorrupt, "another record tells otherwise of the same map");
  }
  Walk walk(*this);
  QUOIN_TRY(VisitReachable(packs_, root, walk, &nodes_));
  walk.KeepNodes();
  whole_.emplace(root.location, root);
  return {};
}

Result<uint64_t> PackedRoots::CountData(const MapRoot& root, uint64_t blocks) {
  QUOIN_ASSIGN(const std::unique_ptr<const Map> map, OpenMap(root));
  return map->CountData(0, blocks);
}

Result<bool> PackedRoots::HasDataBeyond(const MapRoot& root, uint64_t blocks) {
  QUOIN_ASSIGN(const std::unique_ptr<const Map> map, OpenMap(root));
  if (map->span_blocks() <= blocks) return false;
  QUOIN_ASSIGN(const std::optional<uint64_t> data, map->FindData(blocks, map->span_blocks()));
  return data.has_value();
}

}  // namespace quoin

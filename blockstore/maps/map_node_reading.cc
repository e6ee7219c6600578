// Nodes as they lie in the packs: whole, or as changes to an earlier node of the same region.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blockstore/maps/map_node.h"
#include "blockstore/maps/region_change.h"
#include "blockstore/maps/region_edit.h"

namespace quoin {
namespace {

using NodePointer = std::shared_ptr<const MapNode>;

Failure Damaged(const SlotLocation& at, std::string_view what) {
  return Fail(ErrorCode::kCorrupt, fmt::format("the map node in slot {} of pack {}: {}", at.slot,
                                               at.pack.ToString(), what));
}

Result<std::shared_ptr<const std::string>> ReadRecord(RecordReader& reader,
                                                      const SlotLocation& at) {
  auto record = reader.ReadRecord(RecordKind::kMapNode, at);
  if (!record && record.error().code == ErrorCode::kNotFound) {
    // What names it is there, so it was lost: nobody may take the disk for one that is gone.
    return Damaged(at, fmt::format("it is missing: {}", record.error().what));
  }
  return record;
}

// Follows a node that is written as changes down to one that is whole, and makes it again from
// there.
class ChainReader {
 public:
  ChainReader(RecordReader& reader, const NodeReading& reading)
      : reader_(reader), reading_(reading) {}

  Result<NodePointer> Read(const SlotLocation& at, std::string_view bytes) {
    QUOIN_TRY(AddChange(at, bytes));
    chain_.position = changes_.front().position;
    while (start_ == nullptr) QUOIN_TRY(Step());
    return Build(at);
  }

 private:
  Status AddChange(const SlotLocation& at, std::string_view bytes) {
    Result<RegionChange> change = DecodeRegionChange(bytes);
    if (!change) return Damaged(at, change.error().what);
    changes_.push_back(std::move(*change));
    return {};
  }

  Status VisitBase(const SlotLocation& at) {
    chain_.bases.push_back(at);
    return reading_.visit_base ? reading_.visit_base(at) : Status();
  }

  // To the base of the last change. Its position is known, and less than the change's own, so this
  // ends whatever the records say.
  Status Step() {
    const SlotLocation at = changes_.back().base;
    const uint32_t position = BasePosition(changes_.back().position);
    QUOIN_TRY(VisitBase(at));
    if (NodePointer known = reading_.find_node ? reading_.find_node(at) : nullptr) {
      if (known->region() == nullptr || known->chain().position != position) {
        return Damaged(at, "it is not what the node built on it needs");
      }
      for (const SlotLocation& base : known->chain().bases) QUOIN_TRY(VisitBase(base));
      start_ = std::move(known);
      return {};
    }
    QUOIN_ASSIGN(const std::shared_ptr<const std::string> record, ReadRecord(reader_, at));
    if (IsRegionChange(*record)) {
      QUOIN_TRY(AddChange(at, *record));
      if (changes_.back().position == position) return {};
      return Damaged(at, fmt::format("its position is {}, and the node built on it needs {}",
                                     changes_.back().position, position));
    }
    Result<NodePointer> whole = DecodeMapNode(*record);
    if (!whole) return Damaged(at, whole.error().what);
    if ((*whole)->region() == nullptr || position != 0) {
      return Damaged(at, "it is not what the node built on it needs");
    }
    start_ = std::move(*whole);
    return {};
  }

  // From the whole node on. That each record is right is not enough: they must be of one chain.
  Result<NodePointer> Build(const SlotLocation& at) {
    RegionEdit edit(start_->region()->extents);
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      if (const Status applied = ApplyRuns(change->runs, edit); !applied) {
        return Damaged(at, fmt::format("it or what it is built on: {}", applied.error().what));
      }
    }
    const RegionChange& newest = changes_.front();
    RegionNode region{newest.digest, edit.Extents()};
    if (region.extents.empty()) return Damaged(at, "it holds no data");
    if (RegionChecksum(region) != newest.result_checksum) {
      return Damaged(at, "what it is built on is not what it was made from");
    }
    return std::make_shared<const MapNode>(std::move(region), std::move(chain_));
  }

  RecordReader& reader_;
  const NodeReading& reading_;
  std::vector<RegionChange> changes_;  // the newest first
  RegionChain chain_;
  NodePointer start_;
};

Result<NodePointer> ReadNode(RecordReader& reader, const SlotLocation& at,
                             const NodeReading& reading) {
  QUOIN_ASSIGN(const std::shared_ptr<const std::string> record, ReadRecord(reader, at));
  if (IsRegionChange(*record)) return ChainReader(reader, reading).Read(at, *record);
  Result<NodePointer> node = DecodeMapNode(*record);
  if (!node) return Damaged(at, node.error().what);
  return node;
}

}  // namespace

Result<std::shared_ptr<const MapNode>> ReadMapNode(RecordReader& reader, const MapChild& child,
                                                   unsigned level, const NodeReading& reading) {
  QUOIN_ASSIGN(NodePointer node, ReadNode(reader, child.at, reading));
  QUOIN_TRY(CheckMapNode(*node, child, level));
  return node;
}

Result<std::shared_ptr<const MapNode>> ReadBaseNode(RecordReader& reader, const SlotLocation& at,
                                                    const NodeReading& reading) {
  QUOIN_ASSIGN(NodePointer node, ReadNode(reader, at, reading));
  if (node->region() == nullptr) return Damaged(at, "it is not a region's");
  return node;
}

}  // namespace quoin

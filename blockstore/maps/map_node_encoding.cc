// How a map's nodes are written down; described in blockstore/README.md.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "blockstore/base/varint.h"
#include "blockstore/maps/map_node.h"

namespace quoin {
namespace {

// Frozen: on disk.
constexpr std::string_view kMagic = "qmap";
constexpr char kVersion = 1;
constexpr size_t kMinExtentBytes = 4;           // four varints
constexpr uint64_t kSlots = uint64_t{1} << 32;  // that a pack's slot numbers can tell apart

Failure Damaged(std::string what) { return Fail(ErrorCode::kCorrupt, std::move(what)); }

void PutDigest(std::string& out, const Digest& digest) {
  out.append(reinterpret_cast<const char*>(digest.bytes.data()), Digest::kBytes);
}

std::string Header(unsigned level) {
  std::string bytes(kMagic);
  bytes += kVersion;
  bytes += static_cast<char>(level);
  return bytes;
}

// The packs that a node names, each once, in the order in which they are first named, and for each
// the slot after the last one named. Slots are written as distances from there: what was written in
// one go costs one byte.
class PackTable {
 public:
  size_t size() const { return packs_.size(); }

  // For an encoder: the pack's number, new or known.
  size_t IndexOf(const Id& pack) {
    const auto [known, is_new] = indexes_.try_emplace(pack, packs_.size());
    if (is_new) packs_.push_back({pack, 0});
    return known->second;
  }
  uint64_t DistanceTo(size_t index, uint64_t slot, uint64_t count) {
    const uint64_t distance =
        ToZigzag(static_cast<int64_t>(slot) - static_cast<int64_t>(packs_[index].next_slot));
    packs_[index].next_slot = slot + count;
    return distance;
  }
  void AppendTo(std::string& out) const {
    PutVarint(out, packs_.size());
    for (const Pack& pack : packs_) {
      out.append(reinterpret_cast<const char*>(pack.id.bytes().data()), Id::kBytes);
    }
  }

  // For a decoder. `limit`: how many packs the node can name at most.
  Status Load(VarintReader& reader, size_t limit) {
    const std::optional<uint64_t> count = reader.Next();
    if (!count || *count == 0 || *count > limit || *count > reader.remaining_bytes() / Id::kBytes) {
      return Damaged("its table of packs cannot be that long");
    }
    std::vector<Id> sorted;
    sorted.reserve(*count);
    packs_.reserve(*count);
    for (uint64_t i = 0; i < *count; ++i) {
      std::array<uint8_t, Id::kBytes> bytes;
      std::memcpy(bytes.data(), reader.NextBytes(Id::kBytes)->data(), Id::kBytes);
      sorted.push_back(Id::FromBytes(bytes));
      packs_.push_back({sorted.back(), 0});
    }
    std::sort(sorted.begin(), sorted.end());
    if (sorted.front().IsNull() ||
        std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      return Damaged("its table of packs names one twice, or none");
    }
    return {};
  }
  // Reads a pack's number and a distance; `count` slots from the result exist.
  Result<SlotLocation> Next(VarintReader& reader, uint64_t count) {
    const std::optional<uint64_t> index = reader.Next();
    const std::optional<uint64_t> distance = index ? reader.Next() : std::nullopt;
    if (!distance) return Damaged("it ends within a slot's place");
    if (*index > named_ || *index >= packs_.size()) {
      return Damaged(fmt::format("it names pack {} of {} out of order", *index, packs_.size()));
    }
    if (*index == named_) ++named_;
    Pack& pack = packs_[*index];
    // Both terms are far from the ends of 64 bits once the distance is known to be a slot's.
    if (*distance > 2 * kSlots) return Damaged("it names a slot that no pack has");
    const int64_t slot = static_cast<int64_t>(pack.next_slot) + FromZigzag(*distance);
    if (slot < 0 || static_cast<uint64_t>(slot) + count > kSlots) {
      return Damaged("it names a slot that no pack has");
    }
    pack.next_slot = static_cast<uint64_t>(slot) + count;
    return SlotLocation{pack.id, static_cast<uint32_t>(slot)};
  }
  bool all_named() const { return named_ == packs_.size(); }

 private:
  struct Pack {
    Id id;
    uint64_t next_slot;
  };
  std::vector<Pack> packs_;
  std::unordered_map<Id, size_t, IdHash> indexes_;  // of an encoder
  size_t named_ = 0;                                // of a decoder
};

Digest ToDigest(std::string_view bytes) {
  Digest digest;
  std::memcpy(digest.bytes.data(), bytes.data(), Digest::kBytes);
  return digest;
}

Result<RegionNode> DecodeRegion(VarintReader& reader) {
  RegionNode node;
  const std::optional<std::string_view> digest = reader.NextBytes(Digest::kBytes);
  if (!digest) return Damaged("it ends within its digest");
  node.digest = ToDigest(*digest);
  if (node.digest.IsNull()) return Damaged("it has no digest");
  PackTable packs;
  QUOIN_TRY(packs.Load(reader, kRegionBlocks));
  const std::optional<uint64_t> count = reader.Next();
  if (!count || *count == 0 || *count > kRegionBlocks ||
      *count > reader.remaining_bytes() / kMinExtentBytes) {
    return Damaged("it cannot hold that many extents");
  }
  node.extents.reserve(*count);
  uint64_t at = 0;
  for (uint64_t i = 0; i < *count; ++i) {
    const std::optional<uint64_t> gap = reader.Next();
    const std::optional<uint64_t> more = gap ? reader.Next() : std::nullopt;
    if (!more) return Damaged(fmt::format("it ends within extent {}", i));
    if (*gap >= kRegionBlocks - at || *more >= kRegionBlocks - at - *gap) {
      return Damaged(fmt::format("extent {} reaches beyond the region", i));
    }
    const uint64_t blocks = *more + 1;
    QUOIN_ASSIGN(const SlotLocation slot, packs.Next(reader, blocks));
    const MapExtent extent{.first = static_cast<uint16_t>(at + *gap),
                           .count = static_cast<uint16_t>(blocks),
                           .slot = slot};
    if (i > 0 && Continues(node.extents.back(), extent)) {
      return Damaged(fmt::format("extent {} continues the one before", i));
    }
    node.extents.push_back(extent);
    at = extent.end();
    if (at == kRegionBlocks && i + 1 < *count) return Damaged("it has extents beyond the region");
  }
  if (!packs.all_named()) return Damaged("its table has packs that no extent names");
  if (!reader.at_end()) return Damaged("bytes follow its last extent");
  return node;
}

Result<InnerNode> DecodeInner(VarintReader& reader, uint8_t level) {
  InnerNode node;
  node.level = level;
  const std::optional<std::string_view> present_bytes = reader.NextBytes(2);
  if (!present_bytes) return Damaged("it ends before its children");
  const unsigned present = static_cast<uint8_t>((*present_bytes)[0]) |
                           static_cast<unsigned>(static_cast<uint8_t>((*present_bytes)[1])) << 8;
  if (present == 0) return Damaged("it has no children");
  PackTable packs;
  QUOIN_TRY(packs.Load(reader, kMapFanout));
  for (size_t i = 0; i < kMapFanout; ++i) {
    if ((present >> i & 1) == 0) continue;
    MapChild& child = node.children[i];
    const std::optional<std::string_view> digest = reader.NextBytes(Digest::kBytes);
    if (!digest) return Damaged(fmt::format("it ends within child {}", i));
    child.digest = ToDigest(*digest);
    if (child.digest.IsNull()) return Damaged(fmt::format("child {} has no digest", i));
    QUOIN_ASSIGN(child.at, packs.Next(reader, 1));
    const std::optional<uint64_t> blocks = reader.Next();
    if (!blocks) return Damaged(fmt::format("it ends within child {}", i));
    if (*blocks == 0 || *blocks > BlocksUnder(level - 1u)) {
      return Damaged(fmt::format("child {} cannot hold {} data blocks", i, *blocks));
    }
    child.data_blocks = *blocks;
  }
  if (!packs.all_named()) return Damaged("its table has packs that no child names");
  if (!reader.at_end()) return Damaged("bytes follow its last child");
  return node;
}

bool IsWellFormed(const RegionNode& node) {
  if (node.extents.empty() || node.digest.IsNull()) return false;
  uint32_t end = 0;
  for (size_t i = 0; i < node.extents.size(); ++i) {
    const MapExtent& extent = node.extents[i];
    if (extent.count == 0 || extent.first < end || extent.end() > kRegionBlocks) return false;
    if (extent.slot.IsNull() || uint64_t{extent.slot.slot} + extent.count > kSlots) return false;
    if (i > 0 && Continues(node.extents[i - 1], extent)) return false;
    end = extent.end();
  }
  return true;
}

bool IsWellFormed(const InnerNode& node) {
  if (node.level < 1 || node.level > kMaxMapHeight) return false;
  bool any = false;
  for (const MapChild& child : node.children) {
    if (child == MapChild()) continue;
    any = true;
    if (child.IsNull() || child.digest.IsNull() || child.data_blocks == 0 ||
        child.data_blocks > BlocksUnder(node.level - 1u)) {
      return false;
    }
  }
  return any;
}

}  // namespace

std::string EncodeRegionNode(const RegionNode& node) {
  if (!IsWellFormed(node)) std::abort();
  PackTable packs;
  std::string extents;
  PutVarint(extents, node.extents.size());
  uint32_t end = 0;
  for (const MapExtent& extent : node.extents) {
    const size_t pack = packs.IndexOf(extent.slot.pack);
    PutVarint(extents, extent.first - end);
    PutVarint(extents, extent.count - 1u);
    PutVarint(extents, pack);
    PutVarint(extents, packs.DistanceTo(pack, extent.slot.slot, extent.count));
    end = extent.end();
  }
  std::string bytes = Header(0);
  PutDigest(bytes, node.digest);
  packs.AppendTo(bytes);
  return bytes + extents;
}

std::string EncodeInnerNode(const InnerNode& node) {
  if (!IsWellFormed(node)) std::abort();
  PackTable packs;
  std::string children;
  unsigned present = 0;
  for (size_t i = 0; i < kMapFanout; ++i) {
    const MapChild& child = node.children[i];
    if (child.IsNull()) continue;
    present |= 1u << i;
    PutDigest(children, child.digest);
    const size_t pack = packs.IndexOf(child.at.pack);
    PutVarint(children, pack);
    PutVarint(children, packs.DistanceTo(pack, child.at.slot, 1));
    PutVarint(children, child.data_blocks);
  }
  std::string bytes = Header(node.level);
  bytes += static_cast<char>(present & 0xff);
  bytes += static_cast<char>(present >> 8);
  packs.AppendTo(bytes);
  return bytes + children;
}

Result<std::shared_ptr<const MapNode>> DecodeMapNode(std::string_view bytes) {
  if (bytes.size() > kMaxRecordBytes) return Damaged("it is longer than a record can be");
  if (bytes.size() < kMagic.size() + 2 || bytes.substr(0, kMagic.size()) != kMagic) {
    return Damaged("this is no map node");
  }
  if (bytes[kMagic.size()] != kVersion) {
    return Damaged(fmt::format("this map node is of another format ({})",
                               static_cast<uint8_t>(bytes[kMagic.size()])));
  }
  const auto level = static_cast<uint8_t>(bytes[kMagic.size() + 1]);
  if (level > kMaxMapHeight) {
    return Damaged(fmt::format("it is of level {}, of {} at most", level, kMaxMapHeight));
  }
  VarintReader reader(bytes.substr(kMagic.size() + 2));
  if (level == 0) {
    QUOIN_ASSIGN(RegionNode region, DecodeRegion(reader));
    return std::make_shared<const MapNode>(std::move(region));
  }
  QUOIN_ASSIGN(InnerNode inner, DecodeInner(reader, level));
  return std::make_shared<const MapNode>(std::move(inner));
}

}  // namespace quoin

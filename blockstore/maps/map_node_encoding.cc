// How a map's nodes are written down; described in blockstore/README.md.
#include <fmt/format.h>

#include <cstdlib>
#include <optional>

#include "blockstore/base/varint.h"
#include "blockstore/maps/map_node.h"
#include "blockstore/maps/node_parts.h"

namespace quoin {
namespace {

// Frozen: on disk.
constexpr char kVersion = 1;
constexpr size_t kMinExtentBytes = 4;  // four varints

std::string Header(unsigned level) {
  std::string bytes(kNodeMagic);
  bytes += kVersion;
  bytes += static_cast<char>(level);
  return bytes;
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
    if (extent.slot.IsNull() || uint64_t{extent.slot.slot} + extent.count > kPackSlots)
      return false;
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
  if (bytes.size() < kNodeMagic.size() + 2 || bytes.substr(0, kNodeMagic.size()) != kNodeMagic) {
    return Damaged("this is no map node");
  }
  if (bytes[kNodeMagic.size()] != kVersion) {
    return Damaged(fmt::format("this map node is of another format ({})",
                               static_cast<uint8_t>(bytes[kNodeMagic.size()])));
  }
  const auto level = static_cast<uint8_t>(bytes[kNodeMagic.size() + 1]);
  if (level > kMaxMapHeight) {
    return Damaged(fmt::format("it is of level {}, of {} at most", level, kMaxMapHeight));
  }
  VarintReader reader(bytes.substr(kNodeMagic.size() + 2));
  if (level == 0) {
    QUOIN_ASSIGN(RegionNode region, DecodeRegion(reader));
    return std::make_shared<const MapNode>(std::move(region));
  }
  QUOIN_ASSIGN(InnerNode inner, DecodeInner(reader, level));
  return std::make_shared<const MapNode>(std::move(inner));
}

}  // namespace quoin

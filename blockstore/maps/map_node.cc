#include "blockstore/maps/map_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "blockstore/maps/content_digest.h"

namespace quoin {
namespace {

std::string Where(const SlotLocation& at) {
  return fmt::format("the map node in slot {} of pack {}", at.slot, at.pack.ToString());
}

}  // namespace

bool Continues(const MapExtent& extent, const MapExtent& next) {
  return extent.end() == next.first && extent.slot.pack == next.slot.pack &&
         uint64_t{extent.slot.slot} + extent.count == next.slot.slot;
}

uint64_t RegionNode::CountData() const {
  uint64_t blocks = 0;
  for (const MapExtent& extent : extents) blocks += extent.count;
  return blocks;
}

uint64_t InnerNode::CountData() const {
  uint64_t blocks = 0;
  for (const MapChild& child : children) blocks += child.data_blocks;
  return blocks;
}

MapNode::MapNode(RegionNode region, RegionChain chain)
    : node_(std::move(region)),
      chain_(std::move(chain)),
      digest_(std::get<RegionNode>(node_).digest),
      data_blocks_(std::get<RegionNode>(node_).CountData()) {}

MapNode::MapNode(InnerNode inner)
    : node_(std::move(inner)),
      digest_(InnerDigest(std::get<InnerNode>(node_))),
      data_blocks_(std::get<InnerNode>(node_).CountData()) {}

unsigned MapNode::level() const {
  const InnerNode* node = inner();
  return node == nullptr ? 0 : node->level;
}

size_t MapNode::memory_bytes() const {
  const RegionNode* node = region();
  return sizeof *this + chain_.bases.capacity() * sizeof(SlotLocation) +
         (node == nullptr ? 0 : node->extents.capacity() * sizeof(MapExtent));
}

Status CheckMapNode(const MapNode& node, const MapChild& child, unsigned level) {
  if (node.level() != level) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} is of level {}, and its parent needs level {}",
                                                 Where(child.at), node.level(), level));
  }
  if (node.digest() != child.digest) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} has the content digest {}, and its parent names {}",
                            Where(child.at), node.digest().ToHex(), child.digest.ToHex()));
  }
  if (node.data_blocks() != child.data_blocks) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} holds {} data blocks, and its parent counts {}", Where(child.at),
                            node.data_blocks(), child.data_blocks));
  }
  return {};
}

Status CheckMapRoot(const MapRoot& root) {
  if (root.height > kMaxMapHeight) {
    return Fail(ErrorCode::kCorrupt, fmt::format("a map's root is {} levels high, of {} at most",
                                                 root.height, kMaxMapHeight));
  }
  if (root.IsEmpty() && root != MapRoot()) {
    return Fail(ErrorCode::kCorrupt, "a map's root names no node, and yet says what it holds");
  }
  return {};
}

MapChild ChildOfRoot(const MapRoot& root) {
  return {.digest = root.digest, .at = root.location, .data_blocks = root.data_blocks};
}

}  // namespace quoin

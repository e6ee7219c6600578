// Makes a map from another one: regions are replaced in rising order, and only the nodes on the way
// to what changed are written, leaves first; everything else is shared with the base. One thread.
// Borrows the base and the writer. Memory: one path from the root to a region, and two nodes of the
// region at hand, whatever the size.
//
// A crash leaves records that nothing refers to: a map exists once the caller has made its packs
// durable and then recorded the root. The new map can be read once its packs are published. After
// an error the builder is of no more use.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blockstore/base/error.h"
#include "blockstore/maps/map.h"
#include "blockstore/maps/map_node.h"
#include "blockstore/maps/map_root.h"
#include "blockstore/packs/records.h"

namespace quoin {

class MapBuilder {
 public:
  // Blocks of the base from `keep_blocks` on are left out.
  MapBuilder(const Map& base, RecordWriter& writer, uint64_t keep_blocks = kMaxVdiBlocks);

  // The region's whole content from now on; without extents it is empty. Regions come in rising
  // order, each once, and nothing beyond keep_blocks: breaking this aborts. If neither digest nor
  // extents differ from the base's, the base's node is used again. A node is written as changes to
  // an earlier one of the region (region_change.h) if that takes at most half of what it takes
  // whole; its records, which the base is made of too, must be readable through the base, not
  // published.
  Status SetRegion(uint64_t region, const RegionNode& content);

  // Ends the building. The root is of the least height that reaches the last data, and equals the
  // base's if nothing changed. kInvalid if `keep_blocks` cuts through a region of the base that has
  // data on both sides and was not set: its digest depends on its blocks, which only the caller
  // has.
  Result<MapRoot> Finish();

  uint64_t nodes_written() const { return nodes_written_; }
  uint64_t bytes_written() const { return bytes_written_; }

 private:
  // A part of the tree that stands where one of a higher level may be due: everything in it is
  // under child 0 of the nodes between, which are written only if they turn out to be needed.
  struct Subtree {
    MapChild child;
    unsigned level = 0;
    bool is_new = false;  // written by this builder, so perhaps not readable yet
    bool IsNull() const { return child.IsNull(); }
  };
  // An inner node on the path, its children as they will be.
  struct OpenNode {
    uint64_t index = 0;  // among the nodes of its level
    MapChild base;       // the node as it is in the base; null if it is not there
    std::array<MapChild, kMapFanout> base_children;
    std::array<Subtree, kMapFanout> children;
  };

  Result<std::shared_ptr<const MapNode>> Before(const Subtree& entry);
  Result<std::string> EncodeRegion(const SlotLocation& at,
                                   const std::shared_ptr<const MapNode>& before,
                                   const RegionNode& content);
  Status OpenPath(uint64_t region);
  Result<OpenNode> Expand(const Subtree& subtree, unsigned level, uint64_t index);
  Status CloseNode(unsigned level);
  Result<Subtree> Collapse(const OpenNode& node, unsigned level);
  Result<MapChild> Lift(const Subtree& subtree, unsigned level);
  Result<MapChild> WriteInner(const InnerNode& inner);
  Result<SlotLocation> Write(const std::string& bytes);
  Status CheckCut();
  Status StripTop();
  Subtree& ParentEntry(unsigned level, uint64_t index);

  const Map& base_;
  RecordWriter& writer_;
  const uint64_t keep_blocks_;
  Subtree top_;  // the whole tree: the base's until the first path is opened
  std::array<std::optional<OpenNode>, kMaxMapHeight + 1> open_;  // by level; none at 0
  std::optional<uint64_t> last_region_;
  uint64_t nodes_written_ = 0;
  uint64_t bytes_written_ = 0;
};

}  // namespace quoin

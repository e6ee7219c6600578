// Which slots of which packs are referred to: a bit for each, 32 MiB for each TiB that is stored.
// Filled by walking maps; a node that was visited is not walked again, so what maps share costs
// once. One thread; memory only.
//
// Which nodes were visited is kept apart, in as many bits again at most: a record that is marked
// because a node is built on it may be a node of another map too, whose extents only a visit marks.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "blockstore/maps/map_walk.h"
#include "blockstore/packs/slot.h"

namespace quoin {

class PackMarks final : public MapVisitor {
 public:
  // kCorrupt for slots that no pack can have.
  Result<bool> VisitNode(const SlotLocation& at) override;
  Status VisitBase(const SlotLocation& at) override;
  Status VisitExtent(const SlotLocation& first, uint64_t count) override;

  void Mark(const SlotLocation& at);
  // True if any of the slots [first, end) is referred to.
  bool AnyOf(const Id& pack, uint32_t first, uint32_t end) const;
  // Referred to, of [first, end).
  uint32_t CountOf(const Id& pack, uint32_t first, uint32_t end) const;
  bool Knows(const Id& pack) const { return packs_.count(pack) > 0; }

  // What the walks came by: blocks in extents, each time an extent was seen, and nodes.
  uint64_t blocks() const { return blocks_; }
  uint64_t nodes() const { return nodes_; }

 private:
  using Words = std::vector<uint64_t>;  // a bit for each slot
  struct Slots {
    Words marked;
    Words visited;  // as nodes; no longer than to the last of them
  };

  Slots& Of(const Id& pack);
  // Sets the bits; the words are made as many as needed.
  static void Set(Words& words, uint32_t first, uint32_t end);

  std::unordered_map<Id, Slots, IdHash> packs_;
  Id last_;  // asked for
  Slots* last_slots_ = nullptr;
  uint64_t blocks_ = 0;
  uint64_t nodes_ = 0;
};

}  // namespace quoin

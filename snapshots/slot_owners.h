// Who alone refers to each slot: a unit (a VDI as it is now, or one of its snapshots), one VDI's
// several units, or more than one VDI. Units are walked one after the other. A node is walked again
// only when that changes who it belongs to, which is at most three times. Four bytes for each
// stored block of the packs that are looked at in one pass. One thread; memory only.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "blockstore/maps/map_walk.h"

namespace quoin {

class SlotOwners final : public MapVisitor {
 public:
  // Of the packs whose ids fall into this part of so many.
  SlotOwners(uint64_t part, uint64_t parts) : part_(part), parts_(parts) {}

  // The unit that is walked from now on, and the number of its VDI; both from 0, below 2^31 - 1.
  void Begin(uint32_t unit, uint32_t vdi);
  Result<bool> VisitNode(const SlotLocation& at) override;
  // Records belong to nobody: only blocks are counted, so what a node is built on changes nothing.
  Status VisitBase(const SlotLocation&) override { return {}; }
  Status VisitExtent(const SlotLocation& first, uint64_t count) override;

  // Adds the blocks that only a unit refers to, and those that only a VDI's units do.
  void Count(std::vector<uint64_t>* of_units, std::vector<uint64_t>* of_vdis) const;

 private:
  bool Claim(uint32_t& owner) const;  // true if it changed

  const uint64_t part_;
  const uint64_t parts_;
  uint32_t unit_ = 0;
  uint32_t vdi_ = 0;
  std::vector<uint32_t> vdi_of_unit_;
  std::unordered_map<SlotLocation, uint32_t, SlotLocationHash> nodes_;
  std::unordered_map<Id, std::vector<uint32_t>, IdHash> packs_;
};

}  // namespace quoin

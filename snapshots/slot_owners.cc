#include "snapshots/slot_owners.h"

#include "blockstore/packs/pack_format.h"

namespace quoin {
namespace {

// 0: nobody; unit + 1; several units of one VDI; several VDIs.
constexpr uint32_t kSeveralUnits = 1u << 31;  // with the VDI's number
constexpr uint32_t kSeveralVdis = UINT32_MAX;

}  // namespace

void SlotOwners::Begin(uint32_t unit, uint32_t vdi) {
  unit_ = unit;
  vdi_ = vdi;
  if (vdi_of_unit_.size() <= unit) vdi_of_unit_.resize(unit + 1);
  vdi_of_unit_[unit] = vdi;
}

bool SlotOwners::Claim(uint32_t& owner) const {
  const uint32_t before = owner;
  if (owner == 0) {
    owner = unit_ + 1;
  } else if (owner < kSeveralUnits) {
    if (owner == unit_ + 1) return false;
    owner = vdi_of_unit_[owner - 1] == vdi_ ? kSeveralUnits | vdi_ : kSeveralVdis;
  } else if (owner != (kSeveralUnits | vdi_)) {
    owner = kSeveralVdis;
  }
  return owner != before;
}

Result<bool> SlotOwners::VisitNode(const SlotLocation& at) { return Claim(nodes_[at]); }

Status SlotOwners::VisitExtent(const SlotLocation& first, uint64_t count) {
  if (first.pack.Prefix() % parts_ != part_) return {};
  if (count > kMaxPackSlots || first.slot > kMaxPackSlots - count) {
    return Fail(ErrorCode::kCorrupt, "a map names slots that no pack has");
  }
  std::vector<uint32_t>& slots = packs_[first.pack];
  const uint64_t end = first.slot + count;
  if (slots.size() < end) slots.resize(end);
  for (uint64_t slot = first.slot; slot < end; ++slot) (void)Claim(slots[slot]);
  return {};
}

void SlotOwners::Count(std::vector<uint64_t>* of_units, std::vector<uint64_t>* of_vdis) const {
  for (const auto& [pack, slots] : packs_) {
    for (const uint32_t owner : slots) {
      if (owner == 0 || owner == kSeveralVdis) continue;
      if (owner >= kSeveralUnits) {
        ++(*of_vdis)[owner & ~kSeveralUnits];
      } else {
        ++(*of_units)[owner - 1];
        ++(*of_vdis)[vdi_of_unit_[owner - 1]];
      }
    }
  }
}

}  // namespace quoin

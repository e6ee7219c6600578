#include "snapshots/pack_marks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "blockstore/packs/pack_format.h"

namespace quoin {
namespace {

constexpr uint32_t kBits = 64;

// The bits of word `index` that lie in [first, end).
uint64_t MaskOf(uint32_t index, uint32_t first, uint32_t end) {
  const uint32_t begin = index * kBits;
  const uint32_t from = std::max(first, begin) - begin;
  const uint32_t to = std::min(end, begin + kBits) - begin;
  const uint64_t below = to == kBits ? ~uint64_t{0} : (uint64_t{1} << to) - 1;
  return below & ~((uint64_t{1} << from) - 1);
}

Failure NoSuchSlot(const SlotLocation& at) {
  return Fail(ErrorCode::kCorrupt, fmt::format("a map names slot {} of pack {}, which no pack has",
                                               at.slot, at.pack.ToString()));
}

}  // namespace

// References to an entry stay valid while others are made, so the last one can be kept.
PackMarks::Slots& PackMarks::Of(const Id& pack) {
  if (last_slots_ == nullptr || last_ != pack) {
    last_ = pack;
    last_slots_ = &packs_[pack];
  }
  return *last_slots_;
}

void PackMarks::Set(Words& words, uint32_t first, uint32_t end) {
  const uint32_t last_word = (end - 1) / kBits;
  if (words.size() <= last_word) words.resize(last_word + 1);
  for (uint32_t index = first / kBits; index <= last_word; ++index) {
    words[index] |= MaskOf(index, first, end);
  }
}

void PackMarks::Mark(const SlotLocation& at) { Set(Of(at.pack).marked, at.slot, at.slot + 1); }

Result<bool> PackMarks::VisitNode(const SlotLocation& at) {
  if (at.slot >= kMaxPackSlots) return NoSuchSlot(at);
  Slots& slots = Of(at.pack);
  const uint32_t index = at.slot / kBits;
  const uint64_t bit = uint64_t{1} << (at.slot % kBits);
  if (index < slots.visited.size() && (slots.visited[index] & bit) != 0) return false;
  Set(slots.visited, at.slot, at.slot + 1);
  Set(slots.marked, at.slot, at.slot + 1);
  ++nodes_;
  return true;
}

Status PackMarks::VisitBase(const SlotLocation& at) {
  if (at.slot >= kMaxPackSlots) return NoSuchSlot(at);
  Mark(at);
  return {};
}

Status PackMarks::VisitExtent(const SlotLocation& first, uint64_t count) {
  if (count == 0 || count > kMaxPackSlots || first.slot > kMaxPackSlots - count) {
    return NoSuchSlot(first);
  }
  Set(Of(first.pack).marked, first.slot, first.slot + static_cast<uint32_t>(count));
  blocks_ += count;
  return {};
}

uint32_t PackMarks::CountOf(const Id& pack, uint32_t first, uint32_t end) const {
  const auto found = packs_.find(pack);
  if (found == packs_.end() || first >= end) return 0;
  const Words& words = found->second.marked;
  uint32_t count = 0;
  for (uint32_t index = first / kBits; index <= (end - 1) / kBits && index < words.size();
       ++index) {
    count += static_cast<uint32_t>(std::popcount(words[index] & MaskOf(index, first, end)));
  }
  return count;
}

bool PackMarks::AnyOf(const Id& pack, uint32_t first, uint32_t end) const {
  return CountOf(pack, first, end) > 0;
}

}  // namespace quoin

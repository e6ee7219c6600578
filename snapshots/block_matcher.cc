#include "snapshots/block_matcher.h"

#include <algorithm>

namespace quoin {

void BlockMatcher::Remember(const SlotLocation& first, std::span<const Digest> digests) {
  auto [entry, is_new] = recent_packs_.try_emplace(first.pack);
  if (is_new) recent_order_.push_back(first.pack);
  std::vector<Digest>& slots = entry->second;
  const size_t before = slots.size();
  slots.resize(std::max<size_t>(before, first.slot + digests.size()));
  recent_blocks_ += slots.size() - before;
  std::copy(digests.begin(), digests.end(), slots.begin() + first.slot);
  for (uint32_t n = 0; n < digests.size(); ++n) {
    if (DigestIndex::IsSampled(digests[n])) {
      recent_sampled_[digests[n].Prefix()] = {first.pack, first.slot + n};
    }
  }
  while (recent_blocks_ > kMaxRecentBlocks && recent_order_.size() > 1) {
    const Id oldest = recent_order_.front();
    recent_order_.pop_front();
    recent_blocks_ -= recent_packs_[oldest].size();
    recent_packs_.erase(oldest);
    std::erase_if(recent_sampled_,
                  [&](const auto& sampled) { return sampled.second.pack == oldest; });
    has_forgotten_ = true;
  }
}

const BlockMatcher::OpenDigests& BlockMatcher::DigestsOf(const Id& id) {
  if (!open_.empty() && open_.front().id == id) return open_.front();
  if (const auto found = open_by_id_.find(id); found != open_by_id_.end()) {
    open_.splice(open_.begin(), open_, found->second);
    return open_.front();
  }
  OpenDigests opened{id, nullptr, nullptr};
  if (Result<std::shared_ptr<const Pack>> pack = packs_.Get(id)) {
    if (Result<std::shared_ptr<const SlotDigests>> digests = (*pack)->Digests()) {
      opened.pack = std::move(*pack);
      opened.digests = std::move(*digests);
      opened.pack->DropDigests();  // held here, for as long as they are used
    }
  } else if (index_ != nullptr && pack.error().code == ErrorCode::kNotFound) {
    index_->RemovePack(id);
  }
  const auto count = [](const OpenDigests& of) {
    return of.digests == nullptr ? 0 : of.digests->all().size();
  };
  open_digests_ += count(opened);
  open_.push_front(std::move(opened));
  open_by_id_[id] = open_.begin();
  while (open_.size() > 1 && (open_digests_ > kMaxOpenDigests || open_.size() > kMaxOpenPacks)) {
    open_digests_ -= count(open_.back());
    open_by_id_.erase(open_.back().id);
    open_.pop_back();
  }
  return open_.front();
}

Digest BlockMatcher::DigestAt(const SlotLocation& at) {
  const auto recent = recent_packs_.find(at.pack);
  if (recent != recent_packs_.end()) {
    return at.slot < recent->second.size() ? recent->second[at.slot] : Digest();
  }
  const OpenDigests& open = DigestsOf(at.pack);
  if (open.pack == nullptr) return {};
  const std::optional<size_t> frame = open.pack->FrameOf(at.slot);
  if (!frame || !open.pack->frames()[*frame].holds_blocks()) return {};
  return open.digests->OfFrame(*frame)[at.slot - open.pack->frames()[*frame].first_slot()];
}

BlockMatcher::Match BlockMatcher::Extend(std::span<const Digest> sequence, size_t from, size_t at,
                                         const SlotLocation& slot) {
  const DeadPack* const dead = dead_ == nullptr ? nullptr : dead_->Find(slot.pack);
  const auto holds = [&](size_t n, uint32_t slot_of_n) {
    if (dead != nullptr && (dead->IsWhole() || dead->Contains(slot_of_n))) return false;
    const Digest stored = DigestAt({slot.pack, slot_of_n});
    return !stored.IsNull() && stored == sequence[n];
  };
  Match match{at, at, slot};
  if (!holds(at, slot.slot)) return match;
  while (match.begin > from && match.slot.slot > 0 && holds(match.begin - 1, match.slot.slot - 1)) {
    --match.begin;
    --match.slot.slot;
  }
  uint32_t next = slot.slot + 1;
  for (match.end = at + 1; match.end < sequence.size() && holds(match.end, next); ++match.end) ++next;
  return match;
}

std::optional<BlockMatcher::Match> BlockMatcher::Find(std::span<const Digest> sequence, size_t from,
                                                      size_t at) {
  const Digest& digest = sequence[at];
  if (!DigestIndex::IsSampled(digest)) return std::nullopt;
  Match best{at, at, {}};
  const auto consider = [&](const SlotLocation& candidate) {
    const Match match = Extend(sequence, from, at, candidate);
    if (match.end - match.begin > best.end - best.begin) best = match;
  };
  const auto recent = recent_sampled_.find(digest.Prefix());
  if (recent != recent_sampled_.end()) consider(recent->second);
  if (index_ != nullptr) {
    for (const SlotLocation& candidate : index_->Lookup(digest)) {
      if (best.end - best.begin == sequence.size()) break;
      consider(candidate);
    }
  }
  // All that the region has counts too, however little it is.
  const size_t length = best.end - best.begin;
  if (length < kMinSharedBlocks && length < sequence.size()) return std::nullopt;
  return best;
}

bool AnyDead(const std::map<Id, std::vector<SlotRun>>& found, const DeadList& dead) {
  for (const auto& [pack, runs] : found) {
    const DeadPack* const gone = dead.Find(pack);
    if (gone == nullptr) continue;
    if (gone->IsWhole()) return true;
    for (const SlotRun& run : runs) {
      // The first that ends behind the run's beginning.
      const auto lost = std::partition_point(
          gone->runs.begin(), gone->runs.end(),
          [&](const SlotRun& l) { return l.first + l.count <= run.first; });
      if (lost != gone->runs.end() && lost->first < run.first + run.count) return true;
    }
  }
  return false;
}

void BlockMatcher::Use(const Match& match) {
  if (recent_packs_.count(match.slot.pack) > 0) return;
  const auto count = static_cast<uint32_t>(match.end - match.begin);
  std::vector<SlotRun>& runs = found_[match.slot.pack];
  if (!runs.empty() && runs.back().first + runs.back().count == match.slot.slot) {
    runs.back().count += count;
  } else {
    runs.push_back({match.slot.slot, count});
  }
}

}  // namespace quoin

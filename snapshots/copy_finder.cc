#include "snapshots/copy_finder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

namespace quoin {
namespace {

// On each side of a damaged slot: two of three times one in eight of them is sampled.
constexpr uint32_t kNeighbours = 32;
constexpr size_t kMaxAnswers = 65'536;
// A copy may be stored, or collected, at any time.
constexpr std::chrono::minutes kRemembered{10};
constexpr size_t kMaxCopies = 8;  // of one block

}  // namespace

bool CopyFinder::Holds(const SlotLocation& at, const Digest& digest) {
  const Result<std::vector<Digest>> stored = packs_.DigestsOf(at.pack, at.slot, 1);
  return stored && stored->front() == digest;
}

std::vector<SlotLocation> CopyFinder::FindThroughIndex(const Digest& digest,
                                                       const SlotLocation& damaged) {
  DigestIndex* const index = index_();
  if (index == nullptr) return {};
  std::set<SlotLocation> candidates;
  for (const SlotLocation& found : index->Lookup(digest)) candidates.insert(found);
  const uint32_t first = damaged.slot - std::min(damaged.slot, kNeighbours);
  const uint32_t count = std::min(damaged.slot + kNeighbours + 1, kMaxPackSlots) - first;
  if (const auto around = packs_.DigestsOf(damaged.pack, first, count)) {
    for (uint32_t n = 0; n < count; ++n) {
      if ((*around)[n].IsNull() || !DigestIndex::IsSampled((*around)[n])) continue;
      for (const SlotLocation& found : index->Lookup((*around)[n])) {
        const int64_t slot = int64_t{found.slot} + damaged.slot - (first + n);
        if (slot < 0 || slot >= kMaxPackSlots) continue;
        candidates.insert({found.pack, static_cast<uint32_t>(slot)});
      }
    }
  }
  std::vector<SlotLocation> copies;
  for (const SlotLocation& candidate : candidates) {
    if (copies.size() >= kMaxCopies) break;
    if (candidate != damaged && Holds(candidate, digest)) copies.push_back(candidate);
  }
  return copies;
}

std::vector<SlotLocation> CopyFinder::Find(const Digest& digest, const SlotLocation& damaged) {
  MutexLock lock(mutex_);
  const auto known = answers_.find(damaged);
  if (known != answers_.end() && known->second.expires > Clock::now()) return known->second.copies;
  if (answers_.size() >= kMaxAnswers) answers_.clear();
  Answer& answer = answers_[damaged];
  answer = {FindThroughIndex(digest, damaged), Clock::now() + kRemembered};
  if (answer.copies.empty()) SearchPacks({{digest, damaged}}, kMaxSearchedPacks);
  return answers_[damaged].copies;
}

void CopyFinder::SearchAll(std::span<const std::pair<Digest, SlotLocation>> damaged) {
  MutexLock lock(mutex_);
  answers_.clear();
  Wanted wanted;
  for (const auto& [digest, at] : damaged) {
    if (wanted.size() >= kMaxAnswers) break;
    wanted.emplace(digest, at);
    answers_[at].expires = Clock::now() + kRemembered;
  }
  SearchPacks(wanted, SIZE_MAX);
}

void CopyFinder::SearchPacks(const Wanted& wanted, size_t max_packs) {
  const Result<std::vector<Id>> packs = packs_.List();
  if (!packs) return;
  size_t searched = 0;
  for (const Id& id : *packs) {
    if (searched++ == max_packs) return;
    SearchPack(id, wanted);
  }
}

// Past the store's open packs, which are those in use.
void CopyFinder::SearchPack(const Id& id, const Wanted& wanted) {
  const Result<std::shared_ptr<const Pack>> pack =
      Pack::Open(packs_.file_system(), id, packs_.PathOf(id));
  if (!pack) return;
  const Result<std::shared_ptr<const SlotDigests>> digests = (*pack)->Digests();
  if (!digests) return;
  const std::vector<FrameEntry>& frames = (*pack)->frames();
  for (size_t frame = 0; frame < frames.size(); ++frame) {
    if (!frames[frame].holds_blocks()) continue;
    SlotLocation at{id, frames[frame].first_slot()};
    for (const Digest& digest : (*digests)->OfFrame(frame)) {
      if (!digest.IsNull()) {
        const auto [begin, end] = wanted.equal_range(digest);
        for (auto found = begin; found != end; ++found) {
          std::vector<SlotLocation>& copies = answers_[found->second].copies;
          if (found->second != at && copies.size() < kMaxCopies) copies.push_back(at);
        }
      }
      ++at.slot;
    }
  }
}

}  // namespace quoin

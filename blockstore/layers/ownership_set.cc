#include "blockstore/layers/ownership_set.h"

#include <algorithm>
#include <bit>

namespace quoin {
namespace {

// Two bits a block; the low bits of all 32 pairs of a word.
constexpr uint64_t kLowBits = 0x5555555555555555;

constexpr uint64_t Fill(BlockState state) { return kLowBits * static_cast<uint64_t>(state); }

// Bits of blocks [first, first + count) of a word.
constexpr uint64_t WordMask(uint64_t first, uint64_t count) {
  return (count == 32 ? ~uint64_t{0} : (uint64_t{1} << (2 * count)) - 1) << (2 * first);
}

// One change of a kept region: counted before its first store and after its last, so that a change that
// the process did not live to finish is told from none.
class KeptChange {
 public:
  explicit KeptChange(KeptRegion* region) : region_(region) {
    if (region_ != nullptr) region_->begun.fetch_add(1, std::memory_order_acq_rel);
  }
  ~KeptChange() {
    if (region_ != nullptr) region_->done.fetch_add(1, std::memory_order_acq_rel);
  }
  KeptChange(const KeptChange&) = delete;
  KeptChange& operator=(const KeptChange&) = delete;

 private:
  KeptRegion* const region_;
};

}  // namespace

OwnershipSet::OwnershipSet(std::unique_ptr<KeptHead> kept) : kept_(std::move(kept)) {
  for (auto& node : nodes_) node.store(nullptr, std::memory_order_relaxed);
  if (kept_ != nullptr && kept_->is_live()) LoadKept();
}

OwnershipSet::~OwnershipSet() {
  for (auto& slot : nodes_) {
    Node* node = slot.load(std::memory_order_relaxed);
    if (node == nullptr) continue;
    for (auto& leaf_slot : node->leaves) {
      Leaf* leaf = leaf_slot.load(std::memory_order_relaxed);
      if (!IsUniform(leaf) && node->kept == nullptr) delete leaf;
    }
    delete node;
  }
}

// A leaf whose blocks are all absent or all zero is a mark instead of memory: null and one static
// leaf. A leaf once allocated stays until the set is destroyed, so readers need no protection.
namespace {
const char zero_mark_address = 0;
}
static const void* ZeroMark() { return &zero_mark_address; }
static OwnershipLeaf* ZeroLeaf() {
  return static_cast<OwnershipLeaf*>(const_cast<void*>(ZeroMark()));
}

bool OwnershipSet::IsUniform(const Leaf* leaf) {
  return leaf == nullptr || static_cast<const void*>(leaf) == ZeroMark();
}

OwnershipSet::Node* OwnershipSet::NodeFor(uint64_t region) {
  std::atomic<Node*>& slot = nodes_[region / kNodeRegions];
  Node* node = slot.load(std::memory_order_acquire);
  if (node != nullptr) return node;
  auto fresh = std::make_unique<Node>();  // value-initialised: all null and clean
  if (kept_ != nullptr) fresh->kept = kept_->NodeAt(region / kNodeRegions);
  if (slot.compare_exchange_strong(node, fresh.get(), std::memory_order_acq_rel)) {
    return fresh.release();
  }
  return node;  // another thread was first
}

const OwnershipSet::Leaf* OwnershipSet::LeafFor(uint64_t region) const {
  const Node* node = nodes_[region / kNodeRegions].load(std::memory_order_acquire);
  if (node == nullptr) return nullptr;
  return node->leaves[region % kNodeRegions].load(std::memory_order_acquire);
}

OwnershipSet::Leaf* OwnershipSet::MutableLeaf(Node& node, uint64_t region) {
  std::atomic<Leaf*>& slot = node.leaves[region % kNodeRegions];
  Leaf* leaf = slot.load(std::memory_order_acquire);
  if (IsUniform(leaf) && node.kept != nullptr) {
    MutexLock lock(kept_mutex_);
    leaf = slot.load(std::memory_order_acquire);
    if (!IsUniform(leaf)) return leaf;
    Leaf& fresh = node.kept->leaves[region % kNodeRegions];
    const uint64_t fill = leaf == nullptr ? 0 : Fill(BlockState::kZero);
    for (auto& word : fresh.words) word.store(fill, std::memory_order_relaxed);
    node.kept->regions[region % kNodeRegions].form.store(KeptRegion::kLeaf);
    slot.store(&fresh, std::memory_order_release);
    return &fresh;
  }
  while (IsUniform(leaf)) {
    auto fresh = std::make_unique<Leaf>();
    if (leaf != nullptr) {
      for (auto& word : fresh->words) word.store(Fill(BlockState::kZero), std::memory_order_relaxed);
    }
    if (slot.compare_exchange_strong(leaf, fresh.get(), std::memory_order_acq_rel)) {
      return fresh.release();
    }
  }
  return leaf;
}

BlockState OwnershipSet::StateOf(uint64_t block) const { return RunAt(block, 1).state; }

BlockRun OwnershipSet::RunAt(uint64_t block, uint64_t limit) const {
  BlockRun run;
  const uint64_t end = block + limit;
  bool started = false;
  const auto continues = [&](BlockState state) {
    if (!started) run.state = state;
    started = true;
    return run.state == state;
  };
  uint64_t at = block;
  while (at < end) {
    const uint64_t region = at / kRegionBlocks;
    const Node* node = region < kMaxVdiRegions
                           ? nodes_[region / kNodeRegions].load(std::memory_order_acquire)
                           : nullptr;
    if (node == nullptr) {
      if (!continues(BlockState::kAbsent)) break;
      at = (region / kNodeRegions + 1) * kNodeRegions * kRegionBlocks;
      continue;
    }
    const Leaf* leaf = node->leaves[region % kNodeRegions].load(std::memory_order_acquire);
    if (IsUniform(leaf)) {
      if (!continues(leaf == nullptr ? BlockState::kAbsent : BlockState::kZero)) break;
      at = (region + 1) * kRegionBlocks;
      continue;
    }
    const uint64_t in_region = at % kRegionBlocks;
    const uint64_t in_word = in_region % kBlocksPerWord;
    const uint64_t word =
        leaf->words[in_region / kBlocksPerWord].load(std::memory_order_acquire) >> (2 * in_word);
    if (!continues(static_cast<BlockState>(started ? static_cast<uint64_t>(run.state) : word & 3))) {
      break;
    }
    const uint64_t difference = word ^ (Fill(run.state) >> (2 * in_word));
    const uint64_t differing = (difference | difference >> 1) & kLowBits;
    if (differing != 0) {
      at += static_cast<uint64_t>(std::countr_zero(differing)) / 2;
      break;
    }
    at += kBlocksPerWord - in_word;
  }
  run.count = std::min(at, end) - block;
  return run;
}

void OwnershipSet::CountChange(uint64_t old_word, uint64_t new_word) {
  const auto data = [](uint64_t w) { return std::popcount(w >> 1 & ~w & kLowBits); };
  const auto owned = [](uint64_t w) { return std::popcount((w | w >> 1) & kLowBits); };
  if (const int d = data(new_word) - data(old_word); d != 0) {
    data_blocks_.fetch_add(static_cast<uint64_t>(static_cast<int64_t>(d)), std::memory_order_relaxed);
  }
  if (const int o = owned(new_word) - owned(old_word); o != 0) {
    owned_blocks_.fetch_add(static_cast<uint64_t>(static_cast<int64_t>(o)),
                            std::memory_order_relaxed);
  }
}

void OwnershipSet::MarkRegionDirty(Node& node, uint64_t region) {
  const uint64_t in_node = region % kNodeRegions;
  std::atomic<uint64_t>& word = node.dirty[in_node / 64];
  const uint64_t bit = uint64_t{1} << (in_node % 64);
  // Always the read-modify-write, even if the bit is set: it orders the change before TakeDirty's
  // exchange of this word, so that a change is either in this taking or marked for the next.
  word.fetch_or(bit, std::memory_order_acq_rel);
  node.any_dirty.store(true, std::memory_order_release);
  any_dirty_.store(true, std::memory_order_release);
}

void OwnershipSet::SetInRegion(uint64_t region, uint64_t first, uint64_t count, BlockState state) {
  Node& node = *NodeFor(region);
  const Leaf* present = node.leaves[region % kNodeRegions].load(std::memory_order_acquire);
  const bool uniform_already =
      IsUniform(present) &&
      state == (present == nullptr ? BlockState::kAbsent : BlockState::kZero);
  if (uniform_already) return;
  const KeptChange change(KeptRegionOf(node, region));
  Leaf* leaf = MutableLeaf(node, region);
  uint64_t at = first;
  const uint64_t end = first + count;
  while (at < end) {
    const uint64_t in_word = at % kBlocksPerWord;
    const uint64_t n = std::min(kBlocksPerWord - in_word, end - at);
    const uint64_t mask = WordMask(in_word, n);
    std::atomic<uint64_t>& word = leaf->words[at / kBlocksPerWord];
    uint64_t old_word = word.load(std::memory_order_relaxed);
    uint64_t new_word;
    do {
      new_word = (old_word & ~mask) | (Fill(state) & mask);
    } while (!word.compare_exchange_weak(old_word, new_word, std::memory_order_acq_rel));
    CountChange(old_word, new_word);
    at += n;
  }
  MarkRegionDirty(node, region);
}

// A whole region becomes absent or zero. Where there is no leaf yet the mark does; a leaf that
// exists is filled word by word.
void OwnershipSet::FillRegion(uint64_t region, BlockState state) {
  Node& node = *NodeFor(region);
  std::atomic<Leaf*>& slot = node.leaves[region % kNodeRegions];
  Leaf* leaf = slot.load(std::memory_order_acquire);
  if (IsUniform(leaf)) {
    const bool zero = state == BlockState::kZero;
    if (leaf == (zero ? ZeroLeaf() : nullptr)) return;
    const KeptChange change(KeptRegionOf(node, region));
    if (FillUniform(node, region, state)) {
      owned_blocks_.fetch_add(zero ? kRegionBlocks : -kRegionBlocks, std::memory_order_relaxed);
      MarkRegionDirty(node, region);
      return;
    }
  }
  SetInRegion(region, 0, kRegionBlocks, state);
}

// False if the region has a leaf by now.
bool OwnershipSet::FillUniform(Node& node, uint64_t region, BlockState state) {
  std::atomic<Leaf*>& slot = node.leaves[region % kNodeRegions];
  Leaf* const mark = state == BlockState::kZero ? ZeroLeaf() : nullptr;
  Leaf* leaf = slot.load(std::memory_order_acquire);
  if (node.kept == nullptr) {
    return IsUniform(leaf) && slot.compare_exchange_strong(leaf, mark, std::memory_order_acq_rel);
  }
  MutexLock lock(kept_mutex_);
  if (!IsUniform(slot.load(std::memory_order_acquire))) return false;
  node.kept->regions[region % kNodeRegions].form.store(
      state == BlockState::kZero ? KeptRegion::kAllZero : KeptRegion::kAllAbsent);
  slot.store(mark, std::memory_order_release);
  return true;
}

void OwnershipSet::Set(uint64_t first, uint64_t count, BlockState state) {
  uint64_t at = first;
  const uint64_t end = std::min(first + count, kMaxVdiBlocks);
  while (at < end) {
    const uint64_t region = at / kRegionBlocks;
    const uint64_t in_region = at % kRegionBlocks;
    const uint64_t n = std::min(kRegionBlocks - in_region, end - at);
    if (state == BlockState::kAbsent &&
        nodes_[region / kNodeRegions].load(std::memory_order_acquire) == nullptr) {
      at = (region / kNodeRegions + 1) * kNodeRegions * kRegionBlocks;  // absent already
      continue;
    }
    if (n == kRegionBlocks && state != BlockState::kData) {
      FillRegion(region, state);
    } else {
      SetInRegion(region, in_region, n, state);
    }
    at += n;
  }
}

std::vector<RegionRecord> OwnershipSet::TakeDirty(size_t limit) {
  std::vector<RegionRecord> records;
  if (limit == 0 || !any_dirty_.exchange(false, std::memory_order_acq_rel)) return records;
  for (uint64_t n = 0; n < kNodes; ++n) {
    Node* node = nodes_[n].load(std::memory_order_acquire);
    if (node == nullptr || !node->any_dirty.exchange(false, std::memory_order_acq_rel)) continue;
    for (size_t w = 0; w < node->dirty.size(); ++w) {
      uint64_t bits = node->dirty[w].exchange(0, std::memory_order_acq_rel);
      for (; bits != 0 && records.size() < limit; bits &= bits - 1) {
        const uint64_t region =
            n * kNodeRegions + w * 64 + static_cast<uint64_t>(std::countr_zero(bits));
        const std::optional<uint32_t> changes = ChangesOf(*node, region);
        records.push_back({static_cast<uint32_t>(region), EncodeRegion(region), changes});
      }
      if (records.size() < limit) continue;
      // Back in the order of MarkRegionDirty; what comes after has kept its marks.
      if (bits != 0) node->dirty[w].fetch_or(bits, std::memory_order_acq_rel);
      node->any_dirty.store(true, std::memory_order_release);
      any_dirty_.store(true, std::memory_order_release);
      return records;
    }
  }
  return records;
}

// Nothing if one is just being made: then it cannot be said whether what is read now has it. `done` is read
// first: if `begun` is no more, none was under way in between.
std::optional<uint32_t> OwnershipSet::ChangesOf(const Node& node, uint64_t region) {
  const KeptRegion* const kept = KeptRegionOf(node, region);
  if (kept == nullptr) return std::nullopt;
  const uint32_t done = kept->done.load(std::memory_order_acquire);
  if (kept->begun.load(std::memory_order_acquire) != done) return std::nullopt;
  return done;
}

void OwnershipSet::NoteRecorded(const std::vector<RegionRecord>& records) {
  for (const RegionRecord& record : records) {
    KeptRegion* const kept = KeptRegionOf(*NodeFor(record.region), record.region);
    if (kept != nullptr && record.changes) kept->recorded.store(*record.changes);
  }
}

// What another process left.
void OwnershipSet::LoadKept() {
  for (uint64_t n = 0; n < kNodes; ++n) {
    if (!kept_->HasNode(n)) continue;
    Node& node = *NodeFor(n * kNodeRegions);
    if (node.kept == nullptr) continue;
    for (uint64_t i = 0; i < kNodeRegions; ++i) {
      KeptRegion& region = node.kept->regions[i];
      switch (region.form.load()) {
        case KeptRegion::kLeaf: {
          Leaf& leaf = node.kept->leaves[i];
          for (const auto& word : leaf.words) CountChange(0, word.load(std::memory_order_relaxed));
          node.leaves[i].store(&leaf, std::memory_order_release);
          break;
        }
        case KeptRegion::kAllZero:
          owned_blocks_.fetch_add(kRegionBlocks, std::memory_order_relaxed);
          node.leaves[i].store(ZeroLeaf(), std::memory_order_release);
          break;
        default:
          break;
      }
      const uint32_t begun = region.begun.load();
      region.done.store(begun);
      if (region.recorded.load() != begun) MarkRegionDirty(node, n * kNodeRegions + i);
    }
  }
}

void OwnershipSet::MarkDirty(const std::vector<RegionRecord>& records) {
  for (const RegionRecord& record : records) {
    MarkRegionDirty(*NodeFor(record.region), record.region);
  }
}

void OwnershipSet::ForEachRun(
    uint64_t first, uint64_t end,
    const std::function<void(uint64_t, uint64_t, BlockState)>& visit) const {
  for (uint64_t at = first; at < end;) {
    const BlockRun run = RunAt(at, end - at);
    if (run.state != BlockState::kAbsent) visit(at, run.count, run.state);
    at += run.count;
  }
}

}  // namespace quoin

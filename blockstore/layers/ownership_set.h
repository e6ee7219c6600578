// Which blocks of a VDI a layer owns, and as what: nothing (kAbsent), zeros, or data in the
// layer's file. 2^36 blocks in a three-level tree, allocated as it is touched; subtrees that are
// all zero cost nothing, so a whole 256 TiB disk can be discarded in a few kilobytes.
//
// Readers and writers work without locks: two bits a block in 64-bit atomic words, each change one
// compare-and-swap, so that a block never shows a state it was not given. Changes to one block
// that race are ordered by the caller (RangeLock); different blocks never disturb each other.
// Every change also marks its region dirty: TakeDirty hands out what must be recorded by the next
// flush. Memory: 1 KiB for each region that has both owned and other blocks; of a daemon's heads it is
// memory that outlives the process (kept_heads.h).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/error.h"
#include "blockstore/base/mutex.h"
#include "blockstore/layers/kept_heads.h"

namespace quoin {

enum class BlockState : uint8_t {
  kAbsent = 0,  // look below
  kZero = 1,
  kData = 2,
};

// `count` consecutive blocks in one state.
struct BlockRun {
  BlockState state = BlockState::kAbsent;
  uint64_t count = 0;
};

// The blocks of one region as they were at one moment, ready to be recorded.
struct RegionRecord {
  uint32_t region = 0;
  std::string runs;  // EncodeRegion's form; empty if every block is absent
  // Of a set that is kept: how many changes of the region are in this, if it can be said.
  std::optional<uint32_t> changes = {};
};

class OwnershipSet {
 public:
  // Lives in `kept`, if that is not null; with all that is in it, if that is live: what was not recorded
  // is dirty.
  explicit OwnershipSet(std::unique_ptr<KeptHead> kept = nullptr);
  ~OwnershipSet();
  OwnershipSet(const OwnershipSet&) = delete;
  OwnershipSet& operator=(const OwnershipSet&) = delete;

  BlockState StateOf(uint64_t block) const;

  // The longest run of equal state that starts at `block`, at most `limit` blocks (limit > 0).
  // Skips empty and uniform subtrees in one step.
  BlockRun RunAt(uint64_t block, uint64_t limit) const;

  // Gives `count` blocks from `first` the state, and marks their regions dirty.
  void Set(uint64_t first, uint64_t count, BlockState state);

  uint64_t data_blocks() const { return data_blocks_.load(std::memory_order_relaxed); }
  // True if no block has ever been owned since construction or loading.
  bool empty() const { return owned_blocks_.load(std::memory_order_relaxed) == 0; }
  uint64_t owned_blocks() const { return owned_blocks_.load(std::memory_order_relaxed); }

  // Regions changed since they were last taken, with their present states. Call before the layer's
  // data is synced and record the result after: every block in it was written before the call. At
  // most `limit` of them; exactly so many means that there may be more.
  std::vector<RegionRecord> TakeDirty(size_t limit = std::numeric_limits<size_t>::max());
  // Puts regions back that could not be recorded.
  void MarkDirty(const std::vector<RegionRecord>& records);
  // What TakeDirty handed out is durable.
  void NoteRecorded(const std::vector<RegionRecord>& records);
  bool has_dirty() const { return any_dirty_.load(std::memory_order_acquire); }

  // Loads one recorded region; not dirty afterwards. kCorrupt for what EncodeRegion cannot make.
  Status LoadRegion(uint32_t region, std::string_view runs);

  // What the set lives in, or null.
  KeptHead* kept() const { return kept_.get(); }

  // The whole set as one file's content (format in blockstore/README.md), and back.
  std::string Encode() const;
  static Result<std::unique_ptr<OwnershipSet>> Decode(std::string_view bytes);

  // Calls visit(first, count, state) for every maximal owned run in [first, end), in order.
  void ForEachRun(uint64_t first, uint64_t end,
                  const std::function<void(uint64_t, uint64_t, BlockState)>& visit) const;

 private:
  static constexpr uint64_t kBlocksPerWord = 32;
  static constexpr uint64_t kLeafWords = kRegionBlocks / kBlocksPerWord;
  static constexpr uint64_t kNodeRegions = 4096;
  static constexpr uint64_t kNodes = kMaxVdiRegions / kNodeRegions;

  static_assert(kNodeRegions == KeptNode::kRegions);

  using Leaf = OwnershipLeaf;
  struct Node {
    KeptNode* kept;  // where its leaves are; null: allocated each
    std::array<std::atomic<Leaf*>, kNodeRegions> leaves;
    std::array<std::atomic<uint64_t>, kNodeRegions / 64> dirty;
    std::atomic<bool> any_dirty;
  };

  static bool IsUniform(const Leaf* leaf);
  static KeptRegion* KeptRegionOf(const Node& node, uint64_t region) {
    return node.kept == nullptr ? nullptr : &node.kept->regions[region % kNodeRegions];
  }
  static std::optional<uint32_t> ChangesOf(const Node& node, uint64_t region);
  Node* NodeFor(uint64_t region);
  const Leaf* LeafFor(uint64_t region) const;
  Leaf* MutableLeaf(Node& node, uint64_t region);
  void SetInRegion(uint64_t region, uint64_t first, uint64_t count, BlockState state);
  void FillRegion(uint64_t region, BlockState state);
  bool FillUniform(Node& node, uint64_t region, BlockState state);
  void LoadKept();
  void MarkRegionDirty(Node& node, uint64_t region);
  void CountChange(uint64_t old_word, uint64_t new_word);
  std::string EncodeRegion(uint64_t region) const;

  const std::unique_ptr<KeptHead> kept_;
  Mutex kept_mutex_{LockRank::kLeaf};  // a kept region changes its form
  std::array<std::atomic<Node*>, kNodes> nodes_;
  std::atomic<uint64_t> data_blocks_{0};
  std::atomic<uint64_t> owned_blocks_{0};
  std::atomic<bool> any_dirty_{false};
};

}  // namespace quoin

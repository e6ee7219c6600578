// What one collection declared dead: packs, or slots of packs. A sealer that has not heard of it
// yet drops what it remembers of them (digest_index.h) and looks anew at the references that it is
// about to commit. Pure data and functions; thread-safe.
//
// Format: "quoin-gcdead-v01", then LEB128 varints: the generation, the one before it, the number of
// packs; for each pack, in rising order of ids, its 16 bytes, the number of its runs (0: the whole
// pack is dead) and the runs in rising order, each two varints: the slots that stay before it, then
// its length; at the end the XXH3-128 of everything before, canonical (big-endian).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/error.h"
#include "blockstore/base/id.h"

namespace quoin {

// The encoding of a list. A collection that declares more dead is to be cut in several.
inline constexpr uint64_t kMaxDeadListBytes = uint64_t{256} << 20;

// Slots [first, first + count).
struct SlotRun {
  uint32_t first = 0;
  uint32_t count = 0;
  bool operator==(const SlotRun&) const = default;
};

struct DeadPack {
  Id pack;
  std::vector<SlotRun> runs;  // rising, apart from each other; empty: the whole pack

  bool operator==(const DeadPack&) const = default;
  bool IsWhole() const { return runs.empty(); }
  bool Contains(uint32_t slot) const;
};

class DeadList {
 public:
  // Each makes the list say this besides what it says already. Packs are added cheapest in rising
  // order of their ids.
  void AddPack(const Id& pack);
  void AddSlots(const Id& pack, const std::vector<SlotRun>& runs);  // in any order; empty runs too
  void Add(const DeadList& other);

  // Makes whole packs of those with the most runs until there are at most so many runs: for whoever
  // asks what must not be referred to, to whom too much said is safe and too little is not.
  void LimitRuns(uint64_t max_runs);
  uint64_t CountRuns() const;

  // In the order of their ids.
  const std::vector<DeadPack>& packs() const { return packs_; }
  // Null if nothing of the pack is dead.
  const DeadPack* Find(const Id& pack) const;
  bool operator==(const DeadList&) const = default;

  // As the list that made `previous` into `generation`. kTooLarge beyond kMaxDeadListBytes.
  Result<std::string> Encode(uint64_t generation, uint64_t previous) const;
  // kCorrupt for anything that Encode did not make for this generation. `path` is for messages.
  static Result<DeadList> Decode(std::string_view bytes, uint64_t generation,
                                 const std::string& path, uint64_t* previous);

 private:
  DeadPack& At(const Id& pack, bool* is_new);

  std::vector<DeadPack> packs_;
};

}  // namespace quoin

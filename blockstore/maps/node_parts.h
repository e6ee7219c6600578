// What the encodings of nodes have in common, byte by byte in blockstore/README.md: their first
// bytes, digests, and the table of the packs that a node names. For those that encode and decode
// nodes, and nobody else.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "blockstore/base/digest.h"
#include "blockstore/base/error.h"
#include "blockstore/base/varint.h"
#include "blockstore/packs/slot.h"

namespace quoin {

// Frozen: on disk.
inline constexpr std::string_view kNodeMagic = "qmap";

inline constexpr uint64_t kPackSlots = uint64_t{1} << 32;  // that slot numbers can tell apart

inline Failure Damaged(std::string what) { return Fail(ErrorCode::kCorrupt, std::move(what)); }

inline void PutDigest(std::string& out, const Digest& digest) {
  out.append(reinterpret_cast<const char*>(digest.bytes.data()), Digest::kBytes);
}
inline Digest ToDigest(std::string_view bytes) {
  Digest digest;
  std::memcpy(digest.bytes.data(), bytes.data(), Digest::kBytes);
  return digest;
}

// The packs that a node names, each once, in the order in which they are first named, and for each
// the slot after the last one named. Slots are written as distances from there: what was written in
// one go costs one byte.
class PackTable {
 public:
  size_t size() const { return packs_.size(); }

  // For an encoder: the pack's number, new or known.
  size_t IndexOf(const Id& pack) {
    const auto [known, is_new] = indexes_.try_emplace(pack, packs_.size());
    if (is_new) packs_.push_back({pack, 0});
    return known->second;
  }
  uint64_t DistanceTo(size_t index, uint64_t slot, uint64_t count) {
    const uint64_t distance =
        ToZigzag(static_cast<int64_t>(slot) - static_cast<int64_t>(packs_[index].next_slot));
    packs_[index].next_slot = slot + count;
    return distance;
  }
  void AppendTo(std::string& out) const {
    PutVarint(out, packs_.size());
    for (const Pack& pack : packs_) {
      out.append(reinterpret_cast<const char*>(pack.id.bytes().data()), Id::kBytes);
    }
  }

  // For a decoder. `limit`: how many packs the node can name at most.
  Status Load(VarintReader& reader, size_t limit) {
    const std::optional<uint64_t> count = reader.Next();
    if (!count || *count == 0 || *count > limit || *count > reader.remaining_bytes() / Id::kBytes) {
      return Damaged("its table of packs cannot be that long");
    }
    std::vector<Id> sorted;
    sorted.reserve(*count);
    packs_.reserve(*count);
    for (uint64_t i = 0; i < *count; ++i) {
      std::array<uint8_t, Id::kBytes> bytes;
      std::memcpy(bytes.data(), reader.NextBytes(Id::kBytes)->data(), Id::kBytes);
      sorted.push_back(Id::FromBytes(bytes));
      packs_.push_back({sorted.back(), 0});
    }
    std::sort(sorted.begin(), sorted.end());
    if (sorted.front().IsNull() ||
        std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      return Damaged("its table of packs names one twice, or none");
    }
    return {};
  }
  // Reads a pack's number and a distance; `count` slots from the result exist.
  Result<SlotLocation> Next(VarintReader& reader, uint64_t count) {
    const std::optional<uint64_t> index = reader.Next();
    const std::optional<uint64_t> distance = index ? reader.Next() : std::nullopt;
    if (!distance) return Damaged("it ends within a slot's place");
    if (*index > named_ || *index >= packs_.size()) {
      return Damaged(fmt::format("it names pack {} of {} out of order", *index, packs_.size()));
    }
    if (*index == named_) ++named_;
    Pack& pack = packs_[*index];
    // Both terms are far from the ends of 64 bits once the distance is known to be a slot's.
    if (*distance > 2 * kPackSlots) return Damaged("it names a slot that no pack has");
    const int64_t slot = static_cast<int64_t>(pack.next_slot) + FromZigzag(*distance);
    if (slot < 0 || static_cast<uint64_t>(slot) + count > kPackSlots) {
      return Damaged("it names a slot that no pack has");
    }
    pack.next_slot = static_cast<uint64_t>(slot) + count;
    return SlotLocation{pack.id, static_cast<uint32_t>(slot)};
  }
  bool all_named() const { return named_ == packs_.size(); }

 private:
  struct Pack {
    Id id;
    uint64_t next_slot;
  };
  std::vector<Pack> packs_;
  std::unordered_map<Id, size_t, IdHash> indexes_;  // of an encoder
  size_t named_ = 0;                                // of a decoder
};

}  // namespace quoin

// How ownership is written down: rows of one region each, and whole sets as `.owned` files. Both
// are described in blockstore/README.md.
#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>
#include <optional>

#include "blockstore/base/varint.h"
#include "blockstore/layers/ownership_set.h"

namespace quoin {
namespace {

constexpr std::string_view kMagic = "quoin-owned-v01\n";
constexpr size_t kChecksumBytes = 16;

// Runs as pairs of varints: how many absent blocks come before, then count * 2 + (1 for zero).
class RunWriter {
 public:
  explicit RunWriter(uint64_t first) : at_(first) {}
  void Add(uint64_t first, uint64_t count, BlockState state) {
    PutVarint(bytes, first - at_);
    PutVarint(bytes, count << 1 | (state == BlockState::kZero ? 1 : 0));
    at_ = first + count;
  }
  std::string bytes;

 private:
  uint64_t at_;
};

// Calls visit(first, count, state) for each run; kCorrupt unless they are whole and lie in
// [first, end).
template <typename Visit>
Status ReadRuns(std::string_view bytes, uint64_t first, uint64_t end, Visit visit) {
  VarintReader reader(bytes);
  uint64_t at = first;
  while (!reader.at_end()) {
    const std::optional<uint64_t> gap = reader.Next();
    const std::optional<uint64_t> tagged = gap ? reader.Next() : std::nullopt;
    if (!tagged || *gap >= end - at || *tagged < 2 || (*tagged >> 1) > end - at - *gap) {
      return Fail(ErrorCode::kCorrupt, "the list of owned blocks is damaged");
    }
    at += *gap;
    visit(at, *tagged >> 1, (*tagged & 1) != 0 ? BlockState::kZero : BlockState::kData);
    at += *tagged >> 1;
  }
  return {};
}

std::string Checksum(std::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return std::string(reinterpret_cast<const char*>(canonical.digest), kChecksumBytes);
}

}  // namespace

std::string OwnershipSet::EncodeRegion(uint64_t region) const {
  const uint64_t first = region * kRegionBlocks;
  RunWriter writer(first);
  ForEachRun(first, first + kRegionBlocks, [&](uint64_t at, uint64_t count, BlockState state) {
    writer.Add(at, count, state);
  });
  return std::move(writer.bytes);
}

Status OwnershipSet::LoadRegion(uint32_t region, std::string_view runs) {
  if (region >= kMaxVdiRegions) {
    return Fail(ErrorCode::kCorrupt, fmt::format("owned blocks name region {}, of {} at most",
                                                 region, kMaxVdiRegions));
  }
  const uint64_t first = region * kRegionBlocks;
  QUOIN_TRY(ReadRuns(runs, first, first + kRegionBlocks,
                     [this](uint64_t at, uint64_t count, BlockState state) { Set(at, count, state); }));
  Node& node = *NodeFor(region);
  node.dirty[region % kNodeRegions / 64].fetch_and(~(uint64_t{1} << (region % 64)));
  if (KeptRegion* const kept = KeptRegionOf(node, region)) kept->recorded.store(kept->begun.load());
  return {};
}

std::string OwnershipSet::Encode() const {
  RunWriter writer(0);
  ForEachRun(0, kMaxVdiBlocks, [&](uint64_t at, uint64_t count, BlockState state) {
    writer.Add(at, count, state);
  });
  const std::string bytes = std::string(kMagic) + writer.bytes;
  return bytes + Checksum(bytes);
}

Result<std::unique_ptr<OwnershipSet>> OwnershipSet::Decode(std::string_view bytes) {
  if (bytes.size() < kMagic.size() + kChecksumBytes) {
    return Fail(ErrorCode::kCorrupt, "the list of owned blocks is cut short");
  }
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    return Fail(ErrorCode::kCorrupt, "this is no list of owned blocks, or of another format");
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (bytes.substr(body.size()) != Checksum(body)) {
    return Fail(ErrorCode::kCorrupt, "the list of owned blocks does not match its checksum");
  }
  auto set = std::make_unique<OwnershipSet>();
  QUOIN_TRY(ReadRuns(body.substr(kMagic.size()), 0, kMaxVdiBlocks,
                     [&set](uint64_t at, uint64_t count, BlockState state) {
                       set->Set(at, count, state);
                     }));
  // Loaded, so nothing is waiting to be recorded.
  for (auto& slot : set->nodes_) {
    Node* node = slot.load(std::memory_order_relaxed);
    if (node == nullptr) continue;
    for (auto& word : node->dirty) word.store(0, std::memory_order_relaxed);
    node->any_dirty.store(false, std::memory_order_relaxed);
  }
  set->any_dirty_.store(false, std::memory_order_relaxed);
  return set;
}

}  // namespace quoin

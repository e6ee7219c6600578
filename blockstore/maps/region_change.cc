#include "blockstore/maps/region_change.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "blockstore/base/varint.h"
#include "blockstore/maps/extent_cursor.h"
#include "blockstore/maps/node_parts.h"

namespace quoin {
namespace {

// Frozen: on disk.
constexpr char kVersion = 2;
constexpr size_t kHeaderBytes = kNodeMagic.size() + 2;
constexpr size_t kMinRunBytes = 2;  // two varints
constexpr size_t kChecksumExtentBytes = 2 + 2 + Id::kBytes + 4;

bool Continues(const ChangedRun& run, const ChangedRun& next) {
  if (run.end() != next.first || run.slot.pack != next.slot.pack) return false;
  return run.slot.IsNull() || uint64_t{run.slot.slot} + run.count == next.slot.slot;
}

bool IsWellFormed(const RegionChange& change) {
  if (change.digest.IsNull() || change.base.IsNull()) return false;
  if (change.position == 0 || change.position > kMaxChainPosition) return false;
  uint32_t end = 0;
  for (size_t i = 0; i < change.runs.size(); ++i) {
    const ChangedRun& run = change.runs[i];
    if (run.count == 0 || run.first < end || run.end() > kRegionBlocks) return false;
    if (uint64_t{run.slot.slot} + run.count > kPackSlots) return false;
    if (run.slot.IsNull() && run.slot != SlotLocation()) return false;
    if (i > 0 && Continues(change.runs[i - 1], run)) return false;
    end = run.end();
  }
  return true;
}

// Little-endian.
template <typename Number>
void PutNumber(std::string& out, Number number) {
  std::array<char, sizeof(Number)> bytes;
  for (size_t n = 0; n < bytes.size(); ++n) bytes[n] = static_cast<char>(number >> (8 * n));
  out.append(bytes.data(), bytes.size());
}

uint64_t ToChecksum(std::string_view bytes) {
  uint64_t checksum = 0;
  for (size_t n = 0; n < bytes.size(); ++n) {
    checksum |= uint64_t{static_cast<uint8_t>(bytes[n])} << (8 * n);
  }
  return checksum;
}

// The blocks [first, end) of a stretch.
ChangedRun RunOf(const Stretch& stretch, uint32_t first, uint32_t end) {
  ChangedRun run{static_cast<uint16_t>(first), static_cast<uint16_t>(end - first), {}};
  if (stretch.extent != nullptr) {
    const SlotLocation& slot = stretch.extent->slot;
    run.slot = {slot.pack, slot.slot + (first - stretch.extent->first)};
  }
  return run;
}

Result<std::vector<ChangedRun>> DecodeRuns(VarintReader& reader, PackTable& packs) {
  const std::optional<uint64_t> count = reader.Next();
  if (!count || *count > kRegionBlocks || *count > reader.remaining_bytes() / kMinRunBytes) {
    return Damaged("it cannot hold that many changes");
  }
  std::vector<ChangedRun> runs;
  runs.reserve(*count);
  uint64_t at = 0;
  for (uint64_t i = 0; i < *count; ++i) {
    const std::optional<uint64_t> gap = reader.Next();
    const std::optional<uint64_t> kind = gap ? reader.Next() : std::nullopt;
    if (!kind) return Damaged(fmt::format("it ends within change {}", i));
    const uint64_t more = *kind >> 1;
    if (at == kRegionBlocks || *gap >= kRegionBlocks - at || more >= kRegionBlocks - at - *gap) {
      return Damaged(fmt::format("change {} reaches beyond the region", i));
    }
    ChangedRun run{static_cast<uint16_t>(at + *gap), static_cast<uint16_t>(more + 1), {}};
    const bool is_hole = (*kind & 1) != 0;
    if (!is_hole) {
      QUOIN_ASSIGN(run.slot, packs.Next(reader, run.count));
    }
    if (i > 0 && Continues(runs.back(), run)) {
      return Damaged(fmt::format("change {} continues the one before", i));
    }
    runs.push_back(run);
    at = run.end();
  }
  return runs;
}

}  // namespace

uint64_t RegionChecksum(const RegionNode& node) {
  std::string bytes;
  bytes.reserve(Digest::kBytes + node.extents.size() * kChecksumExtentBytes);
  PutDigest(bytes, node.digest);
  for (const MapExtent& extent : node.extents) {
    PutNumber(bytes, extent.first);
    PutNumber(bytes, extent.count);
    bytes.append(reinterpret_cast<const char*>(extent.slot.pack.bytes().data()), Id::kBytes);
    PutNumber(bytes, extent.slot.slot);
  }
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::vector<ChangedRun> DifferenceOf(std::span<const MapExtent> base,
                                     std::span<const MapExtent> result) {
  std::vector<ChangedRun> runs;
  ExtentCursor base_cursor(base);
  ExtentCursor result_cursor(result);
  for (uint32_t at = 0; at < kRegionBlocks;) {
    const Stretch before = base_cursor.At(at);
    const Stretch after = result_cursor.At(at);
    const uint32_t end = std::min(before.end, after.end);
    if (!AreSame(before, after)) {
      const ChangedRun run = RunOf(after, at, end);
      if (!runs.empty() && Continues(runs.back(), run)) {
        runs.back().count = static_cast<uint16_t>(runs.back().count + run.count);
      } else {
        runs.push_back(run);
      }
    }
    at = end;
  }
  return runs;
}

Status ApplyRuns(std::span<const ChangedRun> runs, RegionEdit& edit) {
  for (const ChangedRun& run : runs) {
    for (uint32_t n = 0; n < run.count; ++n) {
      const SlotLocation after =
          run.slot.IsNull() ? SlotLocation() : SlotLocation{run.slot.pack, run.slot.slot + n};
      if (edit.SlotOf(run.first + n) == after) {
        return Damaged(fmt::format("it says that block {} changes, which does not", run.first + n));
      }
    }
    if (run.slot.IsNull()) {
      edit.SetHole(run.first, run.count);
    } else {
      edit.SetData(run.first, run.count, run.slot);
    }
  }
  return {};
}

bool IsRegionChange(std::string_view bytes) {
  return bytes.size() > kNodeMagic.size() && bytes.substr(0, kNodeMagic.size()) == kNodeMagic &&
         bytes[kNodeMagic.size()] == kVersion;
}

std::string EncodeRegionChange(const RegionChange& change) {
  if (!IsWellFormed(change)) std::abort();
  PackTable packs;
  std::string places;
  const size_t base_pack = packs.IndexOf(change.base.pack);
  PutVarint(places, base_pack);
  PutVarint(places, packs.DistanceTo(base_pack, change.base.slot, 1));
  PutVarint(places, change.runs.size());
  uint32_t end = 0;
  for (const ChangedRun& run : change.runs) {
    PutVarint(places, run.first - end);
    PutVarint(places, (run.count - 1u) << 1 | (run.slot.IsNull() ? 1 : 0));
    end = run.end();
    if (run.slot.IsNull()) continue;
    const size_t pack = packs.IndexOf(run.slot.pack);
    PutVarint(places, pack);
    PutVarint(places, packs.DistanceTo(pack, run.slot.slot, run.count));
  }
  std::string bytes(kNodeMagic);
  bytes += kVersion;
  bytes += '\0';
  PutDigest(bytes, change.digest);
  PutNumber(bytes, change.result_checksum);
  PutVarint(bytes, change.position);
  packs.AppendTo(bytes);
  return bytes + places;
}

Result<RegionChange> DecodeRegionChange(std::string_view bytes) {
  if (bytes.size() > kMaxRecordBytes) return Damaged("it is longer than a record can be");
  if (!IsRegionChange(bytes) || bytes.size() < kHeaderBytes) {
    return Damaged("this is no change to a map node");
  }
  if (bytes[kHeaderBytes - 1] != 0) return Damaged("only a region's node can be a change");
  VarintReader reader(bytes.substr(kHeaderBytes));
  const std::optional<std::string_view> digest = reader.NextBytes(Digest::kBytes);
  const std::optional<std::string_view> checksum =
      digest ? reader.NextBytes(sizeof(uint64_t)) : std::nullopt;
  if (!checksum) return Damaged("it ends within its digest or checksum");
  RegionChange change;
  change.digest = ToDigest(*digest);
  if (change.digest.IsNull()) return Damaged("it has no digest");
  change.result_checksum = ToChecksum(*checksum);
  const std::optional<uint64_t> position = reader.Next();
  if (!position || *position == 0 || *position > kMaxChainPosition) {
    return Damaged("it has no position that a chain can have");
  }
  change.position = static_cast<uint32_t>(*position);
  PackTable packs;
  QUOIN_TRY(packs.Load(reader, kRegionBlocks + 1));
  QUOIN_ASSIGN(change.base, packs.Next(reader, 1));
  QUOIN_ASSIGN(change.runs, DecodeRuns(reader, packs));
  if (!packs.all_named()) return Damaged("its table has packs that no change names");
  if (!reader.at_end()) return Damaged("bytes follow its last change");
  return change;
}

}  // namespace quoin

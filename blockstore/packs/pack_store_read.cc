// Reading blocks and records out of packs: the hot path of sealed data.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "blockstore/packs/pack_store.h"

namespace quoin {

// Runs `read(pack)`. A file that was replaced under an open descriptor is no longer readable on some
// storage (NFS answers ESTALE): what fails other than by damage is tried once more with the pack
// opened anew.
template <typename Read>
auto PackStore::WithPack(const Id& id, Read read)
    -> decltype(read(std::declval<const PackPointer&>())) {
  PackPointer pack = Find(id);
  if (pack != nullptr) {
    auto result = read(pack);
    if (result || result.error().code == ErrorCode::kCorrupt ||
        result.error().code == ErrorCode::kNotFound) {
      return result;
    }
    spdlog::warn("{} is opened anew: {}", pack->Title(), result.error().what);
    Close(id);
  }
  Result<PackPointer> opened = Get(id);
  if (!opened) return Failure(std::move(opened).error());
  return read(*opened);
}

Status PackStore::ReadBlocks(const SlotLocation& first, uint32_t count, uint64_t byte_offset,
                             std::span<std::byte> out) {
  const uint64_t run_bytes = uint64_t{count} * kBlockBytes;
  if (byte_offset > run_bytes || out.size() > run_bytes - byte_offset) {
    return Fail(ErrorCode::kInvalid, fmt::format("{} bytes at {} of {} blocks", out.size(),
                                                 byte_offset, count));
  }
  const uint64_t slot = first.slot + byte_offset / kBlockBytes;
  Status status = WithPack(first.pack, [&](const PackPointer& pack) -> Status {
    if (slot >= kMaxPackSlots) {
      return Fail(ErrorCode::kCorrupt, fmt::format("{} has no slot {}", pack->Title(), slot));
    }
    return ReadFrom(*pack, static_cast<uint32_t>(slot), byte_offset % kBlockBytes, out);
  });
  if (!status && status.error().code == ErrorCode::kNotFound) {
    status = Fail(ErrorCode::kCorrupt, fmt::format("slots {} to {} are needed: {}", first.slot,
                                                   uint64_t{first.slot} + count - 1,
                                                   status.error().what));
  }
  if (!status && status.error().code == ErrorCode::kCorrupt) {
    spdlog::error("cannot read blocks of pack {}: {}", first.pack.ToString(), status.error().what);
  }
  return status;
}

Status PackStore::ReadFrom(const Pack& pack, uint32_t slot, uint64_t in_slot,
                           std::span<std::byte> out) {
  // A run over several frames is decompressed to where it is wanted, past the cache: that saves a
  // copy, and long sequential reads do not drive out what is read again and again.
  const bool long_run = out.size() > kMaxBlockFrameBytes;
  while (!out.empty()) {
    const std::optional<size_t> frame = pack.FrameOf(slot);
    if (!frame || !pack.frames()[*frame].holds_blocks()) {
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{} holds no block in slot {}", pack.Title(), slot));
    }
    const FrameEntry& entry = pack.frames()[*frame];
    const uint64_t offset = (slot - entry.first_slot()) * kBlockBytes + in_slot;
    const std::span<std::byte> part = out.first(std::min(out.size(), entry.raw_bytes() - offset));
    const bool in_place = long_run && part.size() == entry.raw_bytes();
    QUOIN_ASSIGN(SlotMask damaged, ReadPart(pack, *frame, offset, part, in_place));
    damaged &= SlotsOf(offset, part.size());
    if (damaged != 0) {
      const auto blocks = static_cast<uint64_t>(std::popcount(damaged));
      const Status healed = Heal(pack, *frame, damaged, offset, part);
      (healed ? healed_blocks_ : lost_blocks_).fetch_add(blocks, std::memory_order_relaxed);
      QUOIN_TRY(healed);
    }
    out = out.subspan(part.size());
    slot = entry.end_slot();
    in_slot = 0;
  }
  return {};
}

// The bytes [offset, offset + part.size()) of the frame; returns which of its slots are damaged.
Result<SlotMask> PackStore::ReadPart(const Pack& pack, size_t frame, uint64_t offset,
                                     std::span<std::byte> part, bool in_place) {
  const FrameEntry& entry = pack.frames()[frame];
  const FrameKey key{pack.id(), entry.first_slot()};
  const SlotMask wanted = SlotsOf(offset, part.size());
  if (in_place) {
    const FramePointer cached = cache_.Find(key, wanted);
    if (cached == nullptr) return pack.ReadFrame(frame, part);
    std::memcpy(part.data(), cached->bytes.get(), part.size());
    return cached->damaged;
  }
  QUOIN_ASSIGN(const FramePointer loaded, cache_.Get(key, wanted, [&]() -> Result<FramePointer> {
    auto fresh = std::make_shared<Frame>(entry.raw_bytes());
    QUOIN_ASSIGN(fresh->damaged, pack.ReadFrame(frame, {fresh->bytes.get(), fresh->size_bytes}));
    return FramePointer(std::move(fresh));
  }));
  std::memcpy(part.data(), loaded->At(offset), part.size());
  return loaded->damaged;
}

// Fills the damaged blocks of a part from copies elsewhere.
Status PackStore::Heal(const Pack& pack, size_t frame, SlotMask damaged, uint64_t offset,
                       std::span<std::byte> part) {
  const FrameEntry& entry = pack.frames()[frame];
  for (; damaged != 0; damaged &= damaged - 1) {
    const auto index = static_cast<uint32_t>(std::countr_zero(damaged));
    const SlotLocation location{pack.id(), entry.first_slot() + index};
    const Result<std::vector<std::byte>> copy = ReadCopy(pack, location);
    if (!copy) {
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: slot {} of the frame of slots {} to {} is damaged; {}",
                              pack.Title(), location.slot, entry.first_slot(),
                              entry.end_slot() - 1, copy.error().what));
    }
    const uint64_t block_begin = index * kBlockBytes;
    const uint64_t from = std::max(block_begin, offset);
    const uint64_t end = std::min(block_begin + kBlockBytes, offset + part.size());
    std::memcpy(part.data() + (from - offset), copy->data() + (from - block_begin), end - from);
  }
  return {};
}

// Another copy of a damaged block, checked against the digest.
Result<std::vector<std::byte>> PackStore::ReadCopy(const Pack& pack, const SlotLocation& damaged) {
  std::shared_ptr<const Healer> healer;
  {
    const MutexLock lock(healer_mutex_);
    healer = healer_;
  }
  if (healer == nullptr) return Fail(ErrorCode::kNotFound, "nothing is known of another copy");
  QUOIN_ASSIGN(const std::shared_ptr<const SlotDigests> digests, pack.Digests());
  const size_t frame = *pack.FrameOf(damaged.slot);
  const Digest digest = digests->OfFrame(frame)[damaged.slot - pack.frames()[frame].first_slot()];
  if (digest.IsNull()) return Fail(ErrorCode::kNotFound, "its digest is lost too");
  for (const SlotLocation& other : (*healer)(digest, damaged)) {
    Result<std::vector<std::byte>> block = ReadSlot(other);
    if (!block || DigestOf(*block) != digest) continue;
    spdlog::warn("{}: slot {} is damaged; it was read from slot {} of pack {} instead", pack.Title(),
                 damaged.slot, other.slot, other.pack.ToString());
    return block;
  }
  return Fail(ErrorCode::kNotFound, "no other copy of it is known");
}

// The block, right or not.
Result<std::vector<std::byte>> PackStore::ReadSlot(const SlotLocation& at) {
  QUOIN_ASSIGN(const PackPointer pack, Get(at.pack));
  const std::optional<size_t> frame = pack->FrameOf(at.slot);
  if (!frame || !pack->frames()[*frame].holds_blocks()) {
    return Fail(ErrorCode::kNotFound, fmt::format("{} has no block {}", pack->Title(), at.slot));
  }
  const FrameEntry& entry = pack->frames()[*frame];
  std::vector<std::byte> bytes(entry.raw_bytes());
  QUOIN_TRY(pack->ReadFrame(*frame, bytes));
  const auto begin =
      bytes.begin() + static_cast<std::ptrdiff_t>((at.slot - entry.first_slot()) * kBlockBytes);
  return std::vector<std::byte>(begin, begin + kBlockBytes);
}

Result<std::shared_ptr<const std::string>> PackStore::ReadRecord(RecordKind kind,
                                                                 const SlotLocation& at) {
  return WithPack(at.pack, [&](const PackPointer& pack)
                               -> Result<std::shared_ptr<const std::string>> {
    const std::optional<size_t> frame = pack->FrameOf(at.slot);
    if (!frame) {
      return Fail(ErrorCode::kNotFound, fmt::format("{} has no slot {}", pack->Title(), at.slot));
    }
    const FrameEntry& entry = pack->frames()[*frame];
    if (entry.kind() != FrameKindOf(kind)) {
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: slot {} holds kind {}, not a record of kind {}", pack->Title(),
                              at.slot, static_cast<int>(entry.kind()), static_cast<int>(kind)));
    }
    auto record = std::make_shared<std::string>(entry.raw_bytes(), '\0');
    QUOIN_ASSIGN(const SlotMask damaged,
                 pack->ReadFrame(*frame, std::as_writable_bytes(std::span(*record))));
    if (damaged != 0) {
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: the record in slot {} is damaged", pack->Title(), at.slot));
    }
    return std::shared_ptr<const std::string>(std::move(record));
  });
}

}  // namespace quoin

#include "blockstore/packs/pack.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "blockstore/packs/pack_scan.h"

namespace quoin {
namespace {

// Stored payloads on their way to being decompressed: one buffer for each thread, at most a
// record's size.
std::span<std::byte> ThreadBuffer(size_t length) {
  struct Buffer {
    std::unique_ptr<std::byte[]> bytes;
    size_t length = 0;
  };
  thread_local Buffer buffer;
  if (buffer.length < length) {
    buffer.length = std::max<size_t>(length, kMaxBlockFrameBytes);
    buffer.bytes = std::make_unique_for_overwrite<std::byte[]>(buffer.length);
  }
  return {buffer.bytes.get(), length};
}

// Reads a part that the sizes say is there; kCorrupt if the file is shorter by now.
Status ReadExactly(File& file, uint64_t offset, std::span<std::byte> out) {
  QUOIN_ASSIGN(const size_t done, file.Read(offset, out));
  if (done == out.size()) return {};
  return Fail(ErrorCode::kCorrupt, fmt::format("it ends at {}", offset + done));
}

std::span<const std::byte> SlotBytes(const FrameEntry& frame, std::span<const std::byte> raw,
                                     uint32_t index) {
  return frame.holds_blocks() ? raw.subspan(index * kBlockBytes, kBlockBytes) : raw;
}

SlotMask AllSlots(const FrameEntry& frame) { return (SlotMask{1} << frame.slots()) - 1; }

}  // namespace

SlotDigests::SlotDigests(const std::vector<FrameEntry>& frames, std::vector<Digest> digests)
    : digests_(std::move(digests)) {
  first_rows_.reserve(frames.size() + 1);
  uint32_t row = 0;
  for (const FrameEntry& frame : frames) {
    first_rows_.push_back(row);
    row += frame.slots();
  }
  first_rows_.push_back(row);
  if (row != digests_.size()) std::abort();
}

Pack::Pack(const Id& id, std::string path, std::unique_ptr<File> file, uint64_t file_bytes)
    : id_(id), path_(std::move(path)), file_(std::move(file)), file_bytes_(file_bytes) {}

std::string Pack::Title() const { return fmt::format("pack {} ({})", id_.ToString(), path_); }

Result<std::shared_ptr<const Pack>> Pack::Open(FileSystem& file_system, const Id& id,
                                               std::string path) {
  QUOIN_ASSIGN(std::unique_ptr<File> file, file_system.Open(path, {}));
  QUOIN_ASSIGN(const FileFacts facts, file->Facts());
  const std::shared_ptr<Pack> pack(
      new Pack(id, std::move(path), std::move(file), facts.size_bytes));
  const Status loaded = pack->Load();
  if (!loaded) {
    return Fail(loaded.error().code,
                fmt::format("cannot open {}: {}", pack->Title(), loaded.error().what));
  }
  return pack;
}

Status Pack::Load() {
  if (file_bytes_ < kPackHeaderBytes || file_bytes_ > kMaxPackFileBytes) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} bytes are no pack's size", file_bytes_));
  }
  std::array<std::byte, kPackHeaderBytes> bytes;
  QUOIN_TRY(ReadExactly(*file_, 0, bytes));
  const Status header = DecodePackHeader(bytes, id_);
  if (!header && header.error().code != ErrorCode::kCorrupt) return header;
  const Result<PackTrailer> trailer = ReadTrailer();
  if (!trailer && trailer.error().code != ErrorCode::kCorrupt) return Failure(trailer.error());
  // One of the two must vouch that this is the pack at all.
  if (!header && !trailer) return header;
  if (!header) {
    spdlog::warn("{} has a damaged header and is read all the same: {}", Title(),
                 header.error().what);
  }
  if (!trailer) return Rebuild(trailer, trailer.error().what);
  Result<std::vector<FrameEntry>> table = ReadTable(*trailer);
  if (!table) {
    if (table.error().code != ErrorCode::kCorrupt) return Failure(table.error());
    return Rebuild(trailer, table.error().what);
  }
  frames_ = std::move(*table);
  slots_ = trailer->slots;
  complete_ = true;
  intact_ = header.has_value();
  trailer_ = *trailer;
  return {};
}

Result<PackTrailer> Pack::ReadTrailer() const {
  if (file_bytes_ < kPackHeaderBytes + kPackTrailerBytes) {
    return Fail(ErrorCode::kCorrupt, "it is cut short");
  }
  std::array<std::byte, kPackTrailerBytes> bytes;
  QUOIN_TRY(ReadExactly(*file_, file_bytes_ - kPackTrailerBytes, bytes));
  return DecodePackTrailer(bytes, id_, file_bytes_);
}

Result<std::vector<FrameEntry>> Pack::ReadTable(const PackTrailer& trailer) const {
  std::vector<std::byte> bytes(trailer.digests_offset - trailer.table_offset);
  QUOIN_TRY(ReadExactly(*file_, trailer.table_offset, bytes));
  return DecodeFrameTable(bytes, trailer);
}

Status Pack::Rebuild(const Result<PackTrailer>& trailer, std::string_view reason) {
  QUOIN_ASSIGN(frames_,
               ScanFrames(*file_, id_, trailer ? trailer->table_offset : file_bytes_));
  for (const FrameEntry& frame : frames_) slots_ += frame.slots();
  if (trailer && trailer->frames == frames_.size() && trailer->slots == slots_) {
    complete_ = true;
    trailer_ = *trailer;
  }
  spdlog::warn("{} is damaged ({}); its table was rebuilt from {} frames of {} slots{}", Title(),
               reason, frames_.size(), slots_,
               complete_ ? ", which is all of them" : "; some may be missing");
  return {};
}

std::optional<size_t> Pack::FrameOf(uint32_t slot) const {
  if (frames_.empty()) return std::nullopt;
  // Right at once in a pack of full frames, as sealing makes them.
  const size_t guess = std::min<size_t>(slot / kMaxFrameSlots, frames_.size() - 1);
  if (frames_[guess].Holds(slot)) return guess;
  const auto after = std::upper_bound(
      frames_.begin(), frames_.end(), slot,
      [](uint32_t wanted, const FrameEntry& frame) { return wanted < frame.first_slot(); });
  if (after == frames_.begin() || !std::prev(after)->Holds(slot)) return std::nullopt;
  return static_cast<size_t>(std::prev(after) - frames_.begin());
}

Result<bool> Pack::ReadStored(size_t frame, std::span<std::byte> out) const {
  const FrameEntry& entry = frames_[frame];
  if (out.size() != entry.stored_bytes()) std::abort();
  QUOIN_ASSIGN(const size_t done, file_->Read(entry.payload_offset(), out));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(done), out.end(), std::byte{0});
  return PackChecksum(out) == entry.checksum();
}

Result<SlotMask> Pack::ReadFrame(size_t frame, std::span<std::byte> out) const {
  const FrameEntry& entry = frames_[frame];
  if (out.size() != entry.raw_bytes()) std::abort();
  if (entry.codec() == Compression::kNone) {
    QUOIN_ASSIGN(const bool right, ReadStored(frame, out));
    return right ? Result<SlotMask>(0) : Salvage(frame, out, out);
  }
  const std::span<std::byte> stored = ThreadBuffer(entry.stored_bytes());
  QUOIN_ASSIGN(const bool right, ReadStored(frame, stored));
  if (right && Decompress(entry.codec(), stored, out)) return SlotMask{0};
  return Salvage(frame, stored, out);
}

Result<bool> Pack::IsFrameHeaderRight(size_t frame) const {
  FrameHeaderBytes expected;
  EncodeFrameHeader(id_, frames_[frame], expected);
  FrameHeaderBytes stored;
  const Status read =
      ReadExactly(*file_, frames_[frame].payload_offset() - kFrameHeaderBytes, stored);
  if (!read && read.error().code != ErrorCode::kCorrupt) return Failure(read.error());
  return read && stored == expected;
}

Result<SlotMask> Pack::VerifyFrame(size_t frame, const SlotDigests& digests,
                                         std::span<std::byte> out) const {
  QUOIN_ASSIGN(SlotMask damaged, ReadFrame(frame, out));
  const FrameEntry& entry = frames_[frame];
  const std::span<const Digest> expected = digests.OfFrame(frame);
  for (uint32_t i = 0; i < entry.slots(); ++i) {
    if (expected[i].IsNull() || DigestOf(SlotBytes(entry, out, i)) == expected[i]) continue;
    damaged |= SlotMask{1} << i;
  }
  return damaged;
}

Result<SlotMask> Pack::Salvage(size_t frame, std::span<const std::byte> stored,
                                     std::span<std::byte> out) const {
  const FrameEntry& entry = frames_[frame];
  if (stored.data() != out.data()) {
    std::fill(out.begin(), out.end(), std::byte{0});
    (void)Decompress(entry.codec(), stored, out);
  }
  QUOIN_ASSIGN(const std::shared_ptr<const SlotDigests> digests, Digests());
  const std::span<const Digest> expected = digests->OfFrame(frame);
  SlotMask damaged = AllSlots(entry);
  for (uint32_t i = 0; i < entry.slots(); ++i) {
    if (!expected[i].IsNull() && DigestOf(SlotBytes(entry, out, i)) == expected[i]) {
      damaged &= ~(SlotMask{1} << i);
    }
  }
  spdlog::error("{}: the frame of slots {} to {} does not match its checksum; {} of its {} slots "
                "are damaged",
                Title(), entry.first_slot(), entry.end_slot() - 1, std::popcount(damaged),
                entry.slots());
  return damaged;
}

Result<std::shared_ptr<const SlotDigests>> Pack::Digests() const {
  {
    const MutexLock lock(digests_mutex_);
    if (digests_ != nullptr) return digests_;
  }
  // Two threads may load them at once; the first one's are kept.
  QUOIN_ASSIGN(SlotDigests loaded, LoadDigests());
  auto digests = std::make_shared<const SlotDigests>(std::move(loaded));
  const MutexLock lock(digests_mutex_);
  if (digests_ == nullptr) digests_ = std::move(digests);
  return digests_;
}

void Pack::DropDigests() const {
  const MutexLock lock(digests_mutex_);
  digests_.reset();
}

Result<std::optional<std::vector<Digest>>> Pack::ReadStoredDigests() const {
  if (!trailer_) return std::optional<std::vector<Digest>>();
  std::vector<std::byte> bytes(uint64_t{trailer_->slots} * Digest::kBytes);
  const Status read = ReadExactly(*file_, trailer_->digests_offset, bytes);
  if (!read && read.error().code != ErrorCode::kCorrupt) return Failure(read.error());
  Result<std::vector<Digest>> digests = DecodeSlotDigests(bytes, *trailer_);
  if (!digests) return std::optional<std::vector<Digest>>();
  return std::optional(std::move(*digests));
}

Result<bool> Pack::AreDigestsRight() const {
  QUOIN_ASSIGN(const std::optional<std::vector<Digest>> stored, ReadStoredDigests());
  return stored.has_value();
}

Result<SlotDigests> Pack::LoadDigests() const {
  QUOIN_ASSIGN(std::optional<std::vector<Digest>> stored, ReadStoredDigests());
  if (stored) return SlotDigests(frames_, std::move(*stored));
  spdlog::warn("{}: its digests are damaged or cannot be told apart; they are computed anew",
               Title());
  QUOIN_ASSIGN(std::vector<Digest> digests, HashFrames());
  return SlotDigests(frames_, std::move(digests));
}

Result<std::vector<Digest>> Pack::HashFrames() const {
  std::vector<Digest> digests;
  digests.reserve(slots_);
  std::vector<std::byte> stored;
  std::vector<std::byte> raw;
  for (size_t i = 0; i < frames_.size(); ++i) {
    const FrameEntry& frame = frames_[i];
    stored.resize(frame.stored_bytes());
    raw.resize(frame.raw_bytes());
    QUOIN_ASSIGN(const bool right, ReadStored(i, stored));
    const bool good = right && Decompress(frame.codec(), stored, raw);
    for (uint32_t slot = 0; slot < frame.slots(); ++slot) {
      digests.push_back(good ? DigestOf(SlotBytes(frame, raw, slot)) : Digest());
    }
  }
  return digests;
}

}  // namespace quoin

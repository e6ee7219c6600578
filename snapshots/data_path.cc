#include "snapshots/data_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace quoin {
namespace {

bool IsZero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

// An end of the disk where there is none would be filled up with zeros by whoever asked.
Status DataPath::RequireContents() const {
  if (has_contents()) return {};
  return Fail(ErrorCode::kIo, "what was open here is gone");
}

Status DataPath::RequireWritable() const {
  if (head_ != nullptr && !writes_stopped_) return {};
  return Fail(ErrorCode::kReadOnly, "this disk is open for reading only");
}

Result<size_t> DataPath::Read(uint64_t offset, std::span<std::byte> buffer) {
  RequestGate::Pass pass(gate_);
  QUOIN_TRY(RequireContents());
  const uint64_t size = size_bytes();
  if (offset >= size) return size_t{0};
  buffer = buffer.first(std::min<uint64_t>(buffer.size(), size - offset));
  QUOIN_TRY(ReadOver(head_.get(), below_, offset, buffer));
  return buffer.size();
}

bool DataPath::HeadOwnsData(uint64_t first, uint64_t count) const {
  const BlockRun run = head_->ownership().RunAt(first, count);
  return run.state == BlockState::kData && run.count == count;
}

Status DataPath::Write(uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  RequestGate::Pass pass(gate_);
  QUOIN_TRY(RequireWritable());
  const uint64_t first = offset / kBlockBytes;
  const uint64_t count = (offset + bytes.size() - 1) / kBlockBytes - first + 1;
  // A discard that races this write was not ordered after it: either may win.
  if (HeadOwnsData(first, count)) return head_->Write(offset, bytes);
  return WriteFirst(offset, bytes);
}

// Some block is not the head's data yet. Until a block is owned its bytes in the file mean nothing
// (they may be the rest of a discard or of an unrecorded write), so such a block is always written
// whole, up to the end of the disk.
Status DataPath::WriteFirst(uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t end = offset + bytes.size();
  const uint64_t first = offset / kBlockBytes;
  RangeLock::Held held(range_lock_, first, (end - 1) / kBlockBytes - first + 1);
  if (offset % kBlockBytes != 0) {
    const size_t n = std::min<uint64_t>(bytes.size(), kBlockBytes - offset % kBlockBytes);
    QUOIN_TRY(WritePart(offset, bytes.first(n)));
    bytes = bytes.subspan(n);
  }
  // The disk's last block is whole if everything in it is written.
  const size_t tail = end >= size_bytes() ? 0 : std::min<uint64_t>(bytes.size(), end % kBlockBytes);
  const auto whole = bytes.first(bytes.size() - tail);
  if (!whole.empty()) QUOIN_TRY(WriteWholeBlocks(BlocksOf(offset), whole));
  return tail == 0 ? Status{} : WritePart(end - tail, bytes.last(tail));
}

// Part of one block, with its range held. A block that the head owns takes the bytes alone: other
// requests may be writing the rest of it, without a lock. A block that it does not own is completed
// from below.
Status DataPath::WritePart(uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t block = offset / kBlockBytes;
  if (HeadOwnsData(block, 1)) return head_->Write(offset, bytes);
  if (StaysHole(block, bytes)) return {};
  const uint64_t start = block * kBlockBytes;
  std::array<std::byte, kBlockBytes> whole;
  const std::span<std::byte> content =
      std::span(whole).first(std::min(kBlockBytes, size_bytes() - start));
  QUOIN_TRY(ReadOver(head_.get(), below_, start, content));
  std::memcpy(content.data() + (offset - start), bytes.data(), bytes.size());
  QUOIN_TRY(head_->Write(start, content));
  Own(block, 1, BlockState::kData);
  return {};
}

// Zeros for a block that shows no data leave it a hole, so that an import of an image takes no space
// for its zeros; where data shows, zeros are data.
bool DataPath::StaysHole(uint64_t block, std::span<const std::byte> bytes) const {
  if (!IsZero(bytes)) return false;
  const Result<VisibleRun> run = ResolveOver(head_.get(), below_, block, 1);
  return run && run->state != BlockState::kData;
}

// With the range held.
Status DataPath::WriteWholeBlocks(uint64_t first, std::span<const std::byte> bytes) {
  const uint64_t end = first + BlocksOf(bytes.size());
  const auto part = [&](uint64_t from, uint64_t to) {
    const uint64_t start = (from - first) * kBlockBytes;
    return bytes.subspan(start, std::min((to - first) * kBlockBytes, bytes.size()) - start);
  };
  for (uint64_t at = first; at < end;) {
    uint64_t data_end = at;
    while (data_end < end && !StaysHole(data_end, part(data_end, data_end + 1))) ++data_end;
    if (data_end > at) {
      QUOIN_TRY(head_->Write(at * kBlockBytes, part(at, data_end)));
      Own(at, data_end - at, BlockState::kData);
    }
    at = data_end + 1;  // past the hole that ended the run, if one did
  }
  return {};
}

void DataPath::Own(uint64_t first, uint64_t count, BlockState state) {
  if (!below_.empty()) {
    const uint64_t end = first + count;
    for (uint64_t at = first; at < end;) {
      const BlockRun run = head_->ownership().RunAt(at, end - at);
      if (run.state == BlockState::kAbsent) {
        // A map that cannot be read must not keep anyone from writing over what it hides.
        covered_blocks_.fetch_add(below_.CountData(at, run.count).value_or(0),
                                  std::memory_order_relaxed);
      }
      at += run.count;
    }
  }
  head_->ownership().Set(first, count, state);
}

// In pieces, between which a snapshot may come: it need not wait for a discard of a whole disk.
Status DataPath::Zero(uint64_t offset, uint64_t length) {
  const uint64_t size = size_bytes();
  const uint64_t end = offset < size ? offset + std::min(length, size - offset) : offset;
  do {
    RequestGate::Pass pass(gate_);
    QUOIN_TRY(RequireWritable());
    const uint64_t piece_end = std::min(end, (offset / kZeroPieceBytes + 1) * kZeroPieceBytes);
    QUOIN_TRY(ZeroPiece(offset, piece_end));
    offset = piece_end;
  } while (offset < end);
  return {};
}

Status DataPath::ZeroPiece(uint64_t offset, uint64_t end) {
  if (offset == end) return {};
  const uint64_t first_whole = BlocksOf(offset);
  const uint64_t end_whole = end / kBlockBytes;
  if (end_whole < first_whole) return ZeroPart(offset, end - offset);
  QUOIN_TRY(ZeroPart(offset, first_whole * kBlockBytes - offset));
  if (end_whole > first_whole) QUOIN_TRY(ZeroBlocks(first_whole, end_whole - first_whole));
  const uint64_t tail = end_whole * kBlockBytes;
  return tail < end ? ZeroFront(tail, end) : Status{};
}

// A block up to `end`, which lies in it. If the disk ends there the block goes as a whole; the disk
// may not grow meanwhile, or a write behind its end would go too.
Status DataPath::ZeroFront(uint64_t offset, uint64_t end) {
  {
    MutexLock lock(size_mutex_);
    if (end == size_bytes()) return ZeroBlocks(offset / kBlockBytes, 1);
  }
  return ZeroPart(offset, end - offset);
}

// Part of one block.
Status DataPath::ZeroPart(uint64_t offset, uint64_t length) {
  if (length == 0) return {};
  const uint64_t block = offset / kBlockBytes;
  QUOIN_ASSIGN(const VisibleRun run, ResolveOver(head_.get(), below_, block, 1));
  if (run.state != BlockState::kData) return {};  // reads as zeros already
  static constexpr std::byte kZeros[kBlockBytes] = {};
  const std::span<const std::byte> zeros(kZeros, length);
  if (HeadOwnsData(block, 1)) return head_->Write(offset, zeros);
  return WriteFirst(offset, zeros);
}

// With the range held: the blocks read as zeros, and are owned as such where data lies below. Where
// that is scattered over a region that goes as a whole, the region is owned as a whole: that takes a
// mark instead of a map of its blocks.
Status DataPath::HideBelow(uint64_t first, uint64_t end, bool is_counted) {
  for (uint64_t at = first; at < end;) {
    QUOIN_ASSIGN(const VisibleRun under, below_.Resolve(at, end - at));
    uint64_t next = at + under.count;
    bool has_data = under.state == BlockState::kData;
    const uint64_t region_end = at + kRegionBlocks;
    const uint64_t last_border = next / kRegionBlocks * kRegionBlocks;
    if (at % kRegionBlocks == 0 && next < region_end && region_end <= end) {
      next = region_end;
      QUOIN_ASSIGN(const uint64_t found, FindBlock(nullptr, below_, at, next, true));
      has_data = found < next;
    } else if (next < end && last_border > at) {
      next = last_border;  // what follows may be a region that goes as a whole
    }
    if (has_data && is_counted) {
      Own(at, next - at, BlockState::kZero);
    } else {
      head_->ownership().Set(at, next - at,
                             has_data ? BlockState::kZero : BlockState::kAbsent);
    }
    at = next;
  }
  return {};
}

// Whole blocks: first they read as zeros, then their space goes. Where nothing lies below they need
// not be owned at all.
Status DataPath::ZeroBlocks(uint64_t first, uint64_t count) {
  RangeLock::Held held(range_lock_, first, count);
  const uint64_t end = first + count;
  std::vector<std::pair<uint64_t, uint64_t>> data_runs;
  head_->ownership().ForEachRun(first, end, [&](uint64_t at, uint64_t n, BlockState state) {
    if (state == BlockState::kData) data_runs.emplace_back(at, n);
  });
  QUOIN_TRY(HideBelow(first, end, true));
  for (const auto& [at, n] : data_runs) {
    const uint64_t offset = at * kBlockBytes;
    QUOIN_TRY(head_->PunchHole(offset, std::min(n * kBlockBytes, size_bytes() - offset)));
  }
  return {};
}

Result<uint64_t> DataPath::SeekData(uint64_t offset) { return Seek(offset, true); }
Result<uint64_t> DataPath::SeekHole(uint64_t offset) { return Seek(offset, false); }

Result<uint64_t> DataPath::Seek(uint64_t offset, bool data) {
  RequestGate::Pass pass(gate_);
  QUOIN_TRY(RequireContents());
  const uint64_t size = size_bytes();
  if (offset >= size) return Fail(ErrorCode::kNoData, "the offset is past the end of the disk");
  QUOIN_ASSIGN(const uint64_t block, FindBlock(head_.get(), below_, offset / kBlockBytes,
                                               BlocksOf(size), data));
  if (block == BlocksOf(size)) {
    if (data) return Fail(ErrorCode::kNoData, "no data follows");
    return size;
  }
  return std::max(offset, block * kBlockBytes);
}

Status DataPath::Grow(uint64_t size_bytes) {
  RequestGate::Pass pass(gate_);
  QUOIN_TRY(RequireWritable());
  MutexLock lock(size_mutex_);
  if (size_bytes <= this->size_bytes()) return {};
  QUOIN_TRY(head_->Resize(size_bytes));
  size_bytes_.store(size_bytes, std::memory_order_release);
  return {};
}

Status DataPath::Shrink(uint64_t size_bytes) {
  const uint64_t old_size = this->size_bytes();
  QUOIN_TRY(Zero(size_bytes, old_size - size_bytes));
  RequestGate::Pass pass(gate_);
  MutexLock lock(size_mutex_);
  size_bytes_.store(size_bytes, std::memory_order_release);
  return {};
}

uint64_t DataPath::data_blocks() {
  RequestGate::Pass pass(gate_);
  return VisibleDataBlocks();
}

uint64_t DataPath::VisibleDataBlocks() const {
  const uint64_t in_head = head_ == nullptr ? 0 : head_->ownership().data_blocks();
  const uint64_t below = data_blocks_below_.load(std::memory_order_relaxed);
  const uint64_t covered = covered_blocks_.load(std::memory_order_relaxed);
  // The counters are read one after the other; while writes run the sum may lag by those.
  return in_head + below > covered ? in_head + below - covered : 0;
}

Result<bool> DataPath::HasDataBelow(uint64_t first_byte, uint64_t end_byte) const {
  const uint64_t end = BlocksOf(end_byte);
  QUOIN_ASSIGN(const uint64_t found,
               FindBlock(nullptr, below_, first_byte / kBlockBytes, end, true));
  return found < end;
}

Status DataPath::ShowBelow(uint64_t size_bytes) {
  RequestGate::Pass pass(gate_);
  MutexLock lock(size_mutex_);
  const uint64_t old_blocks = BlocksOf(this->size_bytes());
  QUOIN_ASSIGN(const uint64_t shown,
               below_.CountData(old_blocks, BlocksOf(size_bytes) - old_blocks));
  QUOIN_TRY(head_->Resize(size_bytes));
  data_blocks_below_.fetch_add(shown, std::memory_order_relaxed);
  size_bytes_.store(size_bytes, std::memory_order_release);
  return {};
}

Status DataPath::CutOffBelow() {
  RequestGate::Pass pass(gate_);
  const uint64_t size = size_bytes();
  // The block that the size cuts becomes the head's, which ends at the size.
  QUOIN_ASSIGN(const VisibleRun cut, ResolveOver(head_.get(), below_, size / kBlockBytes, 1));
  if (size % kBlockBytes != 0 && cut.layer != head_.get() && cut.state == BlockState::kData) {
    const uint64_t start = size / kBlockBytes * kBlockBytes;
    std::vector<std::byte> kept(size - start);
    QUOIN_TRY(ReadOver(head_.get(), below_, start, kept));
    QUOIN_TRY(WriteFirst(start, kept));
  }
  // Never counted as visible, so not counted as covered either.
  QUOIN_TRY(HideBelow(BlocksOf(size), kMaxVdiBlocks, false));
  return {};
}

void DataPath::Replace(Contents contents) {
  uint64_t covered = 0;
  if (contents.head != nullptr && !contents.below.empty()) {
    contents.head->ownership().ForEachRun(
        0, BlocksOf(contents.size_bytes), [&](uint64_t at, uint64_t n, BlockState) {
          covered += contents.below.CountData(at, n).value_or(0);
        });
  }
  RequestGate::Closure closure(gate_);
  has_contents_.store(true, std::memory_order_release);
  writes_stopped_ = false;
  head_ = std::move(contents.head);
  below_ = std::move(contents.below);
  size_bytes_.store(contents.size_bytes, std::memory_order_release);
  data_blocks_below_.store(contents.data_blocks_below, std::memory_order_relaxed);
  covered_blocks_.store(covered, std::memory_order_relaxed);
}

void DataPath::StopWrites() {
  RequestGate::Closure closure(gate_);
  writes_stopped_ = true;
}

void DataPath::ResumeWrites() {
  RequestGate::Closure closure(gate_);
  writes_stopped_ = false;
}

// Nearly always nothing has turned, so the gate is closed for a moment only.
void DataPath::ReplaceBelow(LayerStack below, std::span<const BlockRange> turned_holes) {
  RequestGate::Closure closure(gate_);
  const uint64_t end = BlocksOf(size_bytes());
  const auto lost = [&](uint64_t at, uint64_t n) {
    const uint64_t before = below_.CountData(at, n).value_or(0);
    return before - std::min(before, below.CountData(at, n).value_or(before));
  };
  for (const BlockRange& range : turned_holes) {
    if (range.first >= end) continue;
    const uint64_t range_end = std::min(range.first + range.count, end);
    data_blocks_below_.fetch_sub(lost(range.first, range_end - range.first),
                                 std::memory_order_relaxed);
    if (head_ == nullptr) continue;
    head_->ownership().ForEachRun(range.first, range_end,
                                  [&](uint64_t at, uint64_t n, BlockState) {
                                    covered_blocks_.fetch_sub(lost(at, n),
                                                              std::memory_order_relaxed);
                                  });
  }
  below_ = std::move(below);
}

void DataPath::Clear() {
  Contents nothing;
  RequestGate::Closure closure(gate_);
  has_contents_.store(false, std::memory_order_release);
  writes_stopped_ = false;
  head_.swap(nothing.head);
  std::swap(below_, nothing.below);
  size_bytes_.store(0, std::memory_order_release);
  data_blocks_below_.store(0, std::memory_order_relaxed);
  covered_blocks_.store(0, std::memory_order_relaxed);
}

void DataPath::PushHead(std::shared_ptr<Layer> new_head) {
  data_blocks_below_.store(VisibleDataBlocks(), std::memory_order_relaxed);
  covered_blocks_.store(0, std::memory_order_relaxed);
  below_ = below_.WithOnTop(std::move(head_));
  head_ = std::move(new_head);
}

}  // namespace quoin

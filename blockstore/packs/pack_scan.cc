#include "blockstore/packs/pack_scan.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>

namespace quoin {
namespace {

constexpr uint64_t kWindowBytes = 256 << 10;

// A part of the file in memory, moved ahead as needed.
class Window {
 public:
  Window(File& file, uint64_t end)
      : file_(file), end_(end), buffer_(std::min(kWindowBytes, end)) {}

  // What is known from `offset` on: at least a frame header's length unless the end is near.
  Result<std::span<const std::byte>> From(uint64_t offset) {
    if (offset < start_ || offset + kFrameHeaderBytes > start_ + length_) {
      const uint64_t wanted = offset < end_ ? std::min(kWindowBytes, end_ - offset) : 0;
      QUOIN_ASSIGN(length_, file_.Read(offset, std::span(buffer_).first(wanted)));
      start_ = offset;
    }
    return std::span<const std::byte>(buffer_).subspan(offset - start_, start_ + length_ - offset);
  }

 private:
  File& file_;
  const uint64_t end_;
  std::vector<std::byte> buffer_;
  uint64_t start_ = 0;
  size_t length_ = 0;
};

// The frames in the order of the file.
Result<std::vector<FrameEntry>> FindHeaders(File& file, const Id& pack, uint64_t end) {
  const std::span<const std::byte> magic = FrameMagic();
  std::vector<FrameEntry> frames;
  Window window(file, end);
  uint64_t at = kPackHeaderBytes;
  while (true) {
    QUOIN_ASSIGN(const std::span<const std::byte> bytes, window.From(at));
    if (bytes.size() < kFrameHeaderBytes) return frames;
    const Result<FrameEntry> frame =
        DecodeFrameHeader(bytes.first<kFrameHeaderBytes>(), pack, at, end);
    if (frame) {
      frames.push_back(*frame);
      at = frame->payload_end();
      continue;
    }
    // On to where the next header may begin; at the end of the window a part of one may be left.
    const auto next = std::search(bytes.begin() + 1, bytes.end(), magic.begin(), magic.end());
    at += next != bytes.end() ? static_cast<size_t>(next - bytes.begin())
                              : std::max<size_t>(bytes.size() - (magic.size() - 1), 1);
  }
}

}  // namespace

Result<std::vector<FrameEntry>> ScanFrames(File& file, const Id& pack, uint64_t end) {
  QUOIN_ASSIGN(std::vector<FrameEntry> found, FindHeaders(file, pack, end));
  std::stable_sort(found.begin(), found.end(), [](const FrameEntry& a, const FrameEntry& b) {
    return a.first_slot() < b.first_slot();
  });
  std::vector<FrameEntry> frames;
  frames.reserve(found.size());
  for (const FrameEntry& frame : found) {
    if (frames.empty() || frame.first_slot() >= frames.back().end_slot()) frames.push_back(frame);
  }
  return frames;
}

}  // namespace quoin

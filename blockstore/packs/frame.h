// A decompressed frame, or those of its slots that are worth their memory. Made by whoever loads
// it, then shared and never changed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "blockstore/base/block.h"
#include "blockstore/packs/slot.h"

namespace quoin {

// The slots of a frame that hold the bytes [offset, offset + length) of it; length > 0.
constexpr SlotMask SlotsOf(uint64_t offset, uint64_t length) {
  const uint64_t first = offset / kBlockBytes;
  const uint64_t end = BlocksOf(offset + length);
  return ((SlotMask{1} << end) - 1) & ~((SlotMask{1} << first) - 1);
}

struct Frame {
  // All slots of a frame of blocks with so many bytes.
  explicit Frame(size_t size) : Frame(SlotsOf(0, size), size) {}

  // A copy with those slots only, which must be held.
  static std::shared_ptr<const Frame> Trimmed(const Frame& whole, SlotMask kept) {
    auto frame = std::make_shared<Frame>(kept, std::popcount(kept) * kBlockBytes);
    std::byte* to = frame->bytes.get();
    for (SlotMask left = kept; left != 0; left &= left - 1, to += kBlockBytes) {
      const auto slot = static_cast<uint64_t>(std::countr_zero(left));
      std::memcpy(to, whole.At(slot * kBlockBytes), kBlockBytes);
    }
    return frame;
  }

  Frame(SlotMask held, size_t size)
      : bytes(std::make_unique_for_overwrite<std::byte[]>(size)), size_bytes(size), slots(held) {}

  bool Holds(SlotMask wanted) const { return (wanted & ~slots) == 0; }

  // The frame's byte `offset`, whose slot must be held. Held slots that follow each other in the
  // frame do so here.
  const std::byte* At(uint64_t offset) const {
    const SlotMask before = (SlotMask{1} << (offset / kBlockBytes)) - 1;
    return bytes.get() + std::popcount(slots & before) * kBlockBytes + offset % kBlockBytes;
  }

  std::unique_ptr<std::byte[]> bytes;  // of the held slots, in their order
  size_t size_bytes;
  SlotMask slots;        // held
  SlotMask damaged = 0;  // whose bytes mean nothing
};

using FramePointer = std::shared_ptr<const Frame>;

}  // namespace quoin

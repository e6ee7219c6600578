// A disk's bytes: a head over frozen layers, and the requests on them. Knows nothing of names,
// databases or hosts; what it needs to be durable it leaves to its owner (Vdi).
//
// Requests come from any thread and take no mutex. The head and the stack change only while the
// gate is closed. A write goes to the head at the guest's own offset and then sets the blocks'
// state; blocks that the head does not own yet are completed from below and set under a range lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "blockstore/base/mutex.h"
#include "blockstore/layers/range_lock.h"
#include "blockstore/layers/request_gate.h"
#include "snapshots/layer_stack.h"

namespace quoin {

class DataPath {
 public:
  // What the requests work on. `head` is null for a disk that is only read.
  struct Contents {
    std::shared_ptr<Layer> head;
    LayerStack below;
    uint64_t size_bytes = 0;
    uint64_t data_blocks_below = 0;  // within size_bytes
  };

  // --- requests ------------------------------------------------------------------------------
  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer);
  // Within the size; kReadOnly without a head, or once writes were stopped.
  Status Write(uint64_t offset, std::span<const std::byte> bytes);
  // [offset, offset + length), clipped to the size, reads as zeros afterwards.
  Status Zero(uint64_t offset, uint64_t length);
  Result<uint64_t> SeekData(uint64_t offset);
  Result<uint64_t> SeekHole(uint64_t offset);
  // Makes the disk larger; smaller is Shrink.
  Status Grow(uint64_t size_bytes);
  // No request may be under way on what is cut off. Leaves those blocks zero, should it grow again.
  Status Shrink(uint64_t size_bytes);

  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_acquire); }
  uint64_t data_blocks();
  // That there have been.
  uint64_t requests() const { return gate_.requests(); }

  // --- for the owner, which serialises these ---------------------------------------------------
  // Waits for the requests under way, and replaces everything.
  void Replace(Contents contents);
  // The same, with nothing to take its place: until then reading fails. As before the first
  // Replace.
  void Clear();
  // Waits for the requests under way. From then on what would change the disk is refused as if it had no
  // head, until everything is replaced; reads go on.
  void StopWrites();
  void ResumeWrites();
  bool has_contents() const { return has_contents_.load(std::memory_order_acquire); }
  const std::shared_ptr<Layer>& head() const { return head_; }
  const LayerStack& below() const { return below_; }
  RequestGate& gate() { return gate_; }
  // With the gate closed: the head goes under, `new_head` takes its place.
  void PushHead(std::shared_ptr<Layer> new_head);
  // What lies below becomes another stack that shows the same bytes, but for `turned_holes`: blocks
  // that held zeros as data may be holes in it. They are in order, and apart.
  void ReplaceBelow(LayerStack below, std::span<const BlockRange> turned_holes);
  uint64_t VisibleDataBlocks() const;
  // True if a frozen layer shows data in these bytes.
  Result<bool> HasDataBelow(uint64_t first_byte, uint64_t end_byte) const;
  // The size becomes `size_bytes`; what the frozen layers hold there comes to light.
  Status ShowBelow(uint64_t size_bytes);
  // What the frozen layers hold at and beyond the size is not this disk's: it will read as zeros
  // should the disk grow.
  Status CutOffBelow();

 private:
  static constexpr uint64_t kZeroPieceBytes = uint64_t{1} << 30;  // under one range lock

  bool HeadOwnsData(uint64_t first, uint64_t count) const;
  Status WriteFirst(uint64_t offset, std::span<const std::byte> bytes);
  bool StaysHole(uint64_t block, std::span<const std::byte> bytes) const;
  Status WritePart(uint64_t offset, std::span<const std::byte> bytes);
  Status WriteWholeBlocks(uint64_t first, std::span<const std::byte> bytes);
  Status ZeroPiece(uint64_t offset, uint64_t end);
  Status ZeroPart(uint64_t offset, uint64_t length);
  Status ZeroFront(uint64_t offset, uint64_t end);
  Status ZeroBlocks(uint64_t first, uint64_t count);
  Status HideBelow(uint64_t first, uint64_t end, bool is_counted);
  void Own(uint64_t first, uint64_t count, BlockState state);
  Result<uint64_t> Seek(uint64_t offset, bool data);

  RequestGate gate_;
  RangeLock range_lock_;
  Mutex size_mutex_{LockRank::kVdiData};
  std::atomic<uint64_t> size_bytes_{0};

  Status RequireContents() const;
  Status RequireWritable() const;

  // Changed only while the gate is closed.
  std::atomic<bool> has_contents_{false};
  bool writes_stopped_ = false;
  std::shared_ptr<Layer> head_;
  LayerStack below_;
  std::atomic<uint64_t> data_blocks_below_{0};
  // Blocks that the head owns (as data or zeros) and that hold data below.
  std::atomic<uint64_t> covered_blocks_{0};
};

}  // namespace quoin

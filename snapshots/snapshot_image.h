// A snapshot open for reading. Immutable but for its descriptors; stays readable while it is open,
// even if the snapshot or its VDI is removed.
#pragma once

#include "snapshots/image.h"
#include "snapshots/layer_stack.h"

namespace quoin {

class SnapshotImage final : public Image {
 public:
  SnapshotImage(LayerStack stack, uint64_t size_bytes, uint64_t data_blocks)
      : stack_(std::move(stack)), size_bytes_(size_bytes), data_blocks_(data_blocks) {}

  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override;
  Result<uint64_t> SeekData(uint64_t offset) override { return Seek(offset, true); }
  Result<uint64_t> SeekHole(uint64_t offset) override { return Seek(offset, false); }
  uint64_t size_bytes() const override { return size_bytes_; }
  uint64_t data_blocks() const override { return data_blocks_; }

 private:
  Result<uint64_t> Seek(uint64_t offset, bool data) const;

  const LayerStack stack_;
  const uint64_t size_bytes_;
  const uint64_t data_blocks_;
};

}  // namespace quoin

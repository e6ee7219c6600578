// What can be read like a disk: a VDI as it is now, or a snapshot. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blockstore/base/error.h"

namespace quoin {

class Image {
 public:
  virtual ~Image() = default;

  // Fills the buffer from `offset`; returns fewer bytes only at the end of the disk, 0 beyond it.
  // Never answers zeros for data that is missing or damaged: kCorrupt or kIo instead.
  virtual Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) = 0;

  // The first byte at or after `offset` that lies in a block of data, or in a hole (the end of the
  // disk is a hole). kNoData at or beyond the end, and for SeekData if only holes follow. Exact to
  // the 4 KiB block.
  virtual Result<uint64_t> SeekData(uint64_t offset) = 0;
  virtual Result<uint64_t> SeekHole(uint64_t offset) = 0;

  virtual uint64_t size_bytes() const = 0;
  virtual uint64_t data_blocks() const = 0;  // blocks that hold data, of 4 KiB
};

}  // namespace quoin

// Where sealing gets its blocks from, one region at a time: frozen layers, or a stream of bytes that
// is imported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/digest.h"
#include "blockstore/layers/layer.h"
#include "snapshots/layer_stack.h"

namespace quoin {

// One region's new content on its way into packs.
struct RegionWork {
  // Blocks of the region that the source says something of: data or zeros. `layer` is where the data
  // is to be read from; null once it is in `bytes`.
  struct Run {
    uint32_t first = 0;
    uint32_t count = 0;
    bool data = false;
    const Layer* layer = nullptr;
  };

  uint64_t region = 0;
  std::vector<Run> runs;  // rising, apart
  uint32_t data_blocks = 0;
  std::unique_ptr<std::byte[]> bytes;  // of the runs with data, one after the other
  std::vector<Digest> digests;         // of the same blocks; null: the block is all zeros

  std::span<const std::byte> Block(size_t n) const {
    return {bytes.get() + n * kBlockBytes, kBlockBytes};
  }
};

class RegionSource {
 public:
  virtual ~RegionSource() = default;
  // Describes the next region of which there is anything to say, in rising order; false after the
  // last. `base` is what the source lies over: zeros over its holes say nothing. One thread at a time.
  virtual Result<bool> Next(RegionWork& work, const Map& base) = 0;
  // Fills in `bytes`. Several threads at once, each with a region of its own.
  virtual Status Load(RegionWork& work) = 0;
};

// Frozen layers, topmost first, seen as one.
class LayerSource final : public RegionSource {
 public:
  explicit LayerSource(std::vector<std::shared_ptr<const Layer>> layers)
      : stack_(std::move(layers)) {}

  Result<bool> Next(RegionWork& work, const Map& base) override;
  Status Load(RegionWork& work) override;

 private:
  const LayerStack stack_;
  uint64_t at_ = 0;
};

// A stream of bytes from the disk's start on. `read` fills the buffer as far as it can and returns how
// much that was; less than asked only at the end.
class StreamSource final : public RegionSource {
 public:
  using ReadBytes = std::function<Result<size_t>(std::span<std::byte> buffer)>;
  explicit StreamSource(ReadBytes read) : read_(std::move(read)) {}

  Result<bool> Next(RegionWork& work, const Map& base) override;
  Status Load(RegionWork&) override { return {}; }

  uint64_t bytes_read() const { return bytes_read_; }

 private:
  const ReadBytes read_;
  uint64_t bytes_read_ = 0;
  bool ended_ = false;
};

}  // namespace quoin

// Records: what lies in packs beside blocks. A record fills one slot, and is whole or an error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "blockstore/base/error.h"
#include "blockstore/packs/slot.h"

namespace quoin {

// Frozen: on disk.
enum class RecordKind : uint8_t {
  kMapNode = 1,  // blockstore/maps
  kRoot = 2,     // what a sealed snapshot was called and where its map begins; snapshots/
};

inline constexpr uint32_t kMaxRecordBytes = 1 << 20;

// Thread-safe.
class RecordReader {
 public:
  virtual ~RecordReader() = default;
  // kNotFound if there is no such pack or slot, kCorrupt if it is damaged or of another kind.
  virtual Result<std::shared_ptr<const std::string>> ReadRecord(RecordKind kind,
                                                                const SlotLocation& at) = 0;
};

class RecordWriter {
 public:
  virtual ~RecordWriter() = default;
  // The record can be read once its pack is published. kTooLarge.
  virtual Result<SlotLocation> AddRecord(RecordKind kind, std::string_view bytes) = 0;
};

}  // namespace quoin

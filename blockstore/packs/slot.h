// Where something lies in the packs: a pack, and a slot's number in it. A slot holds one block of
// 4 KiB, or one record (a map's node, a root record) of any length up to kMaxRecordBytes.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

#include "blockstore/base/id.h"

namespace quoin {

struct SlotLocation {
  Id pack;
  uint32_t slot = 0;

  auto operator<=>(const SlotLocation&) const = default;
  bool IsNull() const { return pack.IsNull(); }
};

// A bit for each slot of a frame (pack_format.h), the first slot's lowest.
using SlotMask = uint32_t;

struct SlotLocationHash {
  size_t operator()(const SlotLocation& at) const {
    return IdHash()(at.pack) ^ (at.slot * 0x9e3779b97f4a7c15ULL);
  }
};

}  // namespace quoin

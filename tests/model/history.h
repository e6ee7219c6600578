// What hosts did to VDIs and what they were told, in the order in which it happened: the material of
// HistoryChecker, and what is printed when it objects.
//
// The unit is the sector. Each one that is written says which write it is of (its number, the host, the
// epoch as its host knew it) and where it belongs, so a sector that is read is zeros, a known write's, or
// nobody's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/error.h"

namespace quoin::model {

// The number of the write that a sector is of.
using Value = uint64_t;
inline constexpr Value kZeros = 0;
inline constexpr Value kNobodys = ~uint64_t{0};

enum class Act {
  kOpen,          // for writing
  kClose,         // of that handle
  kWrite,         // through it; of kZeros: a discard
  kFlush,
  kRead,          // through it
  kGlance,        // opens for reading, reads, closes
  kSnapshot,      // with the handle, if there is one
  kReadSnapshot,  // opens and reads it
  kList,          // the names of snapshots
  kSeal,
};

struct Operation {
  Act act = Act::kOpen;
  int vdi = 0;
  uint64_t first = 0;  // sectors [first, first + count)
  uint64_t count = 0;
  Value value = kZeros;  // of a write
  std::string snapshot = {};
};

struct Answer {
  std::optional<Error> error;
  std::vector<Value> values;       // of what was read, from the operation's first sector on
  std::vector<std::string> names;  // of snapshots
  uint64_t epoch = 0;              // of an open for writing

  bool ok() const { return !error; }
};

// The sector's content, and back; kNobodys if it is not exactly one that was made for that place.
void FillSector(Value value, int host, uint64_t epoch, int vdi, uint64_t sector,
                std::span<std::byte, kSectorBytes> bytes);
Value ReadSector(int vdi, uint64_t sector, std::span<const std::byte, kSectorBytes> bytes);

std::string Describe(const Operation& operation);
std::string Describe(const Answer& answer);

}  // namespace quoin::model

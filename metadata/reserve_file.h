// gc/reserve: space that a store puts by, so that a collection can write its few small files on a
// store that is full. It holds bytes that nothing compresses, so that it takes what it says. Any
// host may remove it at any time; functions only. A crash leaves the file, none, or a temporary.
#pragma once

#include <cstdint>

#include "blockstore/base/file_system.h"
#include "metadata/store_layout.h"

namespace quoin {

inline constexpr uint64_t kReserveBytes = uint64_t{32} << 20;

// Makes it unless it is there, durably: of so many bytes, or a sixteenth of what is available if that is
// less. Of less than 64 KiB nothing is made, and kNoSpace means the same: both are no errors of the
// caller's.
Status MakeReserve(FileSystem& file_system, const StoreLayout& layout, uint64_t bytes);

// True if there was one.
Result<bool> RemoveReserve(FileSystem& file_system, const StoreLayout& layout);

}  // namespace quoin

// What a seal or an import did, in blocks of 4 KiB.
#pragma once

#include <cstdint>

namespace quoin {

struct SealCounts {
  uint64_t read_blocks = 0;    // with data
  uint64_t zero_blocks = 0;    // of these, all zeros
  uint64_t kept_blocks = 0;    // the same as in the map below, at the same place
  uint64_t shared_blocks = 0;  // found stored elsewhere
  uint64_t stored_blocks = 0;
  uint64_t node_bytes = 0;
};

}  // namespace quoin

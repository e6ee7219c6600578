#include "blockstore/base/mutex.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace quoin::internal {
namespace {
thread_local std::vector<LockRank> held_ranks;
}

void CheckRankOnAcquire(LockRank rank) {
  for (const LockRank held : held_ranks) {
    const bool several_vdis = held == rank && rank == LockRank::kVdiState;
    if (held < rank || several_vdis) continue;
    std::fprintf(stderr, "quoin: lock order broken: rank %d taken while holding rank %d\n",
                 static_cast<int>(rank), static_cast<int>(held));
    std::abort();
  }
  held_ranks.push_back(rank);
}

void CheckRankOnRelease(LockRank rank) {
  for (size_t i = held_ranks.size(); i > 0; --i) {
    if (held_ranks[i - 1] != rank) continue;
    held_ranks.erase(held_ranks.begin() + static_cast<std::ptrdiff_t>(i - 1));
    return;
  }
}

}  // namespace quoin::internal

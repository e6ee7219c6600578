// Counters of a mount, shown in .quoin/metrics. Owned by Operations. Any thread may count; each
// counts in a shard of its own (mostly), so that counting shares no cache line on the way of the data.
// In memory only: they begin at zero with each mount.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "snapshots/store_activity.h"

namespace quoin {

enum class RequestKind : uint8_t {
  kLookup, kForget, kGetAttributes, kSetAttributes, kReadLink, kMakeNode, kMakeFolder, kUnlink,
  kRemoveFolder, kSymbolicLink, kRename, kLink, kOpen, kCreate, kRead, kWrite, kFlush, kRelease,
  kSync, kOpenFolder, kReadFolder, kReleaseFolder, kSyncFolder, kStatFs, kSetXattr, kGetXattr,
  kListXattr, kRemoveXattr, kAllocate, kSeek, kCopyRange,
};
inline constexpr size_t kRequestKinds = static_cast<size_t>(RequestKind::kCopyRange) + 1;

// The label of a kind: what the kernel's protocol calls it, in lower case.
std::string_view ToWord(RequestKind kind);

class Metrics {
 public:
  void CountRequest(RequestKind kind) { Add(Mine().requests[static_cast<size_t>(kind)], 1); }
  void CountError(RequestKind kind) { Add(Mine().errors[static_cast<size_t>(kind)], 1); }
  void CountReadBytes(uint64_t bytes) { Add(Mine().read_bytes, bytes); }
  void CountWrittenBytes(uint64_t bytes) { Add(Mine().written_bytes, bytes); }

  // Prometheus' text format: what is counted here, and what the Store counts.
  std::string ToText(const StoreActivity& store) const;

 private:
  static constexpr size_t kShards = 16;
  using Counter = std::atomic<uint64_t>;
  struct alignas(128) Shard {
    std::array<Counter, kRequestKinds> requests{};
    std::array<Counter, kRequestKinds> errors{};
    Counter read_bytes{0};
    Counter written_bytes{0};
  };

  static void Add(Counter& counter, uint64_t amount) {
    counter.fetch_add(amount, std::memory_order_relaxed);
  }
  Shard& Mine();
  template <typename Choose>
  uint64_t Sum(Choose choose) const;

  std::array<Shard, kShards> shards_{};
};

}  // namespace quoin

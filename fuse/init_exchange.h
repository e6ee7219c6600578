// The first exchange with the kernel, in which both sides say what they can do. libfuse 3.14 does not
// know all that the kernel offers, so the INIT answer is amended on its way out. Owned by Operations;
// the exchange happens once, before any other request. A daemon that takes a mount over has it again with
// what was kept of it, without the kernel: libfuse gets to know what it is about, and its answer is
// swallowed.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "blockstore/base/error.h"
#include "blockstore/base/mutex.h"
#include "fuse/kept_session.h"
#include "fuse/libfuse.h"

namespace quoin {

class InitExchange {
 public:
  explicit InitExchange(KeptSession& kept) : kept_(kept) {}

  // What we ask of libfuse itself.
  static void Configure(fuse_conn_info& connection);

  // Every request as read.
  void SawRequest(std::span<const std::byte> request) {
    if (!answered_.load(std::memory_order_relaxed)) NoteOffer(request);
  }
  // Writes an answer, as writev does.
  ssize_t Send(int device, std::span<iovec> parts) {
    if (answered_.load(std::memory_order_relaxed)) {
      return writev(device, parts.data(), static_cast<int>(parts.size()));
    }
    return SendAmended(device, parts);
  }

  // The exchange with the kernel that `kept` tells of, once more for this session of libfuse. kInvalid if
  // nothing was kept.
  Status Replay(fuse_session* session);
  // The kernel sends requests again that were read and not answered, if it is asked to (from Linux 6.9).
  bool kernel_sends_again();

  // True when the kernel has its answer: from then on the tree can be used. False if that did not
  // happen within the limit.
  bool WaitUntilAnswered();

 private:
  void NoteOffer(std::span<const std::byte> request);
  ssize_t SendAmended(int device, std::span<iovec> parts);
  bool Amend(std::span<iovec> parts);  // true if it is the answer to INIT

  KeptSession& kept_;
  std::atomic<bool> answered_{false};
  std::atomic<bool> is_replay_{false};
  Mutex mutex_{LockRank::kLeaf};
  Condition sent_;
  bool is_sent_ QUOIN_GUARDED_BY(mutex_) = false;
  uint64_t unique_ QUOIN_GUARDED_BY(mutex_) = 0;  // of the INIT request
  uint64_t offered_ QUOIN_GUARDED_BY(mutex_) = 0;
};

}  // namespace quoin

// The fence of one owned VDI: nothing of it is changed without the lease, and nothing once another host was
// found to have taken it over (Vdi::KeepsOwnership). The fence that all VDIs of a session share cannot tell
// them apart, and opens again after a lapse whatever was lost: an act of a process that was stopped in its
// midst would go on, and remove or replace what is the next owner's by then.
//
// As a lapse is looked after before the lease is valid again, who passes knows whether the VDI is lost.
// Thread-safe.
#pragma once

#include <atomic>

#include "blockstore/base/fence.h"
#include "metadata/lease.h"

namespace quoin {

class OwnershipFence final : public Fence {
 public:
  // Both must outlive it.
  OwnershipFence(Lease& lease, const std::atomic<bool>& lost) : lease_(lease), lost_(lost) {}

  Status Admit() override {
    QUOIN_TRY(lease_.Admit());
    if (!lost_.load(std::memory_order_acquire)) return {};
    return Fail(ErrorCode::kLostOwnership, "another host has taken over");
  }

 private:
  Lease& lease_;
  const std::atomic<bool>& lost_;
};

}  // namespace quoin

#include "blockstore/layers/request_gate.h"

namespace quoin {
namespace {

size_t SlotOfThisThread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t slot = next.fetch_add(1, std::memory_order_relaxed);
  return slot;
}

}  // namespace

std::atomic<int64_t>& RequestGate::Enter() {
  std::atomic<int64_t>& slot = slots_[SlotOfThisThread() % kSlots].under_way;
  for (;;) {
    // Sequentially consistent on both sides: either Close sees this request, or it sees Close.
    slot.fetch_add(1, std::memory_order_seq_cst);
    if (closed_.load(std::memory_order_seq_cst) == 0) return slot;
    Leave(slot);
    closed_.wait(1, std::memory_order_acquire);
  }
}

void RequestGate::Leave(std::atomic<int64_t>& slot) {
  slot.fetch_sub(1, std::memory_order_release);
  slot.notify_all();  // no system call unless Close waits
}

void RequestGate::Close() {
  closed_.store(1, std::memory_order_seq_cst);
  for (Slot& slot : slots_) {
    for (int64_t n = slot.under_way.load(std::memory_order_seq_cst); n != 0;
         n = slot.under_way.load(std::memory_order_seq_cst)) {
      slot.under_way.wait(n, std::memory_order_acquire);
    }
  }
}

void RequestGate::Reopen() {
  closed_.store(0, std::memory_order_seq_cst);
  closed_.notify_all();
}

}  // namespace quoin

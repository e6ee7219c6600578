#include "blockstore/layers/request_gate.h"

namespace quoin {
namespace {

size_t SlotOfThisThread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t slot = next.fetch_add(1, std::memory_order_relaxed);
  return slot;
}

}  // namespace

std::atomic<uint64_t>& RequestGate::Enter() {
  std::atomic<uint64_t>& slot = slots_[SlotOfThisThread() % kSlots].counts;
  for (;;) {
    // Sequentially consistent on both sides: either Close sees this request, or it sees Close.
    slot.fetch_add(kEntered + kOne, std::memory_order_seq_cst);
    if (closed_.load(std::memory_order_seq_cst) == 0) return slot;
    Leave(slot);
    closed_.wait(1, std::memory_order_acquire);
  }
}

void RequestGate::Leave(std::atomic<uint64_t>& slot) {
  slot.fetch_sub(kOne, std::memory_order_release);
  slot.notify_all();  // no system call unless Close waits
}

void RequestGate::Close() {
  closed_.store(1, std::memory_order_seq_cst);
  for (Slot& slot : slots_) {
    for (uint64_t n = slot.counts.load(std::memory_order_seq_cst); (n & kUnderWay) != 0;
         n = slot.counts.load(std::memory_order_seq_cst)) {
      slot.counts.wait(n, std::memory_order_acquire);
    }
  }
}

uint64_t RequestGate::requests() const {
  uint64_t sum = 0;
  for (const Slot& slot : slots_) sum += slot.counts.load(std::memory_order_relaxed) / kEntered;
  return sum;
}

void RequestGate::Reopen() {
  closed_.store(0, std::memory_order_seq_cst);
  closed_.notify_all();
}

}  // namespace quoin

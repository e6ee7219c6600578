// Lets requests through until it is closed, and tells when none is under way: how a snapshot finds
// its instant. Entering costs one atomic addition on a cache line that few threads share, which counts
// the request as well.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace quoin {

class RequestGate {
 public:
  // One request under way.
  class Pass {
   public:
    explicit Pass(RequestGate& gate) : slot_(gate.Enter()) {}
    ~Pass() { RequestGate::Leave(slot_); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    std::atomic<uint64_t>& slot_;
  };

  // Keeps new requests out from construction, once those under way have ended, to destruction.
  // Closures of one gate must not overlap; the caller holds the VDI's state mutex.
  class Closure {
   public:
    explicit Closure(RequestGate& gate) : gate_(gate) { gate_.Close(); }
    ~Closure() { gate_.Reopen(); }
    Closure(const Closure&) = delete;
    Closure& operator=(const Closure&) = delete;

   private:
    RequestGate& gate_;
  };

  // Requests that have entered so far; those that a closed gate kept waiting may count twice. Each
  // slot's part begins anew after 2^32.
  uint64_t requests() const;

 private:
  static constexpr size_t kSlots = 16;
  // Of a slot: the lower half counts what is under way, the upper half what has ever entered.
  static constexpr uint64_t kOne = 1;
  static constexpr uint64_t kEntered = uint64_t{1} << 32;
  static constexpr uint64_t kUnderWay = kEntered - 1;
  struct alignas(64) Slot {
    std::atomic<uint64_t> counts{0};
  };

  std::atomic<uint64_t>& Enter();
  static void Leave(std::atomic<uint64_t>& slot);
  void Close();
  void Reopen();

  std::array<Slot, kSlots> slots_;
  std::atomic<uint32_t> closed_{0};
};

}  // namespace quoin

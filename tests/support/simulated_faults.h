// Which call of SimulatedFileSystem fails, and how; counts all of them. Not thread-safe: the
// filesystem's mutex serialises.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "blockstore/base/error.h"

namespace quoin {

// The calls of the seam. Those up to kSyncDirectory change what is on disk: they are the steps at
// which a machine can stop.
enum class Call {
  kCreate,  // an Open that makes the file
  kWrite,
  kTruncate,
  kPunchHole,
  kSync,
  kLink,
  kRename,
  kRemove,
  kMakeDirectory,
  kRemoveDirectory,
  kSyncDirectory,
  kOpen,
  kRead,
  kFacts,
  kList,
  kSpace,
  kLock,  // TryLock, TryLockShared, Unlock, IsLockedElsewhere
};
inline constexpr size_t kCalls = static_cast<size_t>(Call::kLock) + 1;

constexpr bool IsStep(Call call) { return call <= Call::kSyncDirectory; }

enum class FaultMode {
  kCrash,      // the machine stops in that call: it and every call of any kind fail until Crash()
  kErrorOnce,  // that call fails
  kErrors,     // that call and all like it fail until faults are cleared
};

struct Fault {
  uint64_t at = 1;  // the how-many-th matching call from now (1: the next) is the first to fail
  FaultMode mode = FaultMode::kErrorOnce;
  ErrorCode code = ErrorCode::kIo;
  // Which calls match; by default every step on every path.
  std::optional<Call> only_call = {};
  std::string only_path_part = {};
};

class SimulatedFaults {
 public:
  // Counts the call; the error it is to answer with, if it is to fail.
  Status Admit(Call call, std::string_view path);

  void Plan(Fault fault);
  void Clear();

  bool stopped() const { return stopped_; }
  uint64_t steps() const { return steps_; }
  uint64_t count(Call call) const { return counts_[static_cast<size_t>(call)]; }

 private:
  std::optional<Fault> fault_;  // `at` counts down
  bool stopped_ = false;
  uint64_t steps_ = 0;
  std::array<uint64_t, kCalls> counts_{};
};

}  // namespace quoin

#include "tests/support/simulated_faults.h"

#include <fmt/format.h>

#include <utility>

namespace quoin {
namespace {

constexpr std::array<std::string_view, kCalls> kActs = {"create",
                                                        "write",
                                                        "set the size of",
                                                        "punch a hole in",
                                                        "sync",
                                                        "link",
                                                        "rename",
                                                        "remove",
                                                        "make the folder",
                                                        "remove the folder",
                                                        "sync the folder",
                                                        "open",
                                                        "read",
                                                        "stat",
                                                        "list",
                                                        "query the space of",
                                                        "lock"};

Failure Refuse(Call call, std::string_view path, ErrorCode code, std::string_view why) {
  return Fail(code, fmt::format("cannot {} {}: {}", kActs[static_cast<size_t>(call)], path, why));
}

}  // namespace

Status SimulatedFaults::Admit(Call call, std::string_view path) {
  if (stopped_) return Refuse(call, path, ErrorCode::kIo, "crashed");
  ++counts_[static_cast<size_t>(call)];
  if (IsStep(call)) ++steps_;
  if (!fault_) return {};
  const bool matches = fault_->only_call ? *fault_->only_call == call : IsStep(call);
  if (!matches || path.find(fault_->only_path_part) == std::string_view::npos) return {};
  if (fault_->at > 1) {
    --fault_->at;
    return {};
  }
  if (fault_->mode == FaultMode::kCrash) {
    stopped_ = true;
    fault_.reset();
    return Refuse(call, path, ErrorCode::kIo, "crashed");
  }
  const ErrorCode code = fault_->code;
  if (fault_->mode == FaultMode::kErrorOnce) fault_.reset();
  return Refuse(call, path, code, fmt::format("planned fault ({})", ToWord(code)));
}

void SimulatedFaults::Plan(Fault fault) { fault_ = std::move(fault); }

void SimulatedFaults::Clear() {
  fault_.reset();
  stopped_ = false;
}

}  // namespace quoin

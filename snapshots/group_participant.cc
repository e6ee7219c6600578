#include "snapshots/group_participant.h"

#include <utility>

namespace quoin {
namespace {

Failure TooLate() {
  return Fail(ErrorCode::kBusy, "the snapshots of several hosts were not taken: they did not keep in step",
              "try again");
}

}  // namespace

GroupParticipant::GroupParticipant(StoreEnvironment& environment, const Id& group,
                                   std::function<Status(GroupSteps&)> take)
    : environment_(environment), group_(group) {
  thread_ = std::thread([this, take = std::move(take)] {
    Status taken = take(*this);
    MutexLock lock(mutex_);
    status_ = std::move(taken);
    stage_ = Stage::kDone;
    changed_.NotifyAll();
  });
}

GroupParticipant::~GroupParticipant() {
  GiveUp();
  thread_.join();
}

Status GroupParticipant::Advance(Stage stage) {
  MutexLock lock(mutex_);
  if (allowed_ >= stage) return Fail(ErrorCode::kInvalid, "the group has come so far already");
  allowed_ = stage;
  changed_.NotifyAll();
  while (stage_ < stage) changed_.Wait(mutex_);
  if (stage_ != Stage::kDone) return {};
  if (status_ && stage != Stage::kDone) return TooLate();
  return status_;
}

void GroupParticipant::GiveUp() {
  MutexLock lock(mutex_);
  given_up_ = true;
  changed_.NotifyAll();
}

bool GroupParticipant::is_done() const {
  MutexLock lock(mutex_);
  return stage_ == Stage::kDone;
}

void GroupParticipant::Reach(Stage stage) {
  MutexLock lock(mutex_);
  stage_ = stage;
  changed_.NotifyAll();
}

bool GroupParticipant::AwaitLeave(Stage stage, std::chrono::milliseconds patience) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + patience;
  MutexLock lock(mutex_);
  while (!given_up_ && allowed_ < stage) {
    const Clock::time_point now = Clock::now();
    if (now >= end) return false;
    changed_.WaitFor(mutex_, end - now);
  }
  return !given_up_;
}

Status GroupParticipant::Prepared() {
  Reach(Stage::kPrepared);
  if (AwaitLeave(Stage::kHeld, kStepPatience)) return {};
  return TooLate();
}

Status GroupParticipant::Held() {
  Reach(Stage::kHeld);
  if (AwaitLeave(Stage::kRecorded, kHoldPatience)) return {};
  return TooLate();
}

Result<GroupDecision> GroupParticipant::Recorded() {
  Reach(Stage::kRecorded);
  // Whether it was told to look, given up or forgotten: what is decided counts, and if nothing is, this
  // decides it.
  (void)AwaitLeave(Stage::kDone, kStepPatience);
  return DecideGroup(environment_, group_, {});
}

}  // namespace quoin

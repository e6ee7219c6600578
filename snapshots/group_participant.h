// A session's part in a group of snapshots that another session coordinates. It runs in a thread of its
// own, from the first request to the last, and each request (owner_request.h) lets it go one step on:
//
//   join    opens its VDIs and makes their next heads           -> prepared
//   hold    closes their gates and waits until nothing is under way -> held: its guests wait
//   swap    changes the heads, opens the gates, records the snapshots as pending -> recorded
//   decide  looks at what was decided (group_decision.h) and goes by it -> done
//
// The coordinator sends each only after all sessions have come to the one before, so there is an instant
// at which all guests wait. A step that does not come in time ends it: before `recorded` by taking all
// back, which makes the coordinator's next request fail; after it by deciding, unless that is done, that
// the group is not taken.
//
// Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "blockstore/base/mutex.h"
#include "snapshots/group_snapshot.h"

namespace quoin {

struct StoreEnvironment;

class GroupParticipant final : public GroupSteps {
 public:
  enum class Stage { kPreparing, kPrepared, kHeld, kRecorded, kDone };

  // How long its guests wait at most for a coordinator that is gone.
  static constexpr std::chrono::milliseconds kHoldPatience{2'000};
  // How long it waits for any other step.
  static constexpr std::chrono::milliseconds kStepPatience{10'000};

  // `take` takes the snapshots with the steps that it is given, in the participant's thread.
  GroupParticipant(StoreEnvironment& environment, const Id& group,
                   std::function<Status(GroupSteps&)> take);
  // Waits for its end, which it is told to come to.
  ~GroupParticipant() override;

  // Lets it go on to this stage, and waits until it is there. The error that ended it, if it never is;
  // kInvalid if it was asked for already.
  Status Advance(Stage stage) QUOIN_EXCLUDES(mutex_);
  // Takes everything back, if it is not recorded yet.
  void GiveUp() QUOIN_EXCLUDES(mutex_);
  bool is_done() const QUOIN_EXCLUDES(mutex_);

 private:
  Status Prepared() override;
  Status Held() override;
  Result<GroupDecision> Recorded() override;

  void Reach(Stage stage) QUOIN_EXCLUDES(mutex_);
  // Waits until it may go on to the stage; false if that does not come.
  bool AwaitLeave(Stage stage, std::chrono::milliseconds patience) QUOIN_EXCLUDES(mutex_);

  StoreEnvironment& environment_;
  const Id group_;

  mutable Mutex mutex_{LockRank::kLeaf};
  Condition changed_;
  Stage stage_ QUOIN_GUARDED_BY(mutex_) = Stage::kPreparing;
  Stage allowed_ QUOIN_GUARDED_BY(mutex_) = Stage::kPreparing;
  bool given_up_ QUOIN_GUARDED_BY(mutex_) = false;
  Status status_ QUOIN_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace quoin

// Snapshots of VDIs that several sessions own, at one instant, all or none: the coordinator's side, and
// the requests of the participants' (group_participant.h).
//
// The order, with C the coordinating session and P all others:
//   1. P join: VDIs opened, next heads made; then C's own
//   2. P hold: their guests wait
//   3. C closes its own gates; P are told to swap, and meanwhile C swaps too
//   4. all rows are durable as pending, P's and C's
//   5. C makes the decision (group_decision.h): from here on the snapshots are there
//   6. P are told to look, and C makes its own rows final; then the decision's file goes
// An error, a dead session or a step that comes too late before 5 leaves no snapshot; after it, each VDI's
// owner, or the next one, goes by the decision.
#include <fmt/format.h>

#include <future>

#include "snapshots/group_participant.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

using Stage = GroupParticipant::Stage;

std::optional<Stage> StageOf(OwnerVerb verb) {
  switch (verb) {
    case OwnerVerb::kJoinGroup:
      return Stage::kPrepared;
    case OwnerVerb::kHoldGroup:
      return Stage::kHeld;
    case OwnerVerb::kSwapGroup:
      return Stage::kRecorded;
    case OwnerVerb::kDecideGroup:
      return Stage::kDone;
    default:
      return std::nullopt;
  }
}

}  // namespace

// ------------------------------------------------------------------------------- coordinating

class Store::Shared::GroupCoordinator final : public GroupSteps {
 public:
  GroupCoordinator(Shared& shared, const Id& group, std::vector<Part> parts, std::vector<Id> vdis)
      : shared_(shared), group_(group), parts_(std::move(parts)), vdis_(std::move(vdis)) {}

  Status Join() { return AskAll(OwnerVerb::kJoinGroup); }
  // Lets everybody go again.
  void GiveUp() { (void)AskAll(OwnerVerb::kLeaveGroup); }
  // After the decision; whoever does not answer goes by it some time.
  bool TellDecision() { return AskAll(OwnerVerb::kDecideGroup).has_value(); }

  Status Prepared() override { return AskAll(OwnerVerb::kHoldGroup); }
  Status Held() override {
    // Not waited for: our own guests need not wait for theirs.
    swapping_ = std::async(std::launch::async, [this] { return AskAll(OwnerVerb::kSwapGroup); });
    return {};
  }
  Result<GroupDecision> Recorded() override {
    QUOIN_TRY(swapping_.get());
    return DecideGroup(shared_.environment, group_, vdis_);
  }

 private:
  // All at once; the first error.
  Status AskAll(OwnerVerb verb) {
    std::vector<std::future<Status>> answers;
    for (const Part& part : parts_) {
      answers.push_back(std::async(std::launch::async, [this, verb, &part] { return Ask(verb, part); }));
    }
    Status status;
    for (std::future<Status>& answer : answers) {
      Status told = answer.get();
      if (status && !told) status = std::move(told);
    }
    return status;
  }
  Status Ask(OwnerVerb verb, const Part& part) {
    OwnerRequest request;
    request.verb = verb;
    request.group = group_;
    if (verb == OwnerVerb::kJoinGroup) request.snapshots = part.snapshots;
    const std::optional<OwnerAnswer> answer = shared_.Ask(part.owner, request);
    if (answer) return answer->status;
    return Fail(ErrorCode::kBusy, fmt::format("{}, and it does not answer", DescribeHolder(part.owner)),
                "quoin status --cluster shows whether it is alive");
  }

  Shared& shared_;
  const Id group_;
  const std::vector<Part> parts_;
  const std::vector<Id> vdis_;
  std::future<Status> swapping_;
};

Status Store::Shared::TakeTogether(Store& store, std::vector<Part> parts,
                                   std::vector<NewSnapshot> ours) {
  const Id group = Id::Random();
  std::vector<Id> vdis;
  for (const NewSnapshot& each : ours) vdis.push_back(each.vdi);
  for (const Part& part : parts) {
    for (const NewSnapshot& each : part.snapshots) vdis.push_back(each.vdi);
  }
  GroupCoordinator coordinator(*this, group, std::move(parts), std::move(vdis));
  const auto take = [&]() -> Status {
    QUOIN_TRY(coordinator.Join());
    if (!ours.empty()) return store.TakeSnapshotsHere(ours, group, &coordinator);
    QUOIN_TRY(coordinator.Prepared());
    QUOIN_TRY(coordinator.Held());
    QUOIN_ASSIGN(const GroupDecision decision, coordinator.Recorded());
    if (decision == GroupDecision::kTaken) return {};
    return Fail(ErrorCode::kBusy, "the snapshots were given up: not all owners came to an end in time",
                "try again");
  };
  const Status taken = take();
  if (!taken) {
    coordinator.GiveUp();
    return taken;
  }
  // Nobody needs it once no row is pending; else it stays for the VDIs' next owners.
  if (coordinator.TellDecision()) {
    (void)environment.file_system.Remove(environment.layout.Groups() + "/" + group.ToString());
  }
  return {};
}

// ------------------------------------------------------------------------------- taking part

Status Store::Shared::TakePart(Store& store, const OwnerRequest& request) {
  std::shared_ptr<GroupParticipant> participant;
  std::vector<std::shared_ptr<GroupParticipant>> ended;  // let go of without the mutex
  {
    MutexLock lock(groups_mutex);
    for (auto each = groups.begin(); each != groups.end();) {
      if (each->second->is_done() && each->first != request.group) {
        ended.push_back(std::move(each->second));
        each = groups.erase(each);
      } else {
        ++each;
      }
    }
    std::shared_ptr<GroupParticipant>& place = groups[request.group];
    if (place == nullptr) {
      if (request.verb != OwnerVerb::kJoinGroup) {
        groups.erase(request.group);
        return Fail(ErrorCode::kNotFound, "the group is not known here any more");
      }
      place = std::make_shared<GroupParticipant>(
          environment, request.group, [this, &store, request](GroupSteps& steps) -> Status {
            QUOIN_TRY(store.TakeSnapshotsHere(request.snapshots, request.group, &steps));
            PublishFor(request.Vdis());
            return {};
          });
    }
    participant = place;
  }
  const std::optional<Stage> stage = StageOf(request.verb);
  if (!stage) {
    participant->GiveUp();
    return {};
  }
  return participant->Advance(*stage);
}

}  // namespace quoin

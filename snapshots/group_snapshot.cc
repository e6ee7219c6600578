#include "snapshots/group_snapshot.h"

#include <spdlog/spdlog.h>

#include <optional>

#include "snapshots/store_environment.h"

// The state mutexes of all members are held together, in the order of their ids, which the compiler
// cannot follow: QUOIN_NO_THREAD_SAFETY_ANALYSIS throughout, and Take is the only way in.

namespace quoin {

GroupSnapshot::GroupSnapshot(StoreEnvironment& environment, std::vector<Member> members)
    : environment_(environment), members_(std::move(members)) {
  if (members_.size() > 1) group_ = Id::Random();
}

GroupSnapshot::GroupSnapshot(StoreEnvironment& environment, std::vector<Member> members,
                             const Id& group, GroupSteps& steps)
    : environment_(environment), members_(std::move(members)), group_(group), steps_(&steps) {}

Status GroupSnapshot::Take() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
  for (Member& member : members_) member.handle->state_mutex_.lock();
  const Status taken = TakeLocked();
  for (size_t i = members_.size(); i > 0; --i) members_[i - 1].handle->state_mutex_.unlock();
  if (!taken) return taken;
  for (Member& member : members_) environment_.finisher.Add(member.handle->weak_from_this());
  return {};
}

Status GroupSnapshot::TakeLocked() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
  for (Member& member : members_) {
    QUOIN_TRY(member.handle->RequireOwner());
    QUOIN_TRY(member.handle->CheckWritable());
    QUOIN_TRY(member.handle->CheckNewSnapshotName(member.snapshot_name));
    if (member.handle->copying_) QUOIN_TRY(member.handle->SettleCopyLocked());
  }
  QUOIN_TRY(Prepare());
  if (steps_ != nullptr) QUOIN_TRY(steps_->Prepared());
  for (;;) {
    QUOIN_ASSIGN(const bool swapped, SwapHeads());
    if (swapped) break;
    QUOIN_TRY(Prepare());  // now every VDI gets a new head, whether it needs one or not
  }
  for (size_t i = 0; i < members_.size(); ++i) {
    Vdi& vdi = *members_[i].handle;
    const Status recorded = vdi.Record(Vdi::Extent::kFrozenOnly, {prepared_[i].snapshot});
    if (!recorded) {
      Forget(i);
      return recorded;
    }
    if (prepared_[i].frozen) {
      (void)environment_.layer_cache.Adopt(prepared_[i].frozen);  // sharing is an economy only
    }
  }
  return group_.IsNull() ? Status{} : Decide();
}

Status GroupSnapshot::Prepare() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
  // Nothing may have to be prepared again once other sessions' guests wait.
  const bool first = prepared_.empty() && steps_ == nullptr;
  prepared_.resize(members_.size());
  for (size_t i = 0; i < members_.size(); ++i) {
    Vdi& vdi = *members_[i].handle;
    if (prepared_[i].new_head != nullptr) continue;
    if (first && vdi.data_.head()->ownership().empty()) continue;
    QUOIN_ASSIGN(prepared_[i].new_head, vdi.MakeHead(vdi.data_.size_bytes()));
  }
  return {};
}

Result<bool> GroupSnapshot::SwapHeads() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
  std::vector<std::unique_ptr<RequestGate::Closure>> closures;
  closures.reserve(members_.size());
  for (Member& member : members_) {
    closures.push_back(std::make_unique<RequestGate::Closure>(member.handle->data_.gate()));
  }
  for (size_t i = 0; i < members_.size(); ++i) {
    Vdi& vdi = *members_[i].handle;
    const uint64_t size = vdi.data_.size_bytes();
    if (prepared_[i].new_head == nullptr && !vdi.data_.head()->ownership().empty()) return false;
    if (prepared_[i].new_head != nullptr && prepared_[i].new_head->size_bytes() != size) {
      QUOIN_TRY(prepared_[i].new_head->Resize(size));
    }
  }
  if (steps_ != nullptr) QUOIN_TRY(steps_->Held());
  const int64_t now = NowNanoseconds();
  for (size_t i = 0; i < members_.size(); ++i) {
    Vdi& vdi = *members_[i].handle;
    prepared_[i].snapshot = vdi.DescribeSnapshot(members_[i].snapshot_name, now);
    prepared_[i].snapshot.pending_group = group_;
    if (prepared_[i].new_head == nullptr) continue;
    prepared_[i].frozen = vdi.data_.head();
    vdi.PushHead(std::move(prepared_[i].new_head));
  }
  return true;
}

// The rows are committed as pending; now the group's file, then each row for good, then the file is
// of no more use.
Status GroupSnapshot::Decide() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
  std::vector<Id> vdis;
  for (Member& member : members_) vdis.push_back(member.handle->id());
  const Result<GroupDecision> decision =
      steps_ != nullptr ? steps_->Recorded() : DecideGroup(environment_, group_, vdis);
  if (!decision) {
    // If its file is there and cannot be taken back, whoever opens one of the VDIs will go by it.
    const std::string path = environment_.layout.Groups() + "/" + group_.ToString();
    const Result<bool> exists = PathExists(environment_.file_system, path);
    const bool stands = steps_ == nullptr && exists && *exists &&
                        !environment_.file_system.Remove(path);
    if (stands) {
      (void)MakeFinal();
    } else {
      Forget(members_.size());
    }
    return Failure(decision.error());
  }
  if (*decision == GroupDecision::kNotTaken) {
    Forget(members_.size());
    return Fail(ErrorCode::kBusy, "the snapshots were given up: not all owners came to an end in time",
                "try again");
  }
  const bool all_final = MakeFinal();
  // With several sessions the coordinator removes it.
  if (all_final && steps_ == nullptr) {
    (void)environment_.file_system.Remove(environment_.layout.Groups() + "/" + group_.ToString());
  }
  return {};
}

bool GroupSnapshot::MakeFinal() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
  bool all_final = true;
  for (size_t i = 0; i < members_.size(); ++i) {
    SnapshotRecord final_row = prepared_[i].snapshot;
    final_row.pending_group = Id();
    const Status changed = members_[i].handle->ChangeSnapshot(final_row);
    if (!changed) {
      // The decision stands; the VDI's next owner reads it from the group's file.
      Vdi& vdi = *members_[i].handle;
      for (SnapshotRecord& snapshot : vdi.state_.snapshots) {
        if (snapshot.id == final_row.id) snapshot = final_row;
      }
      vdi.publish_needed_ = true;
      spdlog::warn("snapshot {} of a group is decided but not yet recorded: {}", final_row.name,
                   changed.error().what);
      all_final = false;
    }
  }
  return all_final;
}

// Takes back what the first `recorded` members recorded. The frozen layers stay frozen: that is
// harmless, and those whose record failed are recorded with the next flush.
void GroupSnapshot::Forget(size_t recorded) QUOIN_NO_THREAD_SAFETY_ANALYSIS {
  for (size_t i = 0; i < recorded; ++i) {
    Vdi& vdi = *members_[i].handle;
    Result<VdiDatabase::Transaction> transaction = vdi.database_->Begin();
    const bool removed = transaction && transaction->RemoveSnapshot(prepared_[i].snapshot.id) &&
                         transaction->Commit();
    // If not, the row stays pending, and the next owner drops it.
    if (!removed) spdlog::warn("a pending snapshot of {} could not be taken back", vdi.Title());
    std::erase_if(vdi.state_.snapshots, [&](const SnapshotRecord& s) {
      return s.id == prepared_[i].snapshot.id;
    });
  }
}

}  // namespace quoin

// Snapshots of one or several VDIs at one instant, all or none.
//
// Each VDI's next head is made first. Then all gates close, in the order of the VDIs' ids; when no
// request is under way anywhere, every VDI changes heads; the gates open. That is the guests' pause.
// Then, for each VDI, the frozen layer is synced and one transaction records it with the snapshot.
//
// With several VDIs those rows are pending: they name a group, and count only once the group's file
// (STORE/groups/<id>, the ids of its VDIs) exists. That file is the decision: a crash before it
// leaves no snapshot, a crash after it leaves all of them (each VDI's next owner looks; see
// group_decision.h).
//
// Where several sessions own them, each runs one of these over its own members, and GroupSteps keeps them
// in step (group_participant.h): every gate of every session is closed before the first one opens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "snapshots/group_decision.h"
#include "snapshots/store.h"
#include "snapshots/vdi.h"

namespace quoin {

struct StoreEnvironment;

// What one session's part of a group waits for. Called once each, in this order, by the thread that takes
// the snapshot; an error takes everything back.
class GroupSteps {
 public:
  virtual ~GroupSteps() = default;
  // The next heads are made.
  virtual Status Prepared() = 0;
  // The gates are closed, and no request is under way. The heads change when it returns.
  virtual Status Held() = 0;
  // All rows are durable as pending. What it returns is so for all sessions.
  virtual Result<GroupDecision> Recorded() = 0;
};

class GroupSnapshot {
 public:
  struct Member {
    VdiHandle handle;  // for writing
    std::string snapshot_name;
  };

  // The members are of different VDIs and sorted by id.
  GroupSnapshot(StoreEnvironment& environment, std::vector<Member> members);
  // As one session's part of `group`, kept in step by `steps`.
  GroupSnapshot(StoreEnvironment& environment, std::vector<Member> members, const Id& group,
                GroupSteps& steps);

  Status Take();
  std::vector<Member>& members() { return members_; }

 private:
  struct Prepared {
    std::shared_ptr<Layer> new_head;  // null: there is nothing to freeze
    std::shared_ptr<Layer> frozen;
    SnapshotRecord snapshot;
  };

  Status TakeLocked();
  Status Prepare();
  // False if a write came to a VDI that had nothing to freeze: prepare again, which makes heads for
  // all, so it comes to that once.
  Result<bool> SwapHeads();
  Status Decide();
  // Each row for good; false if one is still pending.
  bool MakeFinal();
  void Forget(size_t recorded);

  StoreEnvironment& environment_;
  std::vector<Member> members_;
  std::vector<Prepared> prepared_;
  Id group_;
  GroupSteps* steps_ = nullptr;  // null: this session decides alone
};

}  // namespace quoin

// Snapshots of one or several VDIs at one instant, all or none.
//
// Each VDI's next head is made first. Then all gates close, in the order of the VDIs' ids; when no
// request is under way anywhere, every VDI changes heads; the gates open. That is the guests' pause.
// Then, for each VDI, the frozen layer is synced and one transaction records it with the snapshot.
//
// With several VDIs those rows are pending: they name a group, and count only once the group's file
// (STORE/groups/<id>, the ids of its VDIs) exists. That file is the decision: a crash before it
// leaves no snapshot, a crash after it leaves all of them (each VDI's next owner looks).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "snapshots/store.h"
#include "snapshots/vdi.h"

namespace quoin {

struct StoreEnvironment;

class GroupSnapshot {
 public:
  struct Member {
    VdiHandle handle;  // for writing
    std::string snapshot_name;
  };

  // The members are of different VDIs and sorted by id.
  GroupSnapshot(StoreEnvironment& environment, std::vector<Member> members);

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
  void Forget(size_t recorded);

  StoreEnvironment& environment_;
  std::vector<Member> members_;
  std::vector<Prepared> prepared_;
  Id group_;
};

}  // namespace quoin

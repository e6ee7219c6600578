// All sessions that have shown themselves in a store (lease.h), and whether they are alive.
//
// Reads every heartbeat, several times: for people who ask, not for deciding anything. Stateless.
#pragma once

#include <chrono>
#include <vector>

#include "blockstore/base/file_system.h"
#include "metadata/host_record.h"
#include "metadata/store_layout.h"

namespace quoin {

enum class SessionLife {
  kAlive,   // its heartbeat has changed while we looked
  kSilent,  // its heartbeat is overdue; for how long is not known
  kDead,    // its process has ended, or another session says so
};

struct ListedSession {
  HostRecord record;
  SessionLife life = SessionLife::kSilent;
};

// By host name. Returns as soon as all that are not dead have been seen alive, and at the latest when
// each heartbeat is overdue or `patience` has passed.
Result<std::vector<ListedSession>> ListSessions(FileSystem& file_system, const StoreLayout& layout,
                                                std::chrono::milliseconds patience);

}  // namespace quoin

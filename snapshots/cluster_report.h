// Who uses a store, on all hosts, and which VDIs they own.
#pragma once

#include <string>
#include <vector>

#include "metadata/session_list.h"

namespace quoin {

struct SessionReport {
  ListedSession session;
  std::vector<std::string> vdis;  // names of what it owns, in order
};

struct ClusterReport {
  std::vector<SessionReport> sessions;
  // Owned by sessions that have not shown themselves, such as a command that is at work.
  std::vector<std::string> other_vdis;
};

}  // namespace quoin

// The process that keeps a mount alive while its daemons come and go. It holds what must not end with a
// daemon: the descriptor of the connection to the kernel (which the kernel ends when the last one of it
// closes, and through which requests that were read and not answered can be had again) and two files in
// memory, with what the kernel holds of the mount and what the heads own. It starts the daemon, starts it
// again when it dies, and replaces it on request (`quoin reload`). It never touches data and understands
// nothing of what it holds. One thread, which never waits but in poll.
//
//   daemon ends with 0            the tree is unmounted: the keeper ends too
//   daemon dies                   started again, from the same binary, after a delay that grows
//   kMaxQuickDeaths in a row      the mount waits, with all its users, for `quoin reload`
//   SIGTERM, SIGINT, SIGHUP       passed on to the daemon; without one the tree is detached
//   keeper dies                   the daemon goes on, and ends the mount when it dies
//
// Reload: a second daemon is started from the binary that now is at the path that the first had, and says
// that it could go on; only then the running one is told to leave; when it has ended, the second is told to
// go. If it does not come up, the binary of the first (held open) is started again. When all went well and
// the binary is another one, the keeper executes it as well.
#pragma once

#include <functional>

#include "blockstore/base/error.h"
#include "tools/daemon_options.h"

namespace quoin {

// Keeps a new mount until its end. `report` is called once, when the tree is usable or with what kept it from
// being so; what happens later is the log's business.
Status KeepMount(const DaemonOptions& options, const std::function<void(const Status&)>& report);

// Goes on, after the keeper has executed another binary, with what it was given by it.
int ContinueKeeping(const std::string& text);

inline constexpr const char* kKeepVerb = "keep";

}  // namespace quoin

// `quoin mount`: the process that serves a tree. It opens the Store, mounts the Session,
// answers the commands of its host (ControlServer), and ends when the tree is unmounted or a
// SIGTERM, SIGINT or SIGHUP asks for it, after everything is flushed and let go. It is started, and
// started again, by a keeper (keeper.h); in the background that one is forked before any thread exists,
// and the command that started it returns when the tree is usable, or with the error that kept it from
// being so. Without a keeper a crash leaves a record that the next command removes, and a mount point
// that answers "not connected" until it is unmounted.
#pragma once

#include <string>

#include "blockstore/base/error.h"
#include "tools/daemon_options.h"

namespace quoin {

// Returns when the tree is usable (background) or when it was unmounted (foreground).
Status MountTree(const DaemonOptions& options);

// `quoin serve`, as a keeper starts it (daemon_start.h). Returns the exit status, if it returns.
int ServeForKeeper(const std::string& start);

// /var/log/quoin, or $QUOIN_LOG_DIR.
std::string DefaultLogDir();

}  // namespace quoin

// `quoin mount`: the process that keeps a tree mounted. It opens the Store, mounts the Session,
// answers the commands of its host (ControlServer), and ends when the tree is unmounted or a
// SIGTERM, SIGINT or SIGHUP asks for it, after everything is flushed and let go. In the background
// it is forked before any thread exists, and the command that started it returns when the tree is
// usable, or with the error that kept it from being so. A crash leaves a record that the next
// command removes, and a mount point that answers "not connected" until it is unmounted.
#pragma once

#include <chrono>
#include <string>

#include "blockstore/base/error.h"

namespace quoin {

struct DaemonOptions {
  std::string store;        // absolute
  std::string mount_point;  // absolute
  unsigned threads = 0;     // 0: the Session's default
  std::chrono::milliseconds ownership_wait{3000};
  std::chrono::milliseconds lease{10'000};  // StoreOptions::lease
  bool seals = true;  // moves snapshots into packs by itself, so long after the newest one of a VDI
  std::chrono::milliseconds seal_delay{5000};
  uint64_t cache_bytes = uint64_t{256} << 20;  // of what is read from packs
  std::string log;  // a file; "": <log folder>/<session>.log, or the terminal in foreground
  bool foreground = false;
};

// Returns when the tree is usable (background) or when it was unmounted (foreground).
Status MountTree(const DaemonOptions& options);

// /var/log/quoin, or $QUOIN_LOG_DIR.
std::string DefaultLogDir();

}  // namespace quoin

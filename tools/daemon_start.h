// How a keeper starts a daemon, and what the two say to each other. The daemon is `quoin serve TEXT`, TEXT
// being this as one line of JSON; the descriptors are inherited. On `channel`, a Unix socket, go lines of
// JSON:
//
//   daemon: {"is": "prepared", "version": "0.1.0"}      it runs, and could go on with what is kept
//   keeper: {"do": "go"}                                nobody else serves the mount
//   daemon: {"is": "ready", "session": ..., ...}        the tree is usable; a MountRecord
//   daemon: {"is": "failed", "error": {...}}            it ends
//   keeper: {"do": "leave"}                             finish what is under way, and end with kLeftToNext
//
// Members that are unknown are ignored, so that neighbouring versions get on.
#pragma once

#include <cstdint>
#include <string>

#include "tools/daemon_options.h"

namespace quoin {

inline constexpr const char* kServeVerb = "serve";

// The exit status of a daemon that has left everything open and mounted for the next one.
inline constexpr int kLeftToNext = 75;

struct DaemonStart {
  DaemonOptions options;
  int fuse_device = -1;
  int session = -1;  // KeptSession's file
  int heads = -1;    // KeptHeads'
  int channel = -1;
  int64_t keeper_pid = 0;
  uint64_t restarts = 0;  // of daemons that died, since it was mounted
  std::string why;        // what became of the daemon before; "" if there was none

  Json ToJson() const;
  static DaemonStart FromJson(const Json& json);
};

}  // namespace quoin

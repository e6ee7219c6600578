// What `quoin mount` was asked for: from the command line to the keeper, and to each daemon that it starts.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "tools/json.h"

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
  bool keeper = false;  // a process that starts the daemon again should it die

  // A daemon of another version takes what it knows, and its own default for what is missing.
  Json ToJson() const;
  static DaemonOptions FromJson(const Json& json);
};

}  // namespace quoin

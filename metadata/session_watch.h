// What this process has seen of other sessions' heartbeats. A session is silent while its heartbeat
// stays the same, byte for byte; how long is measured on our own clock from when we first saw it so, so
// clocks of two hosts are never compared. Looking costs one small read, and nothing is read of sessions
// that nobody asks about: what the hosts of a store cost each other does not grow with their number.
//
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "blockstore/base/file_system.h"
#include "blockstore/base/id.h"
#include "blockstore/base/monotonic_clock.h"
#include "blockstore/base/mutex.h"
#include "metadata/host_record.h"
#include "metadata/store_layout.h"

namespace quoin {

// How much longer than its lease a session has to be silent: for what the clocks of two hosts may drift
// apart meanwhile, and for how long a storage may show a fresh open what was there before (1 s was the
// longest measured).
constexpr std::chrono::milliseconds LeaseMargin(std::chrono::milliseconds lease) {
  return lease / 10;
}

// Of a session of which nothing else is known.
inline constexpr std::chrono::milliseconds kDefaultLease{10'000};

class SessionWatch {
 public:
  SessionWatch(FileSystem& file_system, const StoreLayout& layout,
               MonotonicClock& clock = SystemClock())
      : file_system_(file_system), layout_(layout), clock_(clock) {}

  struct Sight {
    // Seen without a change, from after one look to before another.
    std::chrono::nanoseconds silent_for{0};
    // Another session says that it is dead (lease.h). We still wait ourselves: that may be old news.
    bool declared_dead = false;
    // The last record; nothing if there is no heartbeat, or it is damaged.
    std::optional<HostRecord> record;
    // Tells this state of the heartbeat from every other one that there was or will be.
    std::string state;
  };
  // Looks once. A heartbeat that is not there is a state like any other: silent.
  Result<Sight> Look(const Id& host, const Id& session);

 private:
  struct Seen {
    std::string state;
    std::chrono::nanoseconds since{0};
  };
  static constexpr size_t kMaxSessions = 10'000;

  FileSystem& file_system_;
  const StoreLayout layout_;
  MonotonicClock& clock_;
  Mutex mutex_{LockRank::kLeaf};
  std::map<std::pair<Id, Id>, Seen> seen_ QUOIN_GUARDED_BY(mutex_);
};

}  // namespace quoin

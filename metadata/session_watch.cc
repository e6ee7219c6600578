#include "metadata/session_watch.h"

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/block.h"

namespace quoin {

Result<SessionWatch::Sight> SessionWatch::Look(const Id& host, const Id& session) {
  const std::string folder = layout_.Session(host, session);
  const std::chrono::nanoseconds before = clock_.Now();
  Sight sight;
  const auto read = [&](const std::string& path) {
    return ReadWholeFile(file_system_, path, 2 * kSectorBytes);
  };
  Result<std::string> bytes = read(StoreLayout::Heartbeat(folder));
  if (!bytes && bytes.error().code == ErrorCode::kNotFound) {
    bytes = read(StoreLayout::DeadHeartbeat(folder));
    sight.declared_dead = bytes.has_value();
  }
  if (bytes) {
    sight.record = DecodeHostRecord(*bytes);
    // Whatever its name is: that others declared it dead is no sign of life, and whoever waits for many
    // VDIs of a dead host waits once.
    sight.state = "beat " + *bytes;
  } else if (bytes.error().code == ErrorCode::kNotFound) {
    sight.state = "none";
  } else {
    return Failure(bytes.error());
  }
  const std::chrono::nanoseconds after = clock_.Now();
  MutexLock lock(mutex_);
  if (seen_.size() >= kMaxSessions) seen_.clear();  // they are waited for anew
  Seen& seen = seen_[{host, session}];
  if (seen.state != sight.state) {
    seen = {sight.state, after};
  } else {
    sight.silent_for = before - seen.since;
  }
  return sight;
}

}  // namespace quoin

#include "metadata/session_list.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "blockstore/base/monotonic_clock.h"
#include "metadata/session_watch.h"

namespace quoin {
namespace {

constexpr std::chrono::milliseconds kLookEvery{200};
constexpr size_t kIdDigits = 32;

// "HOST-SESSION"
std::optional<std::pair<Id, Id>> ParseSessionName(const std::string& name) {
  if (name.size() != 2 * kIdDigits + 1 || name[kIdDigits] != '-') return std::nullopt;
  const std::optional<Id> host = Id::Parse(name.substr(0, kIdDigits));
  const std::optional<Id> session = Id::Parse(name.substr(kIdDigits + 1));
  if (!host || !session) return std::nullopt;
  return std::pair(*host, *session);
}

// Who beats every fifth of its lease is overdue after twice that and the margin.
std::chrono::milliseconds OverdueAfter(const HostRecord& record) {
  const std::chrono::milliseconds lease(record.lease_ms);
  return 2 * lease / 5 + LeaseMargin(lease);
}

// The heartbeat's lock goes with its process.
bool HasEnded(FileSystem& file_system, const StoreLayout& layout, const HostRecord& record) {
  const std::string folder = layout.Session(record.host, record.session);
  const auto file = file_system.Open(StoreLayout::Heartbeat(folder), {Access::kReadWrite});
  if (!file) return file.error().code == ErrorCode::kNotFound;
  const Result<bool> is_locked = (*file)->IsLockedElsewhere();
  return is_locked && !*is_locked;
}

}  // namespace

Result<std::vector<ListedSession>> ListSessions(FileSystem& file_system, const StoreLayout& layout,
                                                std::chrono::milliseconds patience) {
  std::vector<ListedSession> sessions;
  SessionWatch watch(file_system, layout);
  Result<std::vector<DirectoryEntry>> entries = file_system.List(layout.Hosts());
  if (!entries && entries.error().code == ErrorCode::kNotFound) return sessions;
  if (!entries) return Failure(entries.error());
  for (const DirectoryEntry& entry : *entries) {
    const auto ids = ParseSessionName(entry.name);
    const Result<SessionWatch::Sight> sight =
        ids ? watch.Look(ids->first, ids->second) : Fail(ErrorCode::kNotFound, "");
    // One that has just ended, or never got as far as a heartbeat.
    if (!sight || !sight->record) continue;
    ListedSession& listed = sessions.emplace_back();
    listed.record = *sight->record;
    if (sight->declared_dead || HasEnded(file_system, layout, listed.record)) {
      listed.life = SessionLife::kDead;
    }
  }
  MonotonicClock& clock = SystemClock();
  const std::chrono::nanoseconds begin = clock.Now();
  for (bool waits = true; waits;) {
    waits = false;
    const std::chrono::nanoseconds passed = clock.Now() - begin;
    for (ListedSession& listed : sessions) {
      if (listed.life != SessionLife::kSilent) continue;
      const Result<SessionWatch::Sight> sight =
          watch.Look(listed.record.host, listed.record.session);
      if (sight && sight->declared_dead) {
        listed.life = SessionLife::kDead;
      } else if (sight && sight->record && sight->record->beat != listed.record.beat) {
        listed.life = SessionLife::kAlive;
      } else if (sight && !sight->record) {
        listed.life = SessionLife::kDead;  // it has ended while we looked
      } else {
        waits = waits || passed < std::min<std::chrono::nanoseconds>(
                                      patience, OverdueAfter(listed.record));
      }
    }
    if (waits) clock.SleepFor(kLookEvery);
  }
  std::sort(sessions.begin(), sessions.end(), [](const ListedSession& a, const ListedSession& b) {
    return std::tie(a.record.host_name, a.record.since_s, a.record.session) <
           std::tie(b.record.host_name, b.record.since_s, b.record.session);
  });
  return sessions;
}

}  // namespace quoin

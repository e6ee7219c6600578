// What a session tells the other hosts of itself: the record in hosts/SESSION/heartbeat, which it
// renews again and again. One sector (sector_record.h):
//   {"host":"..","host_name":"node2","boot":"..","session":"..","pid":4711,"version":"..",
//    "since":<unix seconds>,"lease_ms":10000,"beat":17,"check":".."}
// Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "blockstore/base/id.h"

namespace quoin {

inline constexpr size_t kMaxHostNameBytes = 64;
inline constexpr size_t kMaxBootBytes = 36;  // a UUID
inline constexpr size_t kMaxVersionBytes = 32;

struct HostRecord {
  Id host;
  std::string host_name;
  std::string boot;
  Id session;
  int64_t pid = 0;
  std::string version;
  int64_t since_s = 0;    // Unix time of the session's start, for people only
  uint32_t lease_ms = 0;  // how long after a beat the session goes on without another one
  uint64_t beat = 0;      // counts up, so that no two beats of a session are alike

  bool operator==(const HostRecord&) const = default;
};

std::string EncodeHostRecord(const HostRecord& record);
// Of a file's whole content; nothing for what EncodeHostRecord cannot make.
std::optional<HostRecord> DecodeHostRecord(std::string_view bytes);

}  // namespace quoin

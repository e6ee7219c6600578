// What a verb asks of a store, and what it is told: plain data with a JSON form, so that it means
// the same whether the command's own process does the work or a daemon of this host.
//
// On the socket: one line {"protocol": 1, "verb": "resize", "vdi": "web01", ...}, answered by one
// line {"result": ...} or {"error": {"code", "what", "next"}}, before which there may be any number of
// {"progress": {"done_bytes", "all_bytes"}} if they were asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "snapshots/store.h"
#include "tools/json.h"

namespace quoin {

inline constexpr int kControlProtocol = 1;

// How far long work has come; all_bytes is 0 while it is not known how much there is.
using ProgressSink = std::function<void(uint64_t done_bytes, uint64_t all_bytes)>;
Json ProgressLine(uint64_t done_bytes, uint64_t all_bytes);
// True if the line is one of those, which the sink (if there is one) is told then.
bool TakeProgress(const Json& line, const ProgressSink& sink);

struct StoreRequest {
  std::string verb;                     // a row of the table in store_operations.cc
  std::string vdi;                      // a name; the beginning of names for "list"
  std::string snapshot;                 // of that VDI
  std::string path;                     // of a file on this host: what is imported
  std::string new_name;                 // of the VDI or snapshot that is made or renamed
  std::vector<SnapshotName> snapshots;  // of "snap create"
  uint64_t size_bytes = 0;
  uint32_t uid = 0;  // owner of what is made
  uint32_t gid = 0;
  bool with_snapshots = false;
  bool allow_shrink = false;
  bool protect = false;
  bool details = false;  // of each VDI of a listing
  bool all = false;      // list also what is uninteresting
  bool dry_run = false;
  bool tells_progress = false;  // lines with progress are wanted before the answer
  uint64_t grace_ms = 0;        // of "gc"
  uint64_t duration_ms = 0;     // of "lock grant"

  Json ToJson() const;
  // kInvalid for another protocol, a missing verb, or a member of the wrong kind.
  static Result<StoreRequest> FromJson(const Json& json);
};

struct StoreAnswer {
  Json result;
  std::optional<Error> error;
  // The session that owns the VDI asked about, if it is not the one that answers: it knows more,
  // and it can do what was refused as kBusy.
  std::string owner_session;

  Json ToJson() const;
  static StoreAnswer FromJson(const Json& json);
};

}  // namespace quoin

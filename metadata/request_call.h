// Asking another session of the store for something, through its folder of requests
// (request_folder.h). Stateless; from any thread. Takes as long as the other session does.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "blockstore/base/file_system.h"
#include "metadata/session_watch.h"
#include "metadata/store_layout.h"

namespace quoin {

struct RequestPatience {
  // After so long without having been begun with, a request is taken back. An idle session needs at most
  // RequestInbox::kLookEvery and the storage's own time.
  std::chrono::milliseconds begun_within{2'000};
  std::chrono::milliseconds answered_within{600'000};
};

// The answer. Errors:
//   kNotFound  nothing was done: the session takes no requests, has not begun with this one in time, or
//              could not be reached when it was asked
//   kIo        it cannot be known whether it was done: no answer in time, or the session has fallen
//              silent for longer than its lease since it began
// and what the storage itself refuses, before anything was asked.
Result<std::string> CallSession(FileSystem& file_system, const StoreLayout& layout,
                                SessionWatch& watch, const Id& host, const Id& session,
                                std::string_view request, const RequestPatience& patience = {});

}  // namespace quoin

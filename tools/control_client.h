// How a command asks a daemon of its host. Stateless; from any thread.
#pragma once

#include <chrono>
#include <string>

#include "tools/json.h"
#include "tools/mount_record.h"
#include "tools/store_request.h"

namespace quoin {

// Some requests wait for a flush, some for another host to let go of a VDI.
inline constexpr std::chrono::milliseconds kWorkPatience{600'000};
inline constexpr std::chrono::hours kDataPatience{7 * 24};
inline constexpr std::chrono::milliseconds kStatusPatience{3'000};

// The daemon's answer, whatever it says. kNotFound if that daemon is gone: its record has then been
// removed. kBusy if it does not answer in time, kIo if it ended before it answered; the error's
// text says that the request may have been done. `patience` is for the answer, and for each line of
// progress before it.
Result<Json> AskDaemon(const std::string& run_dir, const MountRecord& daemon, const Json& request,
                       std::chrono::milliseconds patience, const ProgressSink& progress = nullptr);

// {"verb": "status"} in the protocol of store_request.h.
Json StatusRequest();

}  // namespace quoin

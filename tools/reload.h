// `quoin reload`: asks a mount's keeper for a new daemon. Stateless.
#pragma once

#include <string>

#include "blockstore/base/error.h"
#include "tools/json.h"

namespace quoin {

// Returns when the new daemon serves: {"version_before", "version", "daemon_pid", "keeper_pid"}. kNotFound
// if nothing is mounted there or nobody keeps it; else what the keeper says, which goes on with what ran
// before.
Result<Json> ReloadMount(const std::string& mount);

}  // namespace quoin

// snap create / ls / rm / rename / protect / unprotect, clone and rollback.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddSnapshotVerbs(CLI::App& app, Invocation& invocation);

}  // namespace quoin

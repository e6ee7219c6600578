// init and check: whole stores.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddStoreVerbs(CLI::App& app, Invocation& invocation);

}  // namespace quoin

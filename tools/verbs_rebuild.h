// rebuild: a store made again of its packs.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddRebuildVerb(CLI::App& app, Invocation& invocation);

}  // namespace quoin

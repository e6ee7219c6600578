// create, ls, info, resize, rm and mv: what is done with whole VDIs.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddVdiVerbs(CLI::App& app, Invocation& invocation);

}  // namespace quoin

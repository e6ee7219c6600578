// seal, import, export: what moves VDIs into packs, and out of them.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddPackVerbs(CLI::App& app, Invocation& invocation);

}  // namespace quoin

// lock ls / show / break: who may write a VDI.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddLockVerbs(CLI::App& app, Invocation& invocation);

}  // namespace quoin

// gc, scrub, df: garbage, damage, and what takes space.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddGarbageVerbs(CLI::App& app, Invocation& invocation);

}  // namespace quoin

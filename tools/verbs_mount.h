// mount, unmount and status: trees and their daemons.
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddMountVerbs(CLI::App& app, Invocation& invocation);

}  // namespace quoin

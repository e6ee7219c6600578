// doctor: is storage fit for a store?
#pragma once

#include "tools/invocation.h"

namespace quoin {

void AddDoctorVerb(CLI::App& app, Invocation& invocation);

}  // namespace quoin

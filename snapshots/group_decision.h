// Whether a group of snapshots counts: STORE/groups/<group>, made once, by whoever comes first.
//
// The coordinator makes it with the ids of the group's VDIs, one a line, once every row is durable as
// pending: the group is taken. Whoever finds a pending row and has waited long enough, or recovers a
// VDI, makes it with "none": the group is not taken, and a coordinator that comes later finds that it
// is. Since the name is made by link(), all agree. Stateless.
#pragma once

#include <string_view>
#include <vector>

#include "blockstore/base/error.h"
#include "blockstore/base/id.h"

namespace quoin {

struct StoreEnvironment;

enum class GroupDecision { kTaken, kNotTaken };

// Makes the decision, unless it is made; what stands is returned, durable. No VDIs: not taken.
Result<GroupDecision> DecideGroup(StoreEnvironment& environment, const Id& group,
                                  const std::vector<Id>& vdis);

// Of the file's bytes.
bool SaysNotTaken(std::string_view bytes);

}  // namespace quoin

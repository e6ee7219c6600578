// The JSON forms of what a store tells: what `--json` prints, and what the tables are made from.
// Sizes are bytes, times exact UTC text, ids 32 hexadecimal digits; what is not known is null.
#pragma once

#include <optional>
#include <string>

#include "metadata/vdi_records.h"
#include "metadata/writer_lock.h"
#include "snapshots/store.h"
#include "tools/json.h"

namespace quoin {

Json VdiJson(const std::string& name, const VdiInfo& info);
Json SnapshotJson(const std::string& vdi, const SnapshotRecord& snapshot);
Json LockRecordJson(const LockRecord& record);
// "state": "held", "free", "unclean" (its last owner died) or "damaged".
Json LockJson(const std::string& vdi, const LockStatus& status);
// "state": "alive", "silent" or "dead".
Json SessionJson(const SessionReport& session);

}  // namespace quoin

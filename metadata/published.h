// published.db: an immutable copy of a VDI's state (no ownership rows) for everyone who does not
// own it. The same schema as vdi.db, in rollback-journal form with no journal, made in memory
// (database_image.h), written to a temporary, synced and renamed into place: a reader sees one
// whole copy or the next. Readers read it whole, check every page, and never lock it; `sqlite3`
// opens it with immutable=1. Thread-safe. A crash leaves the old copy or the new one, and perhaps a
// temporary.
#pragma once

#include <string>

#include "blockstore/base/file_system.h"
#include "metadata/store_layout.h"
#include "metadata/vdi_records.h"

namespace quoin {

// Durable when it returns. kInvalid if the state breaks record_checks.h.
Status WritePublished(FileSystem& file_system, const StoreLayout& layout,
                      const std::string& vdi_folder, const VdiState& state);

// kNotFound if it was never published, kCorrupt if damaged, kNewerFormat.
Result<VdiState> ReadPublished(FileSystem& file_system, const std::string& vdi_folder);

}  // namespace quoin

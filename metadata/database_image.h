// A VDI's database as the bytes of a file: made in memory, written whole by the seam's small-file
// routines, and read back whole. New vdi.db files and published.db are made this way, so no
// half-made database is ever under its name. Pure functions; thread-safe; each thread that decodes keeps a
// connection for the next image (image_reader.h), of some 500 KiB.
#pragma once

#include <string>

#include "blockstore/base/error.h"
#include "metadata/vdi_records.h"

namespace quoin {

// 10,000 snapshots over 10,000 layers need about 4 MiB.
inline constexpr uint64_t kMaxDatabaseImageBytes = uint64_t{256} << 20;

enum class JournalForm {
  kRollback,  // readable by any SQLite as it is, also with immutable=1
  kWal,       // SQLite opens it in WAL mode
};

// kInvalid if the state breaks record_checks.h.
Result<std::string> EncodeDatabase(const VdiState& state, JournalForm form);

// Of an image in rollback form. kCorrupt for anything that EncodeDatabase did not make, one wrong
// bit included; kNewerFormat. `path` is for messages.
Result<VdiState> DecodeDatabase(const std::string& bytes, const std::string& path);

}  // namespace quoin

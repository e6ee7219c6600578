// Gives a VDI's database a file that no descriptor of anybody else points to, for whoever takes over from
// an owner that may come back: see layer_detach.h.
#pragma once

#include <string>

#include "blockstore/base/file_system.h"

namespace quoin {

// The database and its WAL are copied under `temporary`, opened there (which replays the WAL), checked and
// written back to one file; that is renamed over `path`, and the WAL beside it goes. What the old owner
// has committed by then is in it. A crash after the renaming leaves the old WAL: whatever it holds comes
// after what the new file holds, or is in it. kNotFound, kCorrupt.
Status DetachDatabase(FileSystem& file_system, const std::string& path,
                      const std::string& temporary);

}  // namespace quoin

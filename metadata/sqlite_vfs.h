// SQLite's view of storage: a VFS on top of the FileSystem seam, so that tests can fail, delay and
// forget SQLite's own reads, writes and syncs.
//
// Made for one way of use: one connection per database, locking_mode=EXCLUSIVE, WAL. So there is no
// shared memory, and SQLite's locks are empty: a database and its WAL are locked by the seam's
// TryLock on the very handle that writes them, when they are opened. Pages of the main file are
// stamped and checked (database_page.h). Temporary files are refused: they would bypass the seam.
#pragma once

#include <optional>
#include <string>

#include "blockstore/base/error.h"
#include "blockstore/base/file_system.h"

namespace quoin {

// Registers the VFS of this FileSystem with SQLite, once, and returns its name. Thread-safe. The
// registration stays for the life of the process; the FileSystem must outlive every database
// opened with it.
std::string RegisterSeamVfs(FileSystem& file_system);

// The error of the last seam call that failed below SQLite on this thread: SQLite's own codes say
// too little. Forget before a call, take after it failed.
void ForgetSeamFailure();
std::optional<Error> TakeSeamFailure();

}  // namespace quoin

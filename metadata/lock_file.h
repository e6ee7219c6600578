// The files behind a VDI's writer lock: which one counts, what is in it, and taking its lock. What they
// mean is in writer_lock.h. Functions without state.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blockstore/base/file_system.h"
#include "metadata/writer_lock.h"

namespace quoin {

struct LockFileContent {
  std::optional<LockRecord> record;  // nothing if it is damaged
  bool superseded = false;           // there is a newer lock file, whatever a list of names says
};

Result<LockFileContent> ReadLockFile(File& file);
Status WriteLockRecord(File& file, const LockRecord& record);
// Behind the record, where its holder never writes.
Status MarkSuperseded(File& file);

// The number of the VDI's newest lock file. kNotFound if there is none.
Result<uint64_t> NewestLockFile(FileSystem& file_system, const std::string& vdi_folder);

struct OpenedLock {
  std::unique_ptr<File> file;  // locked; null if another handle holds it, or it is not the newest any more
  LockFileContent content;     // as read after the lock was taken, or while another had it
};
Result<OpenedLock> OpenLocked(FileSystem& file_system, const std::string& vdi_folder,
                              uint64_t number);

// Makes the lock file `number`, with this record in it and locked; null if somebody else was first.
Result<std::unique_ptr<File>> MakeNewerLockFile(FileSystem& file_system,
                                                const std::string& vdi_folder, uint64_t number,
                                                const LockRecord& record);

// The highest epoch in the layers' names.
Result<uint64_t> HighestLayerEpoch(FileSystem& file_system, const std::string& vdi_folder);

}  // namespace quoin

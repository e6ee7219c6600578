#include "snapshots/last_owners.h"

#include "metadata/lock_file.h"
#include "metadata/store_layout.h"
#include "metadata/writer_lock.h"

namespace quoin {

// Only a process of this host makes a record of this host, and whoever dies may leave it as it is: that one
// must be looked at each time. Another host's says that there is nothing to do here.
bool LastOwners::IsHarmless(const std::string& vdi_folder, const std::string& path) const {
  const auto content = file_system_.Open(path, {}).and_then(
      [](const std::unique_ptr<File>& file) { return ReadLockFile(*file); });
  if (!content || !content->record || content->superseded) return false;
  if (content->record->host == self_.host && !content->record->clean) return false;
  // Once a newer lock file has come, which marks this one, records change in that.
  const Result<bool> is_superseded =
      PathExists(file_system_, StoreLayout::WriterLock(vdi_folder, 1));
  return is_superseded && !*is_superseded;
}

bool LastOwners::DiedHere(const std::string& vdi_folder, Clock::time_point now) {
  const std::string path = StoreLayout::WriterLock(vdi_folder);
  const Result<FileFacts> facts = file_system_.Facts(path);
  if (!facts) return false;
  const Harmless::Look look = harmless_.At(path, *facts, now);
  if (look.known) return false;
  {
    MutexLock lock(mutex_);
    ++reads_;
  }
  if (IsHarmless(vdi_folder, path)) {
    harmless_.Remember(path, look, {});
    return false;
  }
  const Result<LockStatus> last = WriterLock::Inspect(file_system_, vdi_folder);
  if (!last || last->damaged) return false;
  return last->record.host == self_.host && !last->record.clean && !last->held;
}

uint64_t LastOwners::reads() const {
  MutexLock lock(mutex_);
  return reads_;
}

}  // namespace quoin

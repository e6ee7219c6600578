#include "snapshots/last_owners.h"

#include "metadata/store_layout.h"
#include "metadata/writer_lock.h"

namespace quoin {

bool LastOwners::DiedHere(const std::string& vdi_folder, Clock::time_point now) {
  const Result<FileFacts> facts = file_system_.Facts(StoreLayout::WriterLock(vdi_folder));
  if (!facts) return false;
  {
    MutexLock lock(mutex_);
    const auto known = known_.find(vdi_folder);
    if (known != known_.end() && known->second.is_settled && known->second.IsOf(*facts)) {
      return false;
    }
    ++reads_;
  }
  const Result<LockStatus> last = WriterLock::Inspect(file_system_, vdi_folder);
  if (!last || last->damaged) return false;
  const bool is_ours = last->record.host == self_.host;
  // Only a process of this host makes a record of this host, and whoever dies may leave it as it is:
  // that one must be looked at each time. Another host's says that there is nothing to do here.
  if (is_ours && !last->record.clean) return !last->held;
  // Once a newer lock file has come, which marks this one, records change in that.
  const Result<bool> is_superseded =
      PathExists(file_system_, StoreLayout::WriterLock(vdi_folder, 1));
  if (!is_superseded || *is_superseded) return false;
  MutexLock lock(mutex_);
  if (known_.size() >= kMaxEntries) known_.clear();
  Known& known = known_[vdi_folder];
  if (known.IsOf(*facts)) {
    known.is_settled = now - known.first_seen >= kSettled;
  } else {
    known = {facts->identity, facts->mtime_ns, facts->ctime_ns, now, false};
  }
  return false;
}

uint64_t LastOwners::reads() const {
  MutexLock lock(mutex_);
  return reads_;
}

}  // namespace quoin

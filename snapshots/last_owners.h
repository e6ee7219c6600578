// Whether the last owner of a VDI died on this host without letting go of it cleanly, so that what is
// published is not all that was flushed. To read the record of who that was takes an open and a parse,
// which an `ls -l` of ten thousand snapshots would do ten thousand times: so a record by which there is
// nothing to do is remembered as long as its file does not change. Thread-safe.
#pragma once

#include <chrono>
#include <string>
#include <unordered_map>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "metadata/host.h"

namespace quoin {

class LastOwners {
 public:
  using Clock = std::chrono::steady_clock;
  // A file's times may be so coarse that two changes within a second look like one. A record counts
  // as known once it was read so long after its file was first seen as it is: later changes show.
  static constexpr std::chrono::milliseconds kSettled{1500};
  static constexpr size_t kMaxEntries = 20'000;

  // Both must outlive it.
  LastOwners(FileSystem& file_system, const HostIdentity& self)
      : file_system_(file_system), self_(self) {}

  // False too if the record cannot be read: who opens the VDI is told.
  bool DiedHere(const std::string& vdi_folder, Clock::time_point now = Clock::now());

  // How often a record was read, for tests.
  uint64_t reads() const;

 private:
  struct Known {
    FileIdentity identity;
    int64_t mtime_ns = 0;
    int64_t ctime_ns = 0;
    Clock::time_point first_seen;
    bool is_settled = false;

    bool IsOf(const FileFacts& facts) const {
      return identity == facts.identity && mtime_ns == facts.mtime_ns &&
             ctime_ns == facts.ctime_ns;
    }
  };

  FileSystem& file_system_;
  const HostIdentity& self_;
  mutable Mutex mutex_{LockRank::kLeaf};
  std::unordered_map<std::string, Known> known_ QUOIN_GUARDED_BY(mutex_);
  uint64_t reads_ QUOIN_GUARDED_BY(mutex_) = 0;
};

}  // namespace quoin

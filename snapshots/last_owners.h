// Whether the last owner of a VDI died on this host without letting go of it cleanly, so that what is
// published is not all that was flushed. To read the record of who that was takes an open and a parse,
// which an `ls -l` of ten thousand VDIs would do ten thousand times: so a record by which there is
// nothing to do is remembered as long as its file does not change. Thread-safe.
#pragma once

#include <string>
#include <variant>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "metadata/host.h"
#include "metadata/settled_files.h"

namespace quoin {

class LastOwners {
 private:
  using Harmless = SettledFiles<std::monostate>;

 public:
  using Clock = Harmless::Clock;
  static constexpr std::chrono::milliseconds kSettled = Harmless::kSettled;

  // Both must outlive it.
  LastOwners(FileSystem& file_system, const HostIdentity& self)
      : file_system_(file_system), self_(self) {}

  // False too if the record cannot be read: who opens the VDI is told.
  bool DiedHere(const std::string& vdi_folder, Clock::time_point now = Clock::now());

  // How often a record was read, for tests.
  uint64_t reads() const;

 private:
  // The record in a lock file that is the VDI's only one says that there is nothing to do here.
  bool IsHarmless(const std::string& vdi_folder, const std::string& path) const;

  FileSystem& file_system_;
  const HostIdentity& self_;
  Harmless harmless_;  // by path
  mutable Mutex mutex_{LockRank::kLeaf};
  uint64_t reads_ QUOIN_GUARDED_BY(mutex_) = 0;
};

}  // namespace quoin

// Who we are: the machine (an id generated once and kept on its own disk, plus the kernel's boot
// id) and this start of the program. Constant after loading.
#pragma once

#include <string>

#include "blockstore/base/error.h"
#include "blockstore/base/id.h"

namespace quoin {

struct HostIdentity {
  Id host;                // generated on first use, kept in <state_dir>/host.id
  std::string host_name;  // as uname says; for messages only
  std::string boot;       // /proc/sys/kernel/random/boot_id
  Id session;             // new for each start
  int64_t pid = 0;
  std::string version;  // of the program; for messages only
  // The process of this host that starts another session in place of this one, should it die (as
  // DescribeProcess has it); "" if there is none.
  std::string keeper;
};

// "4711-123456": a process of this host and when it started, so that the number alone, given to another
// process, is not mistaken for it. "" if there is no such process.
std::string DescribeProcess(int64_t pid);
// True if the process that was described so is there.
bool IsThere(const std::string& described);

// Makes `state_dir` (and its parents) if needed. Local disk, so it does not go through the seam.
// `version` is the program's.
Result<HostIdentity> LoadHostIdentity(const std::string& state_dir,
                                      const std::string& version = "");

// Makes a folder of this host's own disk, and its parents, where they are missing.
Status MakeLocalFolders(const std::string& path);

// What this host keeps of one store: <state_dir>/<store id>.
std::string StoreStateDir(const std::string& state_dir, const Id& store);

// /var/lib/quoin, or $QUOIN_STATE_DIR.
std::string DefaultStateDir();
// /run/quoin, or $QUOIN_RUN_DIR: sockets and records of this host's mounts.
std::string DefaultRunDir();

}  // namespace quoin

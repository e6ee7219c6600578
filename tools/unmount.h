// `quoin unmount`: takes a tree down and waits until its daemon has flushed, let go of every VDI
// and ended. Stateless.
#pragma once

#include <string>

#include "blockstore/base/error.h"

namespace quoin {

// kNotFound if no tree is mounted there; kBusy, naming who uses it, while files in it are open.
Status UnmountTree(const std::string& mount);

// A mount point as the kernel spells it, found without asking the mounted tree, which may be dead.
std::string MountPointPath(const std::string& mount);

}  // namespace quoin

// The folder that a tree is mounted on, seen from outside of FUSE: is it fit, is our mount still
// there, take it away. System calls, no state but what was found at the time of mounting.
#pragma once

#include <sys/types.h>

#include <string>

#include "blockstore/base/error.h"

namespace quoin {

// kNotFound, kNotDirectory, kNotEmpty, kBusy (a tree is mounted there, perhaps by a dead daemon).
Status CheckMountPoint(const std::string& path);

// A descriptor that requests can be read from once a tree is mounted with it, to be closed by the caller.
// The path is for messages.
Result<int> OpenFuse(const std::string& path);
// Mounts a new FUSE filesystem on the path, whose requests are read from the descriptor. Without success
// the descriptor is closed. `source` is what df and /proc/mounts show. Needs root.
Status MountFuse(const std::string& path, const std::string& source, int device);

// Which mount it is; asks the mounted tree.
Result<dev_t> DeviceOf(const std::string& path);
// True if that mount is (still) what the path shows; asks the system's table, not the tree.
bool IsMounted(const std::string& path, dev_t device);
// Takes the mount out of the file tree; files that are open in it stay usable until they are closed.
// False if the system refused.
bool Detach(const std::string& path);

// Lets the kernel read ahead in the largest requests that it may send, for those who read a whole
// snapshot. Best effort: needs root.
void RaiseReadahead(dev_t device);

}  // namespace quoin

// What a command line means: which store, and which of its VDIs and snapshots. A VDI may be named
// ("lab/db02"), or be pointed at in a mounted tree ("/mnt/quoin/vdis/lab/db02", "./db02", or
// "vdis/lab/db02" at the top of a tree); a snapshot may be "VDI@NAME" or a path below snapshots/.
// Plain data, made once by each verb; reads the records of this host's mounts and no store.
#pragma once

#include <string>
#include <vector>

#include "blockstore/base/error.h"
#include "snapshots/store.h"
#include "tools/mount_record.h"

namespace quoin {

struct Target {
  std::string root;                // the store's folder, absolute
  std::vector<std::string> names;  // the arguments as "VDI" or "VDI@SNAPSHOT"
};

// The store is, in this order: that of the paths among the arguments, `store_option`, $QUOIN_STORE,
// that of the mounted tree or of the store in which the working folder lies. An error is wrong
// usage.
Result<Target> ChooseTarget(const std::string& store_option,
                            const std::vector<std::string>& arguments);

// "VDI@NAME", both valid names.
Result<SnapshotName> ParseSnapshotName(const std::string& text);
// "VDI": a valid name, without '@'.
Result<std::string> ParseVdiName(const std::string& text);
// "VDI" or "VDI@NAME"; snapshot is "" for the former.
Result<SnapshotName> ParseVdiOrSnapshotName(const std::string& text);

// Absolute and without ".", ".." and double slashes; symbolic links are kept.
std::string NormalPath(const std::string& path);
// The store that the folder is, or lies in, by its superblock; "" if there is none.
std::string StoreAround(const std::string& folder);
// Symbolic links are followed as far as the path exists; NormalPath if that fails.
std::string RealPath(const std::string& path);

}  // namespace quoin

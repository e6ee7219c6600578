// What to warn of when a store is mounted, by what doctor has found of its storage. Reads one small file
// of the store. Stateless.
#pragma once

#include <string>
#include <vector>

#include "blockstore/base/file_system.h"
#include "tools/storage_kind.h"

namespace quoin {

// Lines that each say what is wrong and what to do; none if there is nothing to say: something was found
// that loses data, what was found cannot be read, or nobody has ever looked and other hosts may have the
// storage mounted too.
std::vector<std::string> AdviseOnStorage(FileSystem& file_system, const std::string& root,
                                         const StorageKind& kind);

}  // namespace quoin

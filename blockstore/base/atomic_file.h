// Small files that appear whole or not at all, on any storage, at any crash point.
#pragma once

#include <string>
#include <string_view>

#include "blockstore/base/file_system.h"

namespace quoin {

// All bytes of a file of at most `limit_bytes`; kCorrupt if it is longer.
Result<std::string> ReadWholeFile(FileSystem& file_system, const std::string& path,
                                  uint64_t limit_bytes);

// Replaces `path` by a file of these bytes: temporary, fsync, rename, fsync of the folder. When it
// returns the new content is durable; after a crash before that, the old or the new one is there.
// `temporary` must be on the same filesystem and unique to the caller; it is gone afterwards unless
// a crash leaves it.
Status ReplaceFile(FileSystem& file_system, const std::string& path, const std::string& temporary,
                   std::string_view bytes);

// Creates `path` with these bytes, durably; kExists if the name is taken, on any host: temporary,
// fsync, link, fsync of the folder.
Status PublishNewFile(FileSystem& file_system, const std::string& path,
                      const std::string& temporary, std::string_view bytes);

// The folder part of a path ("." if it has none).
std::string ParentPath(const std::string& path);

}  // namespace quoin

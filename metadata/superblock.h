// quoin.store: what makes a folder a store. JSON of at most 4 KiB, written once by `init`:
//   {"quoin": "store", "format": 1, "id": "<32 hex>", "created": "<UTC>", "compression": "lz4"}
// Checked before anything else is touched. A greater `format` is refused with kNewerFormat, and so
// is a compression of which this quoin does not know; a store that names none has "lz4".
#pragma once

#include <string>

#include "blockstore/base/file_system.h"
#include "blockstore/base/id.h"

namespace quoin {

inline constexpr int kStoreFormat = 1;

struct Superblock {
  Id store_id;
  int format = kStoreFormat;
  std::string compression = "lz4";  // of new packs: lz4, zstd or none
  std::string created;              // ISO 8601, UTC
};

// Makes a store in `root`: an existing empty folder, or one that does not exist yet below an
// existing one. kExists if it is a store already, kNotEmpty if other things are there. The
// superblock is written last, so a crash leaves no store, and a second attempt may finish it.
Result<Superblock> InitialiseStore(FileSystem& file_system, const std::string& root,
                                   const std::string& compression);

// Makes the folders that a store of an older quoin does not have yet.
Status CompleteStore(FileSystem& file_system, const std::string& root);

// Makes every folder of a store that is missing in `root`, which is there. For a rebuild.
Status RestoreFolders(FileSystem& file_system, const std::string& root);
// A new one, on no storage. kInvalid if there is no such compression.
Result<Superblock> NewSuperblock(const std::string& compression);
// Makes a store of a folder that has all of a store's. Durable when it returns; kExists.
Status WriteSuperblock(FileSystem& file_system, const std::string& root,
                       const Superblock& superblock);

// kNotFound / kNotAStore / kNewerFormat / kCorrupt with texts that say what to do.
Result<Superblock> ReadSuperblock(FileSystem& file_system, const std::string& root);

}  // namespace quoin

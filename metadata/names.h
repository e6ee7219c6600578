// The users' names of VDIs: STORE/names is a tree of folders in which each file is a VDI's name and
// holds its id ("<32 hex>\n"). A name is claimed with link(), so two hosts cannot make one name; a
// rename is link() of the new name and unlink of the old one (rename() would replace a name that
// another host made meanwhile). A crash between the two leaves one file under two names
// (link_count 2); whoever holds the VDI's writer lock next resolves that (ResolveDouble).
// Thread-safe. Names use '/' between parts, none at either end; "" is the top folder.
//
// A name's file never changes once it has its name, so what was read from it is remembered (settled_files.h);
// whether it still is the same file is looked at each time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/base/id.h"
#include "metadata/settled_files.h"
#include "metadata/store_layout.h"

namespace quoin {

inline constexpr size_t kMaxNamePartBytes = 255;
inline constexpr size_t kMaxNameBytes = 4000;

// kInvalid / kNameTooLong for an empty name, an empty part, "." or "..", a part of over 255 bytes,
// a NUL or '@', and names of over kMaxNameBytes bytes.
Status ValidateVdiName(std::string_view name);
// The same rules for the one part of a snapshot's name; no '/', and not "latest".
Status ValidateSnapshotName(std::string_view name);

struct NameEntry {
  std::string name;  // last part only
  bool is_folder = false;
};

struct NameFacts {
  bool is_folder = false;
  Id vdi;                      // of a VDI
  uint64_t folder_number = 0;  // of a folder: stable while it exists, whatever its path
  bool is_double = false;      // of a VDI: it has another name too, or just had one
  int64_t mtime_ns = 0;
  uint32_t mode = 0;
};

struct NamedVdi {
  std::string name;
  Id id;
};

class Names {
 public:
  Names(FileSystem& file_system, StoreLayout layout);

  // kNotFound (also for what can be no name), kNameTooLong, kNotDirectory (a VDI in the middle of
  // the path), kCorrupt (a name file of rubbish).
  Result<NameFacts> Lookup(const std::string& name) const;
  // The entries of a folder, sorted by bytes.
  Result<std::vector<NameEntry>> List(const std::string& folder) const;
  // Every VDI below a folder, depth first; names whose file is rubbish are reported in `damaged`
  // (may be null) and left out.
  Result<std::vector<NamedVdi>> ListAll(const std::string& folder,
                                        std::vector<std::string>* damaged) const;

  // kExists if taken (by a VDI or folder), kNotFound if the folder of the name does not exist. After
  // any error the name is not the VDI's, unless the storage refuses even that.
  Status Claim(const std::string& name, const Id& id) const;
  // kNotFound, kIsDirectory.
  Status Release(const std::string& name) const;
  // kExists if `to` is taken. The caller holds the VDI's writer lock.
  Status Rename(const std::string& from, const std::string& to) const;
  // If the VDI has two names after a crash, removes the one that is later by bytes; the caller
  // holds its writer lock. Returns the names that remain (one, or none).
  Result<std::vector<std::string>> ResolveDouble(const Id& id) const;

  Status MakeFolder(const std::string& folder) const;
  Status RemoveFolder(const std::string& folder) const;  // kNotEmpty, kNotFound, kNotDirectory
  // An empty folder at `to` is replaced, as by rename(2); kNotEmpty if it is not empty, kExists if
  // `to` is a VDI, kInvalid if it lies inside `from`.
  Status RenameFolder(const std::string& from, const std::string& to) const;

 private:
  std::string PathOf(const std::string& name) const;
  // The id in a name's file, which has these facts now. kNotFound, kCorrupt.
  Result<Id> IdIn(const std::string& path, const FileFacts& facts, const std::string& name) const;

  FileSystem& file_system_;
  const StoreLayout layout_;
  mutable SettledFiles<Id> ids_;  // by path
};

}  // namespace quoin

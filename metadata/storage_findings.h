// quoin.storage: what `quoin doctor` has found out of the storage that a store lies on, and what an
// administrator has said of it. One small file in the store's folder, replaced as a whole; the format is
// in README.md. Whoever takes a VDI over asks it whether the storage shuts a silent host out; `mount`
// asks it what to warn of.
//
// The file says which quoin.store it lies beside (its inode and when that changed last), so that what was
// found counts for nothing once the store has been copied to other storage. The same happens when the
// owner or mode of quoin.store is changed: then doctor has to run again.
//
// Functions without state, from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/file_system.h"
#include "metadata/store_layout.h"

namespace quoin {

inline constexpr size_t kMaxStorageFindings = 64;
inline constexpr size_t kMaxFindingTextBytes = 512;

// What becomes of a host that the storage has lost sight of. It fences such a host if it gives the lock
// of one of its processes to somebody else only when nothing of that host can arrive any more, through
// any descriptor, buffered or under way, until the host has been let in again with none of it.
enum class Fencing {
  kUnknown,  // counts as kNo
  kNo,
  kOneHost,  // one host only can have it mounted, so there is none to be fenced
  kYes,
};

enum class ProbeVerdict {
  kOk,
  kNote,  // something is missing that no guarantee needs
  kBad,   // a guarantee falls: no store may lie here
};

struct StorageFinding {
  std::string probe;
  ProbeVerdict verdict = ProbeVerdict::kOk;
  std::string found;      // one sentence
  std::string guarantee;  // which one falls, if bad

  bool operator==(const StorageFinding&) const = default;
};

struct StorageFindings {
  std::string examined;         // when: ISO 8601, UTC
  std::string host_name;        // by which host
  std::string filesystem;       // as the kernel names it: "ext4", "fuse.glusterfs"
  bool between_clients = false;  // from two clients of the storage, not one
  Fencing fencing = Fencing::kUnknown;
  bool fencing_is_stated = false;  // by the administrator
  std::vector<StorageFinding> findings;

  bool operator==(const StorageFindings&) const = default;
};

std::string_view ToWord(Fencing fencing);
std::string_view ToWord(ProbeVerdict verdict);

// kNotFound if doctor never ran here, kInvalid if it ran where the store lay before, kNewerFormat,
// kCorrupt; each with what to do about it.
Result<StorageFindings> ReadStorageFindings(FileSystem& file_system, const StoreLayout& layout);

// Replaces what was found before, durably. Longer texts than the limits, and more findings, are cut.
Status KeepStorageFindings(FileSystem& file_system, const StoreLayout& layout,
                           const StorageFindings& findings);

// What follows the text in the file, for tests that write files of their own.
std::string StorageFindingsChecksum(std::string_view text);

// True only if it is known that the storage fences, in the sense above. What cannot be read is not known,
// and a line in the log.
bool StorageFences(FileSystem& file_system, const StoreLayout& layout);

}  // namespace quoin

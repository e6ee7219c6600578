// The seam: every open, read, write, sync, rename, link, unlink and lock on a store goes through
// these two interfaces, SQLite's included (metadata/sqlite_vfs.h), so that a test can fail, tear,
// delay or forget any of them. PosixFileSystem is the real one; tests/support has one that loses
// everything unsynced.
//
// Paths are absolute or relative to the process; the seam does not interpret them. Durability is
// POSIX's: a file's bytes are durable after File::Sync, its name after SyncDirectory of the folder
// that holds it. Only what runs on every shared filesystem is offered: no mmap, no O_APPEND, no
// rename flags, no O_TMPFILE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "blockstore/base/error.h"

namespace quoin {

enum class Access { kRead, kReadWrite };
enum class Creation { kNever, kIfMissing, kExclusive };

struct OpenOptions {
  Access access = Access::kRead;
  Creation creation = Creation::kNever;
  uint32_t mode = 0600;  // of a file that is created
  // What is read may come with what lies after it; never in a file that is opened for writing. Pages
  // read ahead share large folios, and a small write into one is slow (tests/benchmark/README.md).
  bool read_ahead = true;
};

enum class SyncKind {
  kData,  // the bytes and what is needed to read them back (fdatasync)
  kFull,  // every attribute too (fsync)
};

enum class EntryKind { kFile, kDirectory, kOther };

// Which file a path or a handle means: equal for two hard links of one file.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

struct FileFacts {
  EntryKind kind = EntryKind::kFile;
  FileIdentity identity;
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;
  uint64_t link_count = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint32_t mode = 0;  // permission bits
};

struct SpaceFacts {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;       // including what is reserved for root
  uint64_t available_bytes = 0;  // to an ordinary user
  uint64_t total_files = 0;
  uint64_t free_files = 0;
};

struct DirectoryEntry {
  std::string name;
  EntryKind kind = EntryKind::kFile;
};

// An open file. All methods may be called from several threads at once. Destruction closes the
// file and lets go of its lock.
class File {
 public:
  virtual ~File() = default;

  // Reads up to buffer.size() bytes at `offset`; fewer only at the end of the file.
  virtual Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) = 0;

  // Writes all of `bytes` at `offset`, making the file longer where needed. On an error any part
  // may have been written.
  virtual Status Write(uint64_t offset, std::span<const std::byte> bytes) = 0;

  // Storage may begin to take what was written in [offset, offset + length). A hint: nothing is
  // durable by it, and failures are Sync's to tell.
  virtual void BeginWriteOut(uint64_t offset, uint64_t length) {
    (void)offset;
    (void)length;
  }

  virtual Status Sync(SyncKind kind) = 0;
  virtual Status Truncate(uint64_t size_bytes) = 0;

  // Makes [offset, offset + length) read as zeros and gives the space back; the size stays.
  // kUnsupported where the storage cannot.
  virtual Status PunchHole(uint64_t offset, uint64_t length) = 0;

  virtual Result<FileFacts> Facts() = 0;

  // Takes an exclusive lock on the whole file for this handle (an open-file-description lock: it
  // excludes every other handle of every process and host, those of this process included).
  // False if another handle holds it or shares it. The handle must be open for writing. A shared
  // lock of this handle becomes the exclusive one, or stays as it is if the answer is false.
  virtual Result<bool> TryLock() = 0;
  // Takes a shared lock on the whole file for this handle: any number of handles have it at once,
  // and none of them together with TryLock's. False if another handle holds that one. An exclusive
  // lock of this handle becomes a shared one. The handle must be open for reading, and all are.
  virtual Result<bool> TryLockShared() = 0;
  // Lets go of this handle's lock, of either kind; nothing happens if it has none.
  virtual Status Unlock() = 0;

  // True if another handle has a lock of either kind: if TryLock would answer false. Takes nothing.
  virtual Result<bool> IsLockedElsewhere() = 0;
};

// A filesystem. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) = 0;

  // Of the path itself; kNotFound if there is nothing.
  virtual Result<FileFacts> Facts(const std::string& path) = 0;
  virtual Result<std::vector<DirectoryEntry>> List(const std::string& path) = 0;
  virtual Result<SpaceFacts> Space(const std::string& path) = 0;

  // kExists if `to` is taken: the atomic way to claim a name.
  virtual Status Link(const std::string& from, const std::string& to) = 0;
  // Replaces a file (or an empty folder) at `to` atomically.
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  virtual Status Remove(const std::string& path) = 0;
  virtual Status MakeDirectory(const std::string& path, uint32_t mode = 0700) = 0;
  virtual Status RemoveDirectory(const std::string& path) = 0;

  // Makes the names in the folder durable.
  virtual Status SyncDirectory(const std::string& path) = 0;
};

// True if there is something at the path, false if not; other failures are passed on.
Result<bool> PathExists(FileSystem& file_system, const std::string& path);

}  // namespace quoin

#include "metadata/sqlite_vfs.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/mutex.h"
#include "metadata/database_page.h"

// Every callback is noexcept: what is thrown in one (only out of memory can be) must not cross
// SQLite's C frames.
namespace quoin {
namespace {

constexpr int kMaxPathBytes = 4096;
constexpr int kSectorSize = 4096;
constexpr size_t kSmallestPageBytes = 512;  // that SQLite could take a file to have

thread_local std::optional<Error> seam_failure;

// Keeps the seam's error for FromSqlite and gives SQLite the nearest code of its own.
int NoteFailure(Error error, int code) {
  const bool is_full = error.code == ErrorCode::kNoSpace;
  seam_failure = std::move(error);
  return is_full ? SQLITE_FULL : code;
}

int NoteStatus(const Status& status, int code) {
  return status ? SQLITE_OK : NoteFailure(status.error(), code);
}

struct SeamFile {
  sqlite3_file base{};  // first: SQLite knows only this
  FileSystem* file_system = nullptr;
  std::unique_ptr<File> file;
  std::string path;
  bool is_main = false;
  // False until the folder of a file is synced that we may have made, or that somebody made before us who
  // did not come to sync it: a power cut would take it away with all that was synced in it.
  bool name_is_durable = true;
};

SeamFile& Of(sqlite3_file* file) { return *reinterpret_cast<SeamFile*>(file); }
FileSystem& Of(sqlite3_vfs* vfs) { return *static_cast<FileSystem*>(vfs->pAppData); }
sqlite3_vfs* DefaultVfs() { return sqlite3_vfs_find(nullptr); }

int CloseFile(sqlite3_file* file) noexcept {
  Of(file).~SeamFile();
  return SQLITE_OK;
}

int CheckPage(const SeamFile& file, std::span<const std::byte> page, uint64_t offset) {
  if (page.size() == kDatabasePageBytes && offset % kDatabasePageBytes == 0 &&
      PageIsIntact(page, offset / kDatabasePageBytes)) {
    return SQLITE_OK;
  }
  return NoteFailure({ErrorCode::kCorrupt,
                      fmt::format("the page at byte {} of {} is damaged", offset, file.path),
                      {}},
                     SQLITE_IOERR_DATA);
}

int ReadFile(sqlite3_file* handle, void* bytes, int amount, sqlite3_int64 offset) noexcept {
  SeamFile& file = Of(handle);
  const std::span buffer(static_cast<std::byte*>(bytes), static_cast<size_t>(amount));
  const auto begin = static_cast<uint64_t>(offset);
  const Result<size_t> done = file.file->Read(begin, buffer);
  if (!done) return NoteFailure(done.error(), SQLITE_IOERR_READ);
  if (*done < buffer.size()) {
    std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(*done), buffer.end(), std::byte{0});
    return SQLITE_IOERR_SHORT_READ;
  }
  // Smaller reads are of the header, which is read again as part of its page.
  const bool is_page = file.is_main && buffer.size() >= kSmallestPageBytes;
  return is_page ? CheckPage(file, buffer, begin) : SQLITE_OK;
}

int WriteFile(sqlite3_file* handle, const void* bytes, int amount, sqlite3_int64 offset) noexcept {
  SeamFile& file = Of(handle);
  const std::span buffer(static_cast<const std::byte*>(bytes), static_cast<size_t>(amount));
  const auto begin = static_cast<uint64_t>(offset);
  if (!file.is_main) return NoteStatus(file.file->Write(begin, buffer), SQLITE_IOERR_WRITE);
  // In WAL mode only a checkpoint writes the main file, and it writes whole pages.
  if (buffer.size() != kDatabasePageBytes || begin % kDatabasePageBytes != 0) {
    return NoteFailure({ErrorCode::kIo,
                        fmt::format("SQLite wrote {} bytes at {} of {}, which is not one page",
                                    buffer.size(), begin, file.path),
                        {}},
                       SQLITE_IOERR_WRITE);
  }
  std::array<std::byte, kDatabasePageBytes> page;
  std::copy(buffer.begin(), buffer.end(), page.begin());
  StampPage(page, begin / kDatabasePageBytes);
  return NoteStatus(file.file->Write(begin, page), SQLITE_IOERR_WRITE);
}

// Synced at once: the one truncation is that of a WAL whose pages are all in the database, and once
// the writer lock says "clean" nothing about the database may still be on its way.
int TruncateFile(sqlite3_file* handle, sqlite3_int64 size) noexcept {
  File& file = *Of(handle).file;
  const int code =
      NoteStatus(file.Truncate(static_cast<uint64_t>(size)), SQLITE_IOERR_TRUNCATE);
  return code != SQLITE_OK ? code : NoteStatus(file.Sync(SyncKind::kFull), SQLITE_IOERR_FSYNC);
}

int SyncFile(sqlite3_file* handle, int) noexcept {
  SeamFile& file = Of(handle);
  const int code = NoteStatus(file.file->Sync(SyncKind::kData), SQLITE_IOERR_FSYNC);
  if (code != SQLITE_OK || file.name_is_durable) return code;
  const Status synced = file.file_system->SyncDirectory(ParentPath(file.path));
  file.name_is_durable = synced.has_value();
  return NoteStatus(synced, SQLITE_IOERR_DIR_FSYNC);
}

int FileSize(sqlite3_file* handle, sqlite3_int64* size) noexcept {
  const Result<FileFacts> facts = Of(handle).file->Facts();
  if (!facts) return NoteFailure(facts.error(), SQLITE_IOERR_FSTAT);
  *size = static_cast<sqlite3_int64>(facts->size_bytes);
  return SQLITE_OK;
}

// The lock was taken when the file was opened and lasts until it is closed.
int LockFile(sqlite3_file*, int) noexcept { return SQLITE_OK; }
int CheckReservedLock(sqlite3_file*, int* reserved) noexcept {
  *reserved = 0;
  return SQLITE_OK;
}

int FileControl(sqlite3_file*, int, void*) noexcept { return SQLITE_NOTFOUND; }
int SectorSize(sqlite3_file*) noexcept { return kSectorSize; }
// As SQLite itself assumes of any disk: writing some bytes of a sector never harms the others.
int DeviceCharacteristics(sqlite3_file*) noexcept { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

// Version 1: no shared memory and no mapping.
constexpr sqlite3_io_methods kFileMethods = {1,
                                             CloseFile,
                                             ReadFile,
                                             WriteFile,
                                             TruncateFile,
                                             SyncFile,
                                             FileSize,
                                             LockFile,
                                             LockFile,
                                             CheckReservedLock,
                                             FileControl,
                                             SectorSize,
                                             DeviceCharacteristics,
                                             nullptr,
                                             nullptr,
                                             nullptr,
                                             nullptr,
                                             nullptr,
                                             nullptr};

Result<std::unique_ptr<File>> OpenLocked(FileSystem& file_system, const std::string& path,
                                         OpenOptions options) {
  QUOIN_ASSIGN(std::unique_ptr<File> file, file_system.Open(path, options));
  if (options.access == Access::kRead) return file;
  QUOIN_ASSIGN(const bool locked, file->TryLock());
  if (!locked) {
    return Fail(ErrorCode::kBusy, fmt::format("{} is locked by another process", path));
  }
  return file;
}

int OpenFile(sqlite3_vfs* vfs, const char* name, sqlite3_file* handle, int flags,
             int* out_flags) noexcept {
  handle->pMethods = nullptr;  // so that SQLite does not close what did not open
  if (name == nullptr) {
    return NoteFailure({ErrorCode::kUnsupported, "SQLite asked for a temporary file", {}},
                       SQLITE_CANTOPEN);
  }
  const std::string path = name;
  OpenOptions options;
  if ((flags & SQLITE_OPEN_READWRITE) != 0) options.access = Access::kReadWrite;
  const bool may_create = (flags & SQLITE_OPEN_CREATE) != 0;
  if (may_create) {
    options.creation =
        (flags & SQLITE_OPEN_EXCLUSIVE) != 0 ? Creation::kExclusive : Creation::kIfMissing;
  }
  Result<std::unique_ptr<File>> file = OpenLocked(Of(vfs), path, options);
  if (!file) {
    const bool busy = file.error().code == ErrorCode::kBusy;
    return NoteFailure(file.error(), busy ? SQLITE_BUSY : SQLITE_CANTOPEN);
  }
  SeamFile* opened = new (handle) SeamFile;
  opened->file_system = &Of(vfs);
  opened->file = *std::move(file);
  opened->path = path;
  opened->is_main = (flags & SQLITE_OPEN_MAIN_DB) != 0;
  opened->name_is_durable = !may_create;
  opened->base.pMethods = &kFileMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int DeleteFile(sqlite3_vfs* vfs, const char* name, int sync_folder) noexcept {
  const Status removed = Of(vfs).Remove(name);
  if (!removed && removed.error().code == ErrorCode::kNotFound) return SQLITE_IOERR_DELETE_NOENT;
  if (!removed) return NoteFailure(removed.error(), SQLITE_IOERR_DELETE);
  if (sync_folder == 0) return SQLITE_OK;
  return NoteStatus(Of(vfs).SyncDirectory(ParentPath(name)), SQLITE_IOERR_DIR_FSYNC);
}

int AccessFile(sqlite3_vfs* vfs, const char* name, int, int* answer) noexcept {
  const Result<bool> exists = PathExists(Of(vfs), name);
  if (!exists) return NoteFailure(exists.error(), SQLITE_IOERR_ACCESS);
  *answer = *exists ? 1 : 0;
  return SQLITE_OK;
}

int FullPath(sqlite3_vfs*, const char* name, int room, char* out) noexcept {
  const size_t length = std::strlen(name);
  if (length + 1 > static_cast<size_t>(room)) return SQLITE_CANTOPEN;
  std::memcpy(out, name, length + 1);
  return SQLITE_OK;
}

int Randomness(sqlite3_vfs*, int amount, char* out) noexcept {
  return DefaultVfs()->xRandomness(DefaultVfs(), amount, out);
}
int Sleep(sqlite3_vfs*, int microseconds) noexcept {
  return DefaultVfs()->xSleep(DefaultVfs(), microseconds);
}
int CurrentTime(sqlite3_vfs*, double* out) noexcept {
  return DefaultVfs()->xCurrentTime(DefaultVfs(), out);
}
int GetLastError(sqlite3_vfs*, int, char*) noexcept { return 0; }

// SQLite's list of VFSs holds these for the life of the process.
struct SeamVfs {
  sqlite3_vfs base{};
  std::string name;
};

}  // namespace

std::string RegisterSeamVfs(FileSystem& file_system) {
  std::string name = fmt::format("quoin-{}", fmt::ptr(&file_system));
  static Mutex registering{LockRank::kLeaf};
  const MutexLock lock(registering);
  if (sqlite3_vfs_find(name.c_str()) != nullptr) return name;

  auto vfs = std::make_unique<SeamVfs>();
  vfs->name = name;
  sqlite3_vfs& base = vfs->base;
  base.iVersion = 1;
  base.szOsFile = sizeof(SeamFile);
  base.mxPathname = kMaxPathBytes;
  base.zName = vfs->name.c_str();
  base.pAppData = &file_system;
  base.xOpen = OpenFile;
  base.xDelete = DeleteFile;
  base.xAccess = AccessFile;
  base.xFullPathname = FullPath;
  base.xRandomness = Randomness;
  base.xSleep = Sleep;
  base.xCurrentTime = CurrentTime;
  base.xGetLastError = GetLastError;
  if (sqlite3_vfs_register(&base, /*makeDflt=*/0) == SQLITE_OK) (void)vfs.release();
  return name;
}

void ForgetSeamFailure() { seam_failure.reset(); }

std::optional<Error> TakeSeamFailure() { return std::exchange(seam_failure, std::nullopt); }

}  // namespace quoin

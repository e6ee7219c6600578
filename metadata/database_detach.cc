#include "metadata/database_detach.h"

#include <fmt/format.h>

#include <span>

#include "blockstore/base/atomic_file.h"
#include "metadata/vdi_database.h"

namespace quoin {
namespace {

constexpr uint64_t kMaxDatabaseBytes = uint64_t{4} << 30;
constexpr int kCopyAttempts = 16;

std::string WalOf(const std::string& path) { return path + "-wal"; }

Result<std::string> ReadIfThere(FileSystem& file_system, const std::string& path) {
  Result<std::string> bytes = ReadWholeFile(file_system, path, kMaxDatabaseBytes);
  if (!bytes && bytes.error().code == ErrorCode::kNotFound) return std::string();
  return bytes;
}

Status WriteNew(FileSystem& file_system, const std::string& path, const std::string& bytes) {
  QUOIN_ASSIGN(const std::unique_ptr<File> file,
               file_system.Open(path, {Access::kReadWrite, Creation::kExclusive, 0600}));
  return file->Write(0, std::as_bytes(std::span(bytes)));
}

// The two files as they were at one moment, but for what the WAL may have more. The old owner may be in
// the midst of one write: a WAL that was begun anew between the two readings would lack what the
// database's copy lacks too.
Status CopyBoth(FileSystem& file_system, const std::string& path, const std::string& temporary) {
  for (int attempt = 1;; ++attempt) {
    QUOIN_ASSIGN(const std::string before, ReadIfThere(file_system, WalOf(path)));
    QUOIN_ASSIGN(const std::string database, ReadWholeFile(file_system, path, kMaxDatabaseBytes));
    QUOIN_ASSIGN(const std::string wal, ReadIfThere(file_system, WalOf(path)));
    if (wal.starts_with(before) && (!before.empty() || wal.empty())) {
      QUOIN_TRY(WriteNew(file_system, temporary, database));
      return wal.empty() ? Status() : WriteNew(file_system, WalOf(temporary), wal);
    }
    if (attempt == kCopyAttempts) {
      return Fail(ErrorCode::kBusy, fmt::format("{} is being written by another process", path));
    }
  }
}

}  // namespace

Status DetachDatabase(FileSystem& file_system, const std::string& path,
                      const std::string& temporary) {
  const auto forget = [&] {
    (void)file_system.Remove(temporary);
    (void)file_system.Remove(WalOf(temporary));
  };
  const auto copy = [&]() -> Status {
    QUOIN_TRY(CopyBoth(file_system, path, temporary));
    QUOIN_ASSIGN(const std::unique_ptr<VdiDatabase> database,
                 VdiDatabase::Open(file_system, temporary));
    QUOIN_TRY(database->CheckAll());
    return database->Checkpoint();
  };
  for (int attempt = 1;; ++attempt) {
    const Status copied = copy();
    if (copied) break;
    forget();
    // Half a write of the old owner may be in the copy; the whole one is there when we look again.
    if (copied.error().code != ErrorCode::kCorrupt || attempt == kCopyAttempts) return copied;
  }
  const auto replace = [&]() -> Status {
    QUOIN_ASSIGN(const std::unique_ptr<File> file,
                 file_system.Open(temporary, {Access::kReadWrite}));
    QUOIN_TRY(file->Sync(SyncKind::kFull));
    return file_system.Rename(temporary, path);
  };
  const Status replaced = replace();
  forget();
  QUOIN_TRY(replaced);
  const Status removed = file_system.Remove(WalOf(path));
  if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  return file_system.SyncDirectory(ParentPath(path));
}

}  // namespace quoin

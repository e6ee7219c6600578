#include "metadata/lock_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <string_view>

#include "blockstore/base/block.h"
#include "metadata/writer_lock_record.h"

namespace quoin {
namespace {

constexpr std::string_view kSupersededMark = "superseded\n";  // frozen: on disk
constexpr std::string_view kLockFileName = "writer.lock";
constexpr std::string_view kUnfinished = ".unfinished-";

// The number in a lock file's name.
std::optional<uint64_t> NumberOf(std::string_view name) {
  if (!name.starts_with(kLockFileName)) return std::nullopt;
  name.remove_prefix(kLockFileName.size());
  if (name.empty()) return 0;
  uint64_t number = 0;
  const char* const end = name.data() + name.size();
  const auto [parsed, error] = std::from_chars(name.data() + 1, end, number);
  if (name.front() != '.' || error != std::errc() || parsed != end || number == 0) {
    return std::nullopt;
  }
  return number;
}

}  // namespace

Result<LockFileContent> ReadLockFile(File& file) {
  std::array<char, 2 * kSectorBytes + 1> bytes;  // one more, to see that there is no more
  QUOIN_ASSIGN(const size_t done, file.Read(0, std::as_writable_bytes(std::span(bytes))));
  const std::string_view all(bytes.data(), done);
  const std::string_view mark = all.substr(std::min<size_t>(done, kSectorBytes));
  LockFileContent content;
  content.superseded = mark.starts_with(kSupersededMark);
  if (mark.empty() || mark == kSupersededMark) {
    content.record = DecodeLockRecord(all.substr(0, kSectorBytes));
  }
  return content;
}

Status WriteLockRecord(File& file, const LockRecord& record) {
  const std::string bytes = EncodeLockRecord(record);
  QUOIN_TRY(file.Write(0, std::as_bytes(std::span(bytes))));
  return file.Sync(SyncKind::kData);
}

Status MarkSuperseded(File& file) {
  QUOIN_TRY(file.Write(kSectorBytes, std::as_bytes(std::span(kSupersededMark))));
  return file.Sync(SyncKind::kData);
}

Result<uint64_t> NewestLockFile(FileSystem& file_system, const std::string& vdi_folder) {
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, file_system.List(vdi_folder));
  std::optional<uint64_t> newest;
  for (const DirectoryEntry& entry : entries) {
    const std::optional<uint64_t> number = NumberOf(entry.name);
    if (number && (!newest || *number > *newest)) newest = number;
  }
  if (newest) return *newest;
  return Fail(ErrorCode::kNotFound,
              fmt::format("{} is missing", StoreLayout::WriterLock(vdi_folder)));
}

Result<OpenedLock> OpenLocked(FileSystem& file_system, const std::string& vdi_folder,
                              uint64_t number) {
  const std::string path = StoreLayout::WriterLock(vdi_folder, number);
  OpenedLock opened;
  QUOIN_ASSIGN(opened.file, file_system.Open(path, {Access::kReadWrite}));
  QUOIN_ASSIGN(const bool locked, opened.file->TryLock());
  QUOIN_ASSIGN(opened.content, ReadLockFile(*opened.file));
  if (!locked) {
    opened.file.reset();
    return opened;
  }
  // The VDI may have been removed, or removed and made anew, between the opening and the lock; and a
  // newer lock file made.
  QUOIN_ASSIGN(const FileFacts named, file_system.Facts(path));
  QUOIN_ASSIGN(const FileFacts here, opened.file->Facts());
  QUOIN_ASSIGN(const uint64_t newest, NewestLockFile(file_system, vdi_folder));
  if (named.identity != here.identity || newest != number || opened.content.superseded) {
    opened.file.reset();
  }
  return opened;
}

Result<std::unique_ptr<File>> MakeNewerLockFile(FileSystem& file_system,
                                                const std::string& vdi_folder, uint64_t number,
                                                const LockRecord& record) {
  const std::string path = StoreLayout::WriterLock(vdi_folder, number);
  const std::string temporary =
      fmt::format("{}/{}{}{}", vdi_folder, kLockFileName, kUnfinished, Id::Random().ToString());
  const auto make = [&]() -> Result<std::unique_ptr<File>> {
    QUOIN_ASSIGN(std::unique_ptr<File> file,
                 file_system.Open(temporary, {Access::kReadWrite, Creation::kExclusive, 0600}));
    QUOIN_ASSIGN(const bool locked, file->TryLock());
    if (!locked) return std::unique_ptr<File>();
    QUOIN_TRY(WriteLockRecord(*file, record));
    const Status linked = file_system.Link(temporary, path);
    if (!linked && linked.error().code == ErrorCode::kExists) return std::unique_ptr<File>();
    QUOIN_TRY(linked);
    return file;
  };
  Result<std::unique_ptr<File>> made = make();
  (void)file_system.Remove(temporary);
  if (!made || *made == nullptr) return made;
  QUOIN_TRY(file_system.SyncDirectory(vdi_folder));
  // Only the newest counts: somebody may have succeeded in turn whom we would have succeeded.
  QUOIN_ASSIGN(const uint64_t newest, NewestLockFile(file_system, vdi_folder));
  if (newest == number) return made;
  (void)file_system.Remove(path);
  return std::unique_ptr<File>();
}

// "<seq>-<epoch>", "<seq>-<epoch>.owned"
Result<uint64_t> HighestLayerEpoch(FileSystem& file_system, const std::string& vdi_folder) {
  const auto entries = file_system.List(StoreLayout::Layers(vdi_folder));
  if (!entries && entries.error().code == ErrorCode::kNotFound) return 0;
  if (!entries) return Failure(entries.error());
  uint64_t highest = 0;
  for (const DirectoryEntry& entry : *entries) {
    const size_t dash = entry.name.find('-');
    if (dash == std::string::npos) continue;
    uint64_t epoch = 0;
    const char* end = entry.name.data() + entry.name.size();
    if (std::from_chars(entry.name.data() + dash + 1, end, epoch).ec == std::errc()) {
      highest = std::max(highest, epoch);
    }
  }
  return highest;
}

}  // namespace quoin

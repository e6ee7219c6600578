#include "blockstore/base/atomic_file.h"

#include <fmt/format.h>

namespace quoin {
namespace {

Status WriteTemporary(FileSystem& file_system, const std::string& temporary,
                      std::string_view bytes) {
  QUOIN_ASSIGN(const std::unique_ptr<File> file,
               file_system.Open(temporary, {Access::kReadWrite, Creation::kExclusive, 0600}));
  QUOIN_TRY(file->Write(0, std::as_bytes(std::span(bytes))));
  return file->Sync(SyncKind::kFull);
}

}  // namespace

std::string ParentPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<std::string> ReadWholeFile(FileSystem& file_system, const std::string& path,
                                  uint64_t limit_bytes) {
  QUOIN_ASSIGN(const std::unique_ptr<File> file, file_system.Open(path, {}));
  QUOIN_ASSIGN(const FileFacts facts, file->Facts());
  if (facts.size_bytes > limit_bytes) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} has {} bytes; at most {} are expected", path,
                                                 facts.size_bytes, limit_bytes));
  }
  std::string bytes(facts.size_bytes, '\0');
  QUOIN_ASSIGN(const size_t done, file->Read(0, std::as_writable_bytes(std::span(bytes))));
  bytes.resize(done);
  return bytes;
}

Status ReplaceFile(FileSystem& file_system, const std::string& path, const std::string& temporary,
                   std::string_view bytes) {
  Status status = WriteTemporary(file_system, temporary, bytes);
  if (status) status = file_system.Rename(temporary, path);
  if (!status) {
    (void)file_system.Remove(temporary);  // the first error is the one that counts
    return status;
  }
  return file_system.SyncDirectory(ParentPath(path));
}

Status PublishNewFile(FileSystem& file_system, const std::string& path,
                      const std::string& temporary, std::string_view bytes) {
  Status status = WriteTemporary(file_system, temporary, bytes);
  if (status) status = file_system.Link(temporary, path);
  (void)file_system.Remove(temporary);
  if (!status) return status;
  return file_system.SyncDirectory(ParentPath(path));
}

}  // namespace quoin

#include "metadata/published.h"

#include <fmt/format.h>

#include "blockstore/base/atomic_file.h"
#include "metadata/database_image.h"

namespace quoin {
namespace {

// A reader on a network filesystem can find its file replaced under it (ESTALE, ENOENT); a new open
// sees the new one.
constexpr int kReadAttempts = 3;

bool MayHaveBeenReplaced(FileSystem& file_system, const std::string& path, const Error& error) {
  if (error.code == ErrorCode::kLostOwnership) return true;
  return error.code == ErrorCode::kNotFound && file_system.Facts(path);
}

}  // namespace

Status WritePublished(FileSystem& file_system, const StoreLayout& layout,
                      const std::string& vdi_folder, const VdiState& state) {
  QUOIN_ASSIGN(const std::string bytes, EncodeDatabase(state, JournalForm::kRollback));
  return ReplaceFile(file_system, StoreLayout::Published(vdi_folder), layout.NewTemporary(), bytes);
}

Result<VdiState> ReadPublished(FileSystem& file_system, const std::string& vdi_folder) {
  const std::string path = StoreLayout::Published(vdi_folder);
  Result<std::string> bytes = ReadWholeFile(file_system, path, kMaxDatabaseImageBytes);
  for (int attempt = 1; attempt < kReadAttempts; ++attempt) {
    if (bytes || !MayHaveBeenReplaced(file_system, path, bytes.error())) break;
    bytes = ReadWholeFile(file_system, path, kMaxDatabaseImageBytes);
  }
  if (!bytes) return Failure(bytes.error());
  Result<VdiState> state = DecodeDatabase(*bytes, path);
  if (!state && state.error().code == ErrorCode::kCorrupt) {
    state.error().next = "open the VDI for writing once: that publishes it again from its vdi.db";
  }
  return state;
}

}  // namespace quoin

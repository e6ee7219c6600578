#include "metadata/reserve_file.h"

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace quoin {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
// A small disk puts by less than a large one; of less than so much no collection could make use.
constexpr uint64_t kShareOfRoom = 16;
constexpr uint64_t kLeastBytes = uint64_t{64} << 10;

Status Fill(FileSystem& file_system, const std::string& path, uint64_t bytes) {
  QUOIN_ASSIGN(const std::unique_ptr<File> file,
               file_system.Open(path, {Access::kReadWrite, Creation::kExclusive, 0600}));
  std::mt19937_64 random(bytes);  // any bytes that do not compress
  std::vector<uint64_t> piece(kPieceBytes / sizeof(uint64_t));
  for (uint64_t at = 0; at < bytes; at += kPieceBytes) {
    std::generate(piece.begin(), piece.end(), std::ref(random));
    const auto part =
        std::as_bytes(std::span(piece)).first(std::min<uint64_t>(kPieceBytes, bytes - at));
    QUOIN_TRY(file->Write(at, part));
  }
  return file->Sync(SyncKind::kFull);
}

}  // namespace

Status MakeReserve(FileSystem& file_system, const StoreLayout& layout, uint64_t bytes) {
  QUOIN_ASSIGN(const bool exists, PathExists(file_system, layout.CollectionReserve()));
  if (exists || bytes == 0) return {};
  QUOIN_ASSIGN(const SpaceFacts space, file_system.Space(layout.root()));
  bytes = std::min(bytes, space.available_bytes / kShareOfRoom);
  if (bytes < kLeastBytes) return {};
  const std::string temporary = layout.NewTemporary();
  Status made = Fill(file_system, temporary, bytes);
  if (made) made = file_system.Rename(temporary, layout.CollectionReserve());
  if (!made) {
    (void)file_system.Remove(temporary);
    return made;
  }
  return file_system.SyncDirectory(layout.Collection());
}

Result<bool> RemoveReserve(FileSystem& file_system, const StoreLayout& layout) {
  const Status removed = file_system.Remove(layout.CollectionReserve());
  if (!removed && removed.error().code == ErrorCode::kNotFound) return false;
  QUOIN_TRY(removed);
  return true;
}

}  // namespace quoin

#include "blockstore/layers/layer_detach.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace quoin {
namespace {

constexpr uint64_t kCopyBytes = uint64_t{1} << 20;
constexpr uint64_t kSegmentBlocks = kLayerSegmentBytes / kBlockBytes;

// The data blocks [first, first + count) of a segment, which begins at its block 0 here.
Status CopyRun(File& from, File& to, uint64_t first, uint64_t count, uint64_t file_bytes,
               std::vector<std::byte>& buffer, const std::string& path) {
  const uint64_t end = std::min((first + count) * kBlockBytes, file_bytes);
  for (uint64_t at = first * kBlockBytes; at < end;) {
    const std::span<std::byte> piece = std::span(buffer).first(std::min(end - at, kCopyBytes));
    QUOIN_ASSIGN(const size_t done, from.Read(at, piece));
    if (done != piece.size()) {
      return Fail(ErrorCode::kCorrupt, fmt::format("{} ends before its data does", path));
    }
    QUOIN_TRY(to.Write(at, piece));
    at += done;
  }
  return {};
}

}  // namespace

Status DetachLayerFiles(FileSystem& file_system, const Layer::Location& location,
                        const OwnershipSet& owned,
                        const std::function<std::string()>& new_temporary) {
  std::vector<std::byte> buffer(kCopyBytes);
  for (uint64_t segment = 0; segment < kMaxLayerSegments; ++segment) {
    const std::string path = Layer::SegmentPath(location, segment);
    const Result<std::unique_ptr<File>> from = file_system.Open(path, {});
    // Later files exist only where they were written; opening the layer tells if one is missing.
    if (!from && from.error().code == ErrorCode::kNotFound && segment > 0) continue;
    if (!from) return Failure(from.error());
    QUOIN_ASSIGN(const FileFacts facts, (*from)->Facts());
    const std::string temporary = new_temporary();
    const auto copy = [&]() -> Status {
      QUOIN_ASSIGN(const std::unique_ptr<File> to,
                   file_system.Open(temporary, {Access::kReadWrite, Creation::kExclusive, 0600}));
      const uint64_t first = segment * kSegmentBlocks;
      Status status;
      owned.ForEachRun(first, first + kSegmentBlocks,
                       [&](uint64_t at, uint64_t count, BlockState state) {
                         if (!status || state != BlockState::kData) return;
                         status = CopyRun(**from, *to, at - first, count, facts.size_bytes, buffer,
                                          path);
                       });
      QUOIN_TRY(status);
      QUOIN_TRY(to->Truncate(facts.size_bytes));
      QUOIN_TRY(to->Sync(SyncKind::kFull));
      return file_system.Rename(temporary, path);
    };
    if (const Status copied = copy(); !copied) {
      (void)file_system.Remove(temporary);
      return copied;
    }
  }
  return file_system.SyncDirectory(location.folder);
}

}  // namespace quoin

// Requests that read and write the data of open files.
#include <fmt/format.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "blockstore/base/block.h"
#include "fuse/operations.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

// Direct I/O goes in sectors, as on a disk and on a local file. QEMU finds out by trying which
// alignment a file needs, and passes its guest's requests on unchanged only if it sees 512.
bool IsMisaligned(int flags, off_t offset, size_t size_bytes) {
  return (flags & O_DIRECT) != 0 && (static_cast<uint64_t>(offset) | size_bytes) % kSectorBytes != 0;
}

// A close was not the last thing that happened to it after all.
void MarkUsed(FileHandle& handle) {
  if (handle.flushed.load(std::memory_order_relaxed)) {
    handle.flushed.store(false, std::memory_order_relaxed);
  }
}

uint64_t RoundUpToSector(uint64_t bytes) {
  return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

void CountMoved(size_t bytes) {
  if (WorkerBuffer* const buffer = CurrentWorkerBuffer()) buffer->moved_bytes = bytes;
}

void ReadText(Request request, const std::string& text, size_t size_bytes, off_t offset) {
  const size_t begin = std::min(text.size(), static_cast<size_t>(offset));
  const std::span<const char> all(text);
  request.AnswerData(std::as_bytes(all.subspan(begin, std::min(size_bytes, text.size() - begin))));
}

}  // namespace

void Operations::Read(Request request, fuse_ino_t, size_t size_bytes, off_t offset,
                      fuse_file_info* file) {
  FileHandle* const found = FileOf(request, file);
  if (found == nullptr) return;
  FileHandle& handle = *found;
  if (handle.image == nullptr) {
    return ReadText(std::move(request), handle.text, size_bytes, offset);
  }
  WorkerBuffer& buffer = *CurrentWorkerBuffer();
  if (size_bytes > buffer.read_buffer.size() || IsMisaligned(file->flags, offset, size_bytes)) {
    return request.Refuse(EINVAL);
  }
  MarkUsed(handle);
  const std::span<std::byte> room = buffer.read_buffer.first(size_bytes);
  const Result<size_t> got = handle.image->Read(static_cast<uint64_t>(offset), room);
  if (!got) return request.Refuse(got.error());
  buffer.moved_bytes = *got;
  metrics_.CountReadBytes(*got);
  request.AnswerData(room.first(*got));
}

Status Operations::WriteOrShare(FileHandle& handle, uint64_t offset,
                                std::span<const std::byte> bytes) {
  if (handle.copy != nullptr && !handle.copy->is_over()) {
    const std::span<std::byte> room = CurrentWorkerBuffer()->read_buffer;
    if (bytes.size() <= room.size() && handle.copy->Share(handle.vdi, offset, bytes, room)) {
      return {};
    }
  }
  return handle.vdi->Write(offset, bytes);
}

void Operations::Write(Request request, fuse_ino_t, const char* data, size_t size_bytes,
                       off_t offset, fuse_file_info* file) {
  FileHandle* const found = FileOf(request, file);
  if (found == nullptr) return;
  FileHandle& handle = *found;
  if (!handle.writable) return request.Refuse(EROFS);
  if (IsMisaligned(file->flags, offset, size_bytes)) return request.Refuse(EINVAL);
  MarkUsed(handle);
  const Status written = WriteOrShare(handle, static_cast<uint64_t>(offset),
                                      std::as_bytes(std::span(data, size_bytes)));
  if (!written) return request.Refuse(written.error());
  CountMoved(size_bytes);
  metrics_.CountWrittenBytes(size_bytes);
  // Pages that the kernel writes back by itself have their fsync still before them.
  const bool is_synchronous = (file->flags & (O_SYNC | O_DSYNC)) != 0 && file->writepage == 0;
  if (!is_synchronous) return FinishWrite(std::move(request), handle, offset, size_bytes);
  lanes_.flushes.Post([this, &handle, offset, size_bytes, request = std::move(request)]() mutable {
    const Status flushed = handle.vdi->Flush();
    if (!flushed) return request.Refuse(flushed.error());
    FinishWrite(std::move(request), handle, offset, size_bytes);
  });
}

// A direct write goes past the kernel's pages. It drops those of the range before it sends the write,
// but a cached reader may have brought old bytes back since; whoever has the file open cached must
// not see them once the write has returned. (Files that are opened later drop all their pages.)
void Operations::FinishWrite(Request request, FileHandle& handle, off_t offset,
                             size_t size_bytes) {
  if (handle.uses_page_cache || handle.node->cached_handles.load() == 0) {
    return request.AnswerCount(size_bytes);
  }
  notifier_.DropPages(handle.node->number, static_cast<uint64_t>(offset), size_bytes,
                      [size_bytes, request = std::move(request)]() mutable {
                        request.AnswerCount(size_bytes);
                      });
}

void Operations::Sync(Request request, fuse_ino_t, int, fuse_file_info* file) {
  FileHandle* const found = FileOf(request, file);
  if (found == nullptr) return;
  FileHandle& handle = *found;
  if (!handle.vdi) return request.Done();  // a snapshot is durable since it was taken
  lanes_.flushes.Post([&handle, request = std::move(request)]() mutable {
    request.Done(handle.vdi->Flush());
  });
}

Status Operations::AllocateIn(FileHandle& handle, int mode, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  const bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
      break;  // space is taken when data is written, so there is nothing to take beforehand
    case FALLOC_FL_PUNCH_HOLE:
      // The kernel lets it through with KEEP_SIZE only. Past the end there is nothing to do, and a
      // copy under way, whose holes cp makes like this, is not to be disturbed.
      if (offset >= handle.vdi->size_bytes()) return {};
      return handle.vdi->Zero(offset, length);
    case FALLOC_FL_ZERO_RANGE:
      QUOIN_TRY(handle.vdi->Zero(offset, length));
      break;
    default:
      return Fail(ErrorCode::kUnsupported, fmt::format("fallocate has no mode {:#x} here", mode));
  }
  if (keeps_size || end <= handle.vdi->size_bytes()) return {};
  if (end > kMaxVdiBytes) return Fail(ErrorCode::kTooLarge, "a VDI has at most 256 TiB");
  const CacheNotifier::OwnChange own;
  return store_.ResizeVdi(handle.vdi->id(), RoundUpToSector(end), false, true);
}

void Operations::Allocate(Request request, fuse_ino_t, int mode, off_t offset, off_t length,
                          fuse_file_info* file) {
  FileHandle* const found = FileOf(request, file);
  if (found == nullptr) return;
  FileHandle& handle = *found;
  if (!handle.writable) return request.Refuse(EROFS);
  MarkUsed(handle);
  lanes_.flushes.Post([this, &handle, mode, offset, length, request = std::move(request)]() mutable {
    request.Done(AllocateIn(handle, mode, static_cast<uint64_t>(offset),
                            static_cast<uint64_t>(length)));
  });
}

void Operations::Seek(Request request, fuse_ino_t, off_t offset, int whence,
                      fuse_file_info* file) {
  FileHandle* const found = FileOf(request, file);
  if (found == nullptr) return;
  FileHandle& handle = *found;
  if (handle.image == nullptr || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
    return request.Refuse(EINVAL);
  }
  if (offset < 0) return request.Refuse(ENXIO);
  const auto from = static_cast<uint64_t>(offset);
  const Result<uint64_t> border =
      whence == SEEK_DATA ? handle.image->SeekData(from) : handle.image->SeekHole(from);
  if (border) {
    request.AnswerOffset(*border);
  } else {
    request.Refuse(border.error());
  }
}

void Operations::CopyRange(Request request, fuse_ino_t, off_t source_offset,
                           fuse_file_info* source_file, fuse_ino_t, off_t target_offset,
                           fuse_file_info* target_file, size_t length, int flags) {
  FileHandle* const found_source = FileOf(request, source_file);
  if (found_source == nullptr) return;
  FileHandle* const found_target = FileOf(request, target_file);
  if (found_target == nullptr) return;
  FileHandle& source = *found_source;
  FileHandle& target = *found_target;
  if (!target.writable) return request.Refuse(EROFS);
  if (flags != 0) return request.Refuse(EINVAL);
  if (source.image == nullptr) return request.Refuse(EOPNOTSUPP);  // then the kernel copies itself
  MarkUsed(target);
  const Store::CopySource from{source.node->key.vdi, source.node->key.snapshot};
  lanes_.changes.Post([this, from, source_offset, &target, target_offset, length,
              request = std::move(request)]() mutable {
    const CacheNotifier::OwnChange own;
    const Result<uint64_t> copied =
        store_.CopyRange(from, static_cast<uint64_t>(source_offset), target.vdi,
                         static_cast<uint64_t>(target_offset), length);
    if (copied) {
      request.AnswerCount(*copied);
    } else {
      request.Refuse(copied.error());
    }
  });
}

}  // namespace quoin

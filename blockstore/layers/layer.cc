#include "blockstore/layers/layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace quoin {
namespace {

constexpr std::string_view kOwnershipSuffix = ".owned";

// Of six thousand blocks scattered over 256 MiB about ninety, measured as in snapshots/README.md.
constexpr uint64_t kWriteOutPieceBytes = uint64_t{4} << 20;

}  // namespace

std::string Layer::SegmentPath(const Location& location, uint64_t segment) {
  if (segment == 0) return location.folder + "/" + location.name;
  return fmt::format("{}/{}.{}", location.folder, location.name, segment);
}

std::string Layer::OwnershipPath(const Location& location) {
  return fmt::format("{}/{}{}", location.folder, location.name, kOwnershipSuffix);
}

std::string Layer::NameOfFile(const std::string& file_name) {
  return file_name.substr(0, file_name.find('.'));
}

Layer::Layer(FileSystem& file_system, Location location, uint64_t size_bytes,
             std::unique_ptr<OwnershipSet> ownership, Role role)
    : file_system_(file_system),
      location_(std::move(location)),
      ownership_(std::move(ownership)),
      role_(role),
      size_bytes_(size_bytes) {}

uint64_t Layer::SegmentSizeOf(uint64_t segment, uint64_t layer_bytes) const {
  const uint64_t start = segment * kLayerSegmentBytes;
  return layer_bytes <= start ? 0 : std::min(layer_bytes - start, kLayerSegmentBytes);
}

Result<std::unique_ptr<Layer>> Layer::Create(FileSystem& file_system, Location location,
                                             uint64_t size_bytes,
                                             std::unique_ptr<OwnershipSet> ownership) {
  std::unique_ptr<Layer> layer(new Layer(file_system, std::move(location), size_bytes,
                                         std::move(ownership), Role::kHead));
  QUOIN_ASSIGN(std::unique_ptr<File> file, layer->CreateSegment(0));
  MutexLock lock(layer->segments_mutex_);
  layer->open_segments_[0].store(file.get(), std::memory_order_release);
  layer->segments_[0] = std::move(file);
  return layer;
}

Result<std::unique_ptr<Layer>> Layer::Open(FileSystem& file_system, Location location,
                                           uint64_t size_bytes,
                                           std::unique_ptr<OwnershipSet> ownership, Role role) {
  std::unique_ptr<Layer> layer(
      new Layer(file_system, std::move(location), size_bytes, std::move(ownership), role));
  QUOIN_TRY(layer->OpenSegments());
  return layer;
}

Status Layer::OpenSegments() {
  OpenOptions options;
  options.access = role_ == Role::kHead ? Access::kReadWrite : Access::kRead;
  options.read_ahead = role_ == Role::kFrozen;
  MutexLock lock(segments_mutex_);
  for (uint64_t segment = 0; segment < kMaxLayerSegments; ++segment) {
    if (segment > 0 && SegmentSizeOf(segment, size_bytes_) == 0) break;
    const std::string path = SegmentPath(location_, segment);
    Result<std::unique_ptr<File>> file = file_system_.Open(path, options);
    if (!file && file.error().code == ErrorCode::kNotFound) {
      const uint64_t first = segment * kLayerSegmentBytes / kBlockBytes;
      const uint64_t blocks = kLayerSegmentBytes / kBlockBytes;
      bool has_data = segment == 0;  // the first file is always there
      ownership_->ForEachRun(first, first + blocks, [&](uint64_t, uint64_t, BlockState state) {
        has_data |= state == BlockState::kData;
      });
      if (!has_data) continue;
      return Fail(ErrorCode::kCorrupt, fmt::format("{} is missing", path),
                  "restore this file from a backup of the store, or roll the VDI back to a "
                  "snapshot that does not need it");
    }
    if (!file) return Failure(file.error());
    if (role_ == Role::kHead) {
      QUOIN_ASSIGN(const bool locked, (*file)->TryLock());
      if (!locked) {
        return Fail(ErrorCode::kBusy, fmt::format("{} is locked by another process", path));
      }
    }
    QUOIN_TRY(CheckSegmentLength(segment, **file));
    open_segments_[segment].store(file->get(), std::memory_order_release);
    segments_[segment] = std::move(*file);
  }
  return {};
}

Status Layer::CheckSegmentLength(uint64_t segment, File& file) const {
  QUOIN_ASSIGN(const FileFacts facts, file.Facts());
  // Bytes up to which the file must reach: the end of its last data block, cut at the layer's size.
  const uint64_t first = segment * kLayerSegmentBytes / kBlockBytes;
  uint64_t needed = 0;
  ownership_->ForEachRun(first, first + kLayerSegmentBytes / kBlockBytes,
                         [&](uint64_t at, uint64_t count, BlockState state) {
                           if (state == BlockState::kData) needed = (at + count - first) * kBlockBytes;
                         });
  needed = std::min(needed, SegmentSizeOf(segment, size_bytes_));
  if (facts.size_bytes < needed) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} has {} bytes, but data was recorded up to byte {}",
                            SegmentPath(location_, segment), facts.size_bytes, needed),
                "restore this file from a backup of the store, or roll the VDI back to a snapshot "
                "that does not need it");
  }
  const uint64_t wanted = SegmentSizeOf(segment, size_bytes_);
  if (role_ == Role::kHead && facts.size_bytes != wanted) {
    return file.Truncate(wanted);  // a crash came between recording a size and setting it
  }
  return {};
}

Result<std::unique_ptr<File>> Layer::CreateSegment(uint64_t segment) {
  const std::string path = SegmentPath(location_, segment);
  // A later file may be left, empty, from before the layer was made smaller.
  const Creation creation = segment == 0 ? Creation::kExclusive : Creation::kIfMissing;
  QUOIN_ASSIGN(std::unique_ptr<File> file,
               file_system_.Open(path, {Access::kReadWrite, creation, 0600}));
  folder_dirty_.store(true, std::memory_order_release);
  QUOIN_ASSIGN(const bool locked, file->TryLock());
  if (!locked) {
    return Fail(ErrorCode::kBusy, fmt::format("{} is locked by another process", path));
  }
  if (segment > 0) QUOIN_TRY(file->Truncate(0));
  QUOIN_TRY(file->Truncate(SegmentSizeOf(segment, size_bytes_)));
  return file;
}

Result<File*> Layer::SegmentForWriting(uint64_t segment) {
  File* file = open_segments_[segment].load(std::memory_order_acquire);
  if (file != nullptr) return file;
  MutexLock lock(segments_mutex_);
  if (segments_[segment] == nullptr) {
    QUOIN_ASSIGN(segments_[segment], CreateSegment(segment));
    open_segments_[segment].store(segments_[segment].get(), std::memory_order_release);
  }
  return segments_[segment].get();
}

Status Layer::Read(uint64_t offset, std::span<std::byte> buffer) const {
  while (!buffer.empty()) {
    const uint64_t segment = offset / kLayerSegmentBytes;
    const uint64_t in_segment = offset % kLayerSegmentBytes;
    const size_t n = std::min<uint64_t>(buffer.size(), kLayerSegmentBytes - in_segment);
    const uint64_t size = SegmentSizeOf(segment, size_bytes());
    const size_t stored = in_segment >= size ? 0 : std::min<uint64_t>(n, size - in_segment);
    if (stored > 0) {
      File* file = open_segments_[segment].load(std::memory_order_acquire);
      size_t done = 0;
      if (file != nullptr) {
        QUOIN_ASSIGN(done, file->Read(in_segment, buffer.first(stored)));
      }
      if (done < stored) {
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{} ends at byte {}, data is missing",
                                SegmentPath(location_, segment), in_segment + done));
      }
    }
    std::memset(buffer.data() + stored, 0, n - stored);
    buffer = buffer.subspan(n);
    offset += n;
  }
  return {};
}

Status Layer::Write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const uint64_t in_segment = offset % kLayerSegmentBytes;
    const size_t n = std::min<uint64_t>(bytes.size(), kLayerSegmentBytes - in_segment);
    QUOIN_ASSIGN(File * file, SegmentForWriting(offset / kLayerSegmentBytes));
    QUOIN_TRY(file->Write(in_segment, bytes.first(n)));
    bytes = bytes.subspan(n);
    offset += n;
  }
  return {};
}

Status Layer::PunchHole(uint64_t offset, uint64_t length) {
  while (length > 0 && punching_works_.load(std::memory_order_relaxed)) {
    const uint64_t in_segment = offset % kLayerSegmentBytes;
    const uint64_t n = std::min(length, kLayerSegmentBytes - in_segment);
    File* file = open_segments_[offset / kLayerSegmentBytes].load(std::memory_order_acquire);
    if (file != nullptr) {
      const Status punched = file->PunchHole(in_segment, n);
      if (!punched && punched.error().code != ErrorCode::kUnsupported) return punched;
      if (!punched) punching_works_.store(false, std::memory_order_relaxed);
    }
    offset += n;
    length -= n;
  }
  return {};
}

Status Layer::Resize(uint64_t size_bytes) {
  MutexLock lock(segments_mutex_);
  for (uint64_t segment = 0; segment < kMaxLayerSegments; ++segment) {
    if (segments_[segment] == nullptr) continue;
    QUOIN_TRY(segments_[segment]->Truncate(SegmentSizeOf(segment, size_bytes)));
  }
  size_bytes_.store(size_bytes, std::memory_order_release);
  if (KeptHead* const kept = ownership_->kept()) kept->NoteSize(size_bytes);
  return {};
}

Status Layer::Sync() {
  for (auto& slot : open_segments_) {
    File* file = slot.load(std::memory_order_acquire);
    if (file != nullptr) QUOIN_TRY(file->Sync(SyncKind::kData));
  }
  return SyncNames();
}

Status Layer::SyncNames() {
  if (!folder_dirty_.exchange(false, std::memory_order_acq_rel)) return {};
  Status synced = file_system_.SyncDirectory(location_.folder);
  if (!synced) folder_dirty_.store(true, std::memory_order_release);
  return synced;
}

void Layer::BeginWriteOut(std::span<const RegionRecord> regions) {
  for (const RegionRecord& region : regions) {
    const uint64_t offset = region.region * kRegionBytes;
    File* file = open_segments_[offset / kLayerSegmentBytes].load(std::memory_order_acquire);
    if (file == nullptr) continue;
    for (uint64_t in_region = 0; in_region < kRegionBytes; in_region += kWriteOutPieceBytes) {
      file->BeginWriteOut(offset % kLayerSegmentBytes + in_region, kWriteOutPieceBytes);
    }
  }
}

Status Layer::Freeze() {
  MutexLock lock(segments_mutex_);
  for (auto& file : segments_) {
    if (file != nullptr) QUOIN_TRY(file->Unlock());
  }
  return {};
}

Result<FileIdentity> Layer::Identity() const {
  QUOIN_ASSIGN(const FileFacts facts,
               open_segments_[0].load(std::memory_order_acquire)->Facts());
  return facts.identity;
}

Status Layer::LinkFiles(FileSystem& file_system, const Location& from, const Location& to) {
  for (uint64_t segment = 0; segment < kMaxLayerSegments; ++segment) {
    const Status linked =
        file_system.Link(SegmentPath(from, segment), SegmentPath(to, segment));
    // Later files exist only where they were written.
    const bool skip = segment > 0 && !linked && linked.error().code == ErrorCode::kNotFound;
    if (!linked && !skip) return linked;
  }
  // Last, for it is removed first: while it is there, nothing was missing above that was ever written.
  return file_system.Link(OwnershipPath(from), OwnershipPath(to));
}

// The list of blocks first: see LinkFiles.
Status Layer::RemoveFiles(FileSystem& file_system, const Location& location) {
  const auto remove = [&](const std::string& path) -> Status {
    const Status removed = file_system.Remove(path);
    if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
    return {};
  };
  QUOIN_TRY(remove(OwnershipPath(location)));
  for (uint64_t segment = 0; segment < kMaxLayerSegments; ++segment) {
    QUOIN_TRY(remove(SegmentPath(location, segment)));
  }
  return {};
}

}  // namespace quoin

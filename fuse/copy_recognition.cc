#include "fuse/copy_recognition.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "blockstore/base/block.h"
#include "fuse/cache_notifier.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

// cp skips blocks that are zero though the snapshot has them as data; so much of them is read at once
// to see that they are.
constexpr uint64_t kMaxZeroBytes = uint64_t{16} << 20;

bool AllZero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} &&
          std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

CopyRecognition::CopyRecognition(Store& store, Store::CopySource source,
                                 std::shared_ptr<Image> origin)
    : store_(store), source_(source), origin_(std::move(origin)) {}

bool CopyRecognition::Share(VdiHandle& target, uint64_t offset, std::span<const std::byte> bytes,
                            std::span<std::byte> room) {
  if (is_busy_.exchange(true)) {
    is_over_ = true;
    return false;
  }
  const bool shared = ShareUpTo(target, offset, bytes, room);
  if (!shared) is_over_ = true;
  is_busy_ = false;
  return shared;
}

bool CopyRecognition::ShareUpTo(VdiHandle& target, uint64_t offset,
                                std::span<const std::byte> bytes,
                                std::span<std::byte> room) const {
  const uint64_t begin = target->size_bytes();
  const uint64_t end = offset + bytes.size();
  if (offset < begin || begin % kBlockBytes != 0 || end > origin_->size_bytes()) return false;
  if (end % kBlockBytes != 0 && end != origin_->size_bytes()) return false;
  if (!IsCopyOf(offset, bytes, room) || !IsZero(begin, offset, room)) return false;
  const CacheNotifier::OwnChange own;
  const Result<uint64_t> copied = store_.CopyRange(source_, begin, target, begin, end - begin);
  return copied && *copied == end - begin;
}

bool CopyRecognition::IsCopyOf(uint64_t offset, std::span<const std::byte> bytes,
                               std::span<std::byte> room) const {
  const Result<size_t> got = origin_->Read(offset, room.first(bytes.size()));
  return got && *got == bytes.size() && std::memcmp(room.data(), bytes.data(), bytes.size()) == 0;
}

bool CopyRecognition::IsZero(uint64_t begin, uint64_t end, std::span<std::byte> room) const {
  uint64_t compared = 0;
  for (uint64_t at = begin; at < end;) {
    const Result<uint64_t> data = origin_->SeekData(at);
    if (!data) return data.error().code == ErrorCode::kNoData;
    if (*data >= end) return true;
    const size_t length = std::min<uint64_t>(room.size(), end - *data);
    const Result<size_t> got = origin_->Read(*data, room.first(length));
    if (!got || *got != length || !AllZero(room.first(length))) return false;
    compared += length;
    if (compared > kMaxZeroBytes) return false;
    at = *data + length;
  }
  return true;
}

}  // namespace quoin

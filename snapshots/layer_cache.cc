#include "snapshots/layer_cache.h"

#include <fmt/format.h>

#include <algorithm>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

// 2^36 scattered blocks would need more; a set that large is refused rather than loaded.
constexpr uint64_t kMaxOwnershipFileBytes = uint64_t{16} << 30;

}  // namespace

Result<std::unique_ptr<OwnershipSet>> LoadOwnershipFile(FileSystem& file_system,
                                                        const std::string& path) {
  QUOIN_ASSIGN(const std::string bytes,
               ReadWholeFile(file_system, path, kMaxOwnershipFileBytes));
  Result<std::unique_ptr<OwnershipSet>> set = OwnershipSet::Decode(bytes);
  if (!set) {
    return Fail(set.error().code, fmt::format("cannot use {}: {}", path, set.error().what),
                "restore this file from a backup of the store");
  }
  return set;
}

Result<std::shared_ptr<const Layer>> LayerCache::OpenFrozen(const Layer::Location& location,
                                                            uint64_t size_bytes) {
  return OpenFrozen(location, size_bytes, [this, &location] {
    return LoadOwnershipFile(file_system_, Layer::OwnershipPath(location));
  });
}

Result<std::shared_ptr<const Layer>> LayerCache::OpenFrozen(const Layer::Location& location,
                                                            uint64_t size_bytes,
                                                            const LoadOwnership& load) {
  QUOIN_ASSIGN(const FileFacts facts, file_system_.Facts(Layer::SegmentPath(location, 0)));
  {
    MutexLock lock(mutex_);
    const auto found = layers_.find(KeyOf(facts.identity));
    if (found != layers_.end()) {
      if (std::shared_ptr<const Layer> layer = found->second.lock()) return layer;
    }
  }
  QUOIN_ASSIGN(std::unique_ptr<OwnershipSet> ownership, load());
  QUOIN_ASSIGN(std::unique_ptr<Layer> opened,
               Layer::Open(file_system_, location, size_bytes, std::move(ownership),
                           Layer::Role::kFrozen));
  std::shared_ptr<const Layer> layer = std::move(opened);
  QUOIN_TRY(Adopt(layer));
  return layer;
}

Status LayerCache::Adopt(const std::shared_ptr<const Layer>& layer) {
  QUOIN_ASSIGN(const FileIdentity identity, layer->Identity());
  MutexLock lock(mutex_);
  layers_[KeyOf(identity)] = layer;
  SweepExpired();
  return {};
}

void LayerCache::SweepExpired() {
  if (layers_.size() < sweep_at_entries_) return;
  std::erase_if(layers_, [](const auto& entry) { return entry.second.expired(); });
  sweep_at_entries_ = std::max<size_t>(64, 2 * layers_.size());
}

}  // namespace quoin

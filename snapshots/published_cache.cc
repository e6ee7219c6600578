#include "snapshots/published_cache.h"

#include <fmt/format.h>

#include "metadata/published.h"
#include "metadata/store_layout.h"
#include "snapshots/layer_cache.h"
#include "snapshots/published_patience.h"

namespace quoin {

const SnapshotRecord* PublishedVdi::FindSnapshot(const std::string& name) const {
  MutexLock lock(index->mutex);
  return index->snapshots.FindName(state.snapshots, name);
}

const SnapshotRecord* PublishedVdi::FindSnapshot(const Id& id) const {
  MutexLock lock(index->mutex);
  return index->snapshots.FindId(state.snapshots, id);
}

Result<PublishedVdi> PublishedCache::ReadState(const Id& id, const std::string& vdi_folder) const {
  PublishedVdi vdi;
  QUOIN_ASSIGN(vdi.state, ReadPublished(file_system_, vdi_folder));
  if (vdi.state.vdi.id == id) return vdi;
  return Fail(ErrorCode::kCorrupt, fmt::format("{} is of another VDI, {}",
                                               StoreLayout::Published(vdi_folder),
                                               vdi.state.vdi.id.ToString()));
}

// kNotFound: what the state names is not there.
Status PublishedCache::ReadHead(PublishedVdi& vdi, const std::string& vdi_folder) const {
  const std::string& name = vdi.state.vdi.head_ownership_file;
  if (name.empty()) return {};
  QUOIN_ASSIGN(const std::unique_ptr<OwnershipSet> owned,
               LoadOwnershipFile(file_system_, StoreLayout::Layers(vdi_folder) + "/" + name));
  vdi.head_data_blocks = owned->data_blocks();
  return {};
}

Result<std::shared_ptr<const PublishedVdi>> PublishedCache::Get(const Id& id,
                                                                const std::string& vdi_folder) {
  QUOIN_ASSIGN(FileFacts facts, file_system_.Facts(StoreLayout::Published(vdi_folder)));
  {
    MutexLock lock(mutex_);
    const auto found = entries_.find(id);
    if (found != entries_.end() && found->second.identity == facts.identity &&
        found->second.ctime_ns == facts.ctime_ns) {
      return found->second.vdi;
    }
  }
  PublishedPatience patience(clock_);
  QUOIN_ASSIGN(PublishedVdi read, ReadState(id, vdi_folder));
  for (Status head = ReadHead(read, vdi_folder); !head; head = ReadHead(read, vdi_folder)) {
    if (!patience.GoOn(head.error())) return Failure(head.error());
    QUOIN_ASSIGN(facts, file_system_.Facts(StoreLayout::Published(vdi_folder)));
    QUOIN_ASSIGN(read, ReadState(id, vdi_folder));
  }
  const auto vdi = std::make_shared<const PublishedVdi>(std::move(read));
  MutexLock lock(mutex_);
  if (entries_.size() >= kMaxEntries) entries_.clear();
  entries_[id] = {facts.identity, facts.ctime_ns, vdi};
  return vdi;
}

void PublishedCache::Forget(const Id& id) {
  MutexLock lock(mutex_);
  entries_.erase(id);
}

}  // namespace quoin

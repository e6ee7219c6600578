// The folder of packs: which there are, which are open, publishing and removing. Reading blocks is in
// pack_store_read.cc, compaction in pack_store_rewrite.cc.
#include "blockstore/packs/pack_store.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

constexpr size_t kPrefixDigits = 2;
constexpr size_t kPacksWithDigests = 16;  // at most 4 MiB each

}  // namespace

PackStore::PackStore(FileSystem& file_system, std::string folder, FrameCache& cache,
                     size_t max_open_packs)
    : file_system_(file_system),
      folder_(std::move(folder)),
      cache_(cache),
      max_open_packs_(std::max<size_t>(max_open_packs, 1)) {}

PackStore::~PackStore() = default;

std::string PackStore::PathOf(const Id& id) const {
  const std::string name = id.ToString();
  return fmt::format("{}/{}/{}", folder_, std::string_view(name).substr(0, kPrefixDigits), name);
}

PackStore::PackPointer PackStore::Find(const Id& id) {
  const MutexLock lock(table_mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) return nullptr;
  found->second.last_used = ++uses_;
  return found->second.pack;
}

Result<std::shared_ptr<const Pack>> PackStore::Get(const Id& id) {
  uint64_t changes = 0;
  {
    const MutexLock lock(table_mutex_);
    const auto found = open_.find(id);
    if (found != open_.end()) {
      found->second.last_used = ++uses_;
      return found->second.pack;
    }
    changes = changes_;
  }
  QUOIN_ASSIGN(PackPointer pack, Pack::Open(file_system_, id, PathOf(id)));
  const MutexLock lock(table_mutex_);
  if (changes != changes_) return pack;  // it may have been replaced meanwhile: not for others
  OpenPack& entry = open_[id];
  if (entry.pack == nullptr) entry.pack = std::move(pack);
  entry.last_used = ++uses_;
  PackPointer kept = entry.pack;
  if (open_.size() > max_open_packs_) CloseLeastUsed();
  return kept;
}

void PackStore::CloseLeastUsed() {
  const auto least = std::min_element(open_.begin(), open_.end(), [](const auto& a, const auto& b) {
    return a.second.last_used < b.second.last_used;
  });
  open_.erase(least);
}

void PackStore::Close(const Id& id) {
  const MutexLock lock(table_mutex_);
  ++changes_;
  open_.erase(id);
  with_digests_.remove_if([&id](const PackPointer& pack) { return pack->id() == id; });
}

void PackStore::DigestsUsed(const PackPointer& pack) {
  const MutexLock lock(table_mutex_);
  with_digests_.remove(pack);
  with_digests_.push_front(pack);
  if (with_digests_.size() <= kPacksWithDigests) return;
  with_digests_.back()->DropDigests();
  with_digests_.pop_back();
}

Result<std::vector<Digest>> PackStore::DigestsOf(const Id& id, uint32_t first, uint32_t count) {
  if (count > kMaxPackSlots || first > kMaxPackSlots - count) {
    return Fail(ErrorCode::kInvalid, fmt::format("{} slots from {} on: no pack has so many", count,
                                                 first));
  }
  QUOIN_ASSIGN(const PackPointer pack, Get(id));
  QUOIN_ASSIGN(const std::shared_ptr<const SlotDigests> known, pack->Digests());
  DigestsUsed(pack);
  std::vector<Digest> digests(count);
  const std::vector<FrameEntry>& frames = pack->frames();
  auto frame = std::partition_point(frames.begin(), frames.end(), [first](const FrameEntry& f) {
    return f.end_slot() <= first;
  });
  for (; frame != frames.end() && frame->first_slot() < first + count; ++frame) {
    const auto of_frame = known->OfFrame(static_cast<size_t>(frame - frames.begin()));
    const uint32_t from = std::max(frame->first_slot(), first);
    const uint32_t end = std::min(frame->end_slot(), first + count);
    std::copy_n(of_frame.begin() + (from - frame->first_slot()), end - from,
                digests.begin() + (from - first));
  }
  return digests;
}

Result<std::vector<Id>> PackStore::List() {
  std::vector<Id> ids;
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> folders, file_system_.List(folder_));
  for (const DirectoryEntry& folder : folders) {
    if (folder.kind != EntryKind::kDirectory || folder.name.size() != kPrefixDigits) continue;
    QUOIN_ASSIGN(const std::vector<DirectoryEntry> files,
                 file_system_.List(folder_ + "/" + folder.name));
    for (const DirectoryEntry& file : files) {
      const std::optional<Id> id = Id::Parse(file.name);
      if (id && file.name.compare(0, kPrefixDigits, folder.name) == 0) ids.push_back(*id);
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

// A folder that another host has made a moment ago may not be durable yet; so it is synced the first
// time that it is used, whoever made it.
Status PackStore::EnsureFolder(const Id& id) {
  const size_t number = id.bytes()[0];
  {
    const MutexLock lock(table_mutex_);
    if (durable_folders_[number]) return {};
  }
  const Status made = file_system_.MakeDirectory(ParentPath(PathOf(id)));
  if (!made && made.error().code != ErrorCode::kExists) return made;
  QUOIN_TRY(file_system_.SyncDirectory(folder_));
  const MutexLock lock(table_mutex_);
  durable_folders_.set(number);
  return {};
}

Status PackStore::Publish(const Id& id, const std::string& temporary) {
  QUOIN_TRY(EnsureFolder(id));
  const std::string path = PathOf(id);
  QUOIN_TRY(file_system_.Link(temporary, path));
  (void)file_system_.Remove(temporary);  // a second name harms nothing and is swept up later
  return file_system_.SyncDirectory(ParentPath(path));
}

Status PackStore::Remove(const Id& id) {
  const std::string path = PathOf(id);
  QUOIN_TRY(file_system_.Remove(path));
  Close(id);
  cache_.Forget(id);
  return file_system_.SyncDirectory(ParentPath(path));
}

void PackStore::SetHealer(Healer healer) {
  const MutexLock lock(healer_mutex_);
  healer_ = healer ? std::make_shared<const Healer>(std::move(healer)) : nullptr;
}

}  // namespace quoin

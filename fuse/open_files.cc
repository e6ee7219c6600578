#include "fuse/open_files.h"

#include <algorithm>
#include <chrono>

#include "snapshots/vdi.h"

namespace quoin {
namespace {

constexpr std::chrono::milliseconds kWaitForRelease{1000};
constexpr std::chrono::milliseconds kWaitForUse{100};

}  // namespace

OpenFiles::~OpenFiles() {
  for (const std::atomic<Chunk*>& chunk : chunks_) delete chunk.load();
}

FileHandle* OpenFiles::Add(std::unique_ptr<FileHandle> handle, uint64_t opened_by) {
  KeptFile* const kept = kept_.NewFile();
  if (kept == nullptr) return nullptr;
  kept->number = handle->node->number;
  kept->flags = (handle->writable ? KeptFile::kWritable : 0) |
                (handle->uses_page_cache ? KeptFile::kCached : 0);
  kept->opener = handle->opener;
  kept->epoch = handle->vdi && handle->writable ? handle->vdi->tenure().epoch : 0;
  kept->opened_by.store(opened_by & ~kSentAgain);
  kept->state.store(KeptFile::kFile);
  handle->kept = kept;
  return Enter(std::move(handle));
}

FileHandle* OpenFiles::AddAgain(std::unique_ptr<FileHandle> handle) {
  FileHandle* const entered = Enter(std::move(handle));
  const uint64_t opened_by = entered->kept->opened_by.load();
  MutexLock lock(mutex_);
  if (opened_by != 0) offered_[opened_by] = entered;
  return entered;
}

FileHandle* OpenFiles::TakeOffered(uint64_t unique) {
  if ((unique & kSentAgain) == 0) return nullptr;
  MutexLock lock(mutex_);
  const auto found = offered_.find(unique & ~kSentAgain);
  if (found == offered_.end()) return nullptr;
  FileHandle* const handle = found->second;
  offered_.erase(found);
  return handle;
}

FileHandle* OpenFiles::Enter(std::unique_ptr<FileHandle> handle) {
  FileHandle* const raw = handle.get();
  raw->number = kept_.NumberOf(*raw->kept);
  if (raw->uses_page_cache) raw->node->cached_handles.fetch_add(1);
  MutexLock lock(mutex_);
  nodes_[raw->node->number].open.push_back(raw);
  SetAt(raw->number, raw);
  handles_.emplace(raw, std::move(handle));
  return raw;
}

void OpenFiles::SetAt(uint64_t number, FileHandle* handle) {
  const size_t index = KeptSession::IndexOf(number);
  std::atomic<Chunk*>& slot = chunks_[index / kChunkFiles];
  if (slot.load() == nullptr) slot.store(new Chunk{});
  (*slot.load())[index % kChunkFiles].store(handle, std::memory_order_release);
}

Status OpenFiles::Close(FileHandle* handle) {
  std::unique_ptr<FileHandle> taken;
  {
    MutexLock lock(mutex_);
    taken = Take(handle);
  }
  return taken == nullptr ? Status() : End(std::move(taken));
}

Status OpenFiles::CloseNumber(uint64_t number) {
  std::unique_ptr<FileHandle> taken;
  {
    MutexLock lock(mutex_);
    taken = Take(Find(number));
  }
  return taken == nullptr ? Status() : End(std::move(taken));
}

std::unique_ptr<FileHandle> OpenFiles::Take(FileHandle* handle) {
  const auto found = handles_.find(handle);
  if (found == handles_.end()) return nullptr;
  std::unique_ptr<FileHandle> taken = std::move(found->second);
  handles_.erase(found);
  SetAt(taken->number, nullptr);
  std::erase_if(offered_, [&](const auto& offer) { return offer.second == handle; });
  OfNode& of_node = nodes_[taken->node->number];
  std::erase(of_node.open, handle);
  ++of_node.closing;
  return taken;
}

// What Take has taken.
Status OpenFiles::End(std::unique_ptr<FileHandle> owned) {
  const uint64_t number = owned->node->number;
  Status closed;
  if (owned->vdi) closed = owned->vdi.Close();
  if (owned->uses_page_cache) owned->node->cached_handles.fetch_sub(1);
  kept_.FreeFile(owned->kept);
  owned.reset();
  {
    MutexLock lock(mutex_);
    const auto found = nodes_.find(number);
    if (--found->second.closing == 0 && found->second.open.empty()) nodes_.erase(found);
  }
  closed_.NotifyAll();
  return closed;
}

std::unique_ptr<CopyRecognition> OpenFiles::CopyBy(pid_t opener, Store& store) {
  if (opener == 0) return nullptr;
  MutexLock lock(mutex_);
  for (const auto& [handle, owned] : handles_) {
    if (handle->opener != opener || handle->snapshot == nullptr) continue;
    const NodeKey& key = handle->node->key;
    return std::make_unique<CopyRecognition>(store, Store::CopySource{key.vdi, key.snapshot},
                                             handle->snapshot);
  }
  return nullptr;
}

void OpenFiles::CloseAll() {
  for (;;) {
    FileHandle* next = nullptr;
    {
      MutexLock lock(mutex_);
      if (handles_.empty()) return;
      next = handles_.begin()->first;
    }
    static_cast<void>(Close(next));  // a failed flush has been logged where it failed
  }
}

bool OpenFiles::IsUnused(const OfNode& of_node, const FileHandle* own) {
  return of_node.closing == 0 &&
         std::all_of(of_node.open.begin(), of_node.open.end(),
                     [own](const FileHandle* handle) { return handle == own; });
}

bool OpenFiles::IsBeingClosed(const OfNode& of_node, const FileHandle* own) {
  return std::all_of(
      of_node.open.begin(), of_node.open.end(),
      [own](const FileHandle* handle) { return handle == own || handle->flushed.load(); });
}

bool OpenFiles::WaitUntilUnused(uint64_t number, const FileHandle* own) {
  const auto begin = std::chrono::steady_clock::now();
  MutexLock lock(mutex_);
  for (;;) {
    const auto found = nodes_.find(number);
    if (found == nodes_.end() || IsUnused(found->second, own)) return true;
    const auto limit = IsBeingClosed(found->second, own) ? kWaitForRelease : kWaitForUse;
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited >= limit) return false;
    closed_.WaitFor(mutex_, limit - waited);
  }
}

}  // namespace quoin

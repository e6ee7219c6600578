#include "fuse/open_files.h"

#include <algorithm>
#include <chrono>

namespace quoin {
namespace {

constexpr std::chrono::milliseconds kWaitForRelease{1000};
constexpr std::chrono::milliseconds kWaitForUse{100};

}  // namespace

FileHandle* OpenFiles::Add(std::unique_ptr<FileHandle> handle) {
  FileHandle* const raw = handle.get();
  if (raw->uses_page_cache) raw->node->cached_handles.fetch_add(1);
  MutexLock lock(mutex_);
  nodes_[raw->node->number].open.push_back(raw);
  handles_.emplace(raw, std::move(handle));
  return raw;
}

Status OpenFiles::Close(FileHandle* handle) {
  std::unique_ptr<FileHandle> owned;
  const uint64_t number = handle->node->number;
  {
    MutexLock lock(mutex_);
    const auto found = handles_.find(handle);
    if (found == handles_.end()) return {};
    owned = std::move(found->second);
    handles_.erase(found);
    OfNode& of_node = nodes_[number];
    std::erase(of_node.open, handle);
    ++of_node.closing;
  }
  Status closed;
  if (owned->vdi) closed = owned->vdi.Close();
  if (owned->uses_page_cache) owned->node->cached_handles.fetch_sub(1);
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

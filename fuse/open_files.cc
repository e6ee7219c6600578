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

bool OpenFiles::AllFlushed(uint64_t number) const {
  const auto found = nodes_.find(number);
  if (found == nodes_.end()) return true;
  return std::all_of(found->second.open.begin(), found->second.open.end(),
                     [](const FileHandle* handle) { return handle->flushed.load(); });
}

bool OpenFiles::WaitUntilUnused(uint64_t number) {
  const auto begin = std::chrono::steady_clock::now();
  MutexLock lock(mutex_);
  for (;;) {
    if (nodes_.find(number) == nodes_.end()) return true;
    const auto limit = AllFlushed(number) ? kWaitForRelease : kWaitForUse;
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited >= limit) return false;
    closed_.WaitFor(mutex_, limit - waited);
  }
}

}  // namespace quoin

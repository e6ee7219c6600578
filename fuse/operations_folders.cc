// Requests that list folders.
#include <cerrno>
#include <utility>

#include "fuse/attributes.h"
#include "fuse/operations.h"

namespace quoin {
namespace {

constexpr size_t kDotEntries = 2;  // "." and ".." come before what the Store lists

FolderHandle& FolderOf(const fuse_file_info* file) {
  return *reinterpret_cast<FolderHandle*>(static_cast<uintptr_t>(file->fh));
}

}  // namespace

void Operations::OpenFolder(Request request, fuse_ino_t number, fuse_file_info*) {
  std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  if (!IsFolder(node->key.kind)) return request.Refuse(ENOTDIR);
  auto owned = std::make_unique<FolderHandle>();
  FolderHandle* const handle = owned.get();
  handle->node = std::move(node);
  {
    MutexLock lock(folders_mutex_);
    folders_.emplace(handle, std::move(owned));
  }
  if (!request.AnswerOpen(handle, 0)) {
    MutexLock lock(folders_mutex_);
    folders_.erase(handle);
  }
}

void Operations::ReleaseFolder(Request request, fuse_ino_t, fuse_file_info* file) {
  {
    MutexLock lock(folders_mutex_);
    folders_.erase(&FolderOf(file));
  }
  request.Done();
}

// Names are durable when the request that changed them is answered.
void Operations::SyncFolder(Request request, fuse_ino_t, int, fuse_file_info*) { request.Done(); }

void Operations::ReadFolder(Request request, fuse_ino_t, size_t room_bytes, off_t offset,
                            fuse_file_info* file) {
  lane_.Post([this, &handle = FolderOf(file), room_bytes, offset,
              request = std::move(request)]() mutable {
    ReadFolderNow(std::move(request), handle, room_bytes, offset, false);
  });
}

void Operations::ReadFolderPlus(Request request, fuse_ino_t, size_t room_bytes, off_t offset,
                                fuse_file_info* file) {
  lane_.Post([this, &handle = FolderOf(file), room_bytes, offset,
              request = std::move(request)]() mutable {
    ReadFolderNow(std::move(request), handle, room_bytes, offset, true);
  });
}

// `offset` is how many entries were read before.
void Operations::ReadFolderNow(Request request, FolderHandle& handle, size_t room_bytes,
                               off_t offset, bool with_attributes) {
  if (offset == 0 || !handle.is_listed) {
    Result<std::vector<Listed>> listed = tree_.List(*handle.node);
    if (!listed) return request.Refuse(listed.error());
    handle.entries = std::move(*listed);
    handle.is_listed = true;
  }
  std::vector<char> answer(room_bytes);
  size_t used = 0;
  for (auto index = static_cast<size_t>(offset); index < handle.entries.size() + kDotEntries;
       ++index) {
    const size_t added = AddEntry(request, handle, index, answer.data() + used, room_bytes - used,
                                  with_attributes);
    if (added == 0) break;
    used += added;
  }
  request.AnswerData(std::as_bytes(std::span<const char>(answer.data(), used)));
}

// The bytes used, or 0 if there is no room for the entry.
size_t Operations::AddEntry(const Request& request, FolderHandle& handle, size_t index, char* room,
                            size_t room_bytes, bool with_attributes) {
  const auto next_offset = static_cast<off_t>(index + 1);
  if (index >= kDotEntries) {
    return AddListed(request, handle, handle.entries[index - kDotEntries], next_offset, room,
                     room_bytes, with_attributes);
  }
  // The kernel knows these two already, and takes only the number from here.
  fuse_entry_param self{};
  self.attr.st_mode = S_IFDIR;
  self.attr.st_ino =
      index == 0 ? handle.node->number : inodes_.ParentNumber(*handle.node);
  const char* const name = index == 0 ? "." : "..";
  const size_t used =
      with_attributes
          ? fuse_add_direntry_plus(request.raw(), room, room_bytes, name, &self, next_offset)
          : fuse_add_direntry(request.raw(), room, room_bytes, name, &self.attr, next_offset);
  return used <= room_bytes ? used : 0;
}

size_t Operations::AddListed(const Request& request, FolderHandle& handle, const Listed& listed,
                             off_t next_offset, char* room, size_t room_bytes,
                             bool with_attributes) {
  const char* const name = listed.name.c_str();
  const size_t needed =
      with_attributes
          ? fuse_add_direntry_plus(request.raw(), nullptr, 0, name, nullptr, next_offset)
          : fuse_add_direntry(request.raw(), nullptr, 0, name, nullptr, next_offset);
  if (needed > room_bytes) return 0;
  // An entry whose facts cannot be had (removed meanwhile, damaged) is listed by its name alone: it
  // must not hide the others. Whoever asks for it by name gets the error.
  fuse_entry_param parameter{};
  parameter.attr.st_mode = listed.type;
  if (with_attributes) {
    Result<Found> found = listed.found ? Result<Found>(*listed.found)
                                       : tree_.Look(*handle.node, listed.name);
    if (found) parameter = ToParameter(RememberEntry(*handle.node, listed.name, *found));
    fuse_add_direntry_plus(request.raw(), room, room_bytes, name, &parameter, next_offset);
  } else {
    Result<NodeKey> key = listed.found ? Result<NodeKey>(listed.found->key)
                                       : tree_.Identify(*handle.node, listed.name);
    if (key) parameter.attr.st_ino = inodes_.NumberOf(*key);
    fuse_add_direntry(request.raw(), room, room_bytes, name, &parameter.attr, next_offset);
  }
  return needed;
}

}  // namespace quoin

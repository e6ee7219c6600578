// Requests that list folders.
#include <cerrno>
#include <utility>

#include "fuse/attributes.h"
#include "fuse/operations.h"

namespace quoin {
namespace {

constexpr size_t kDotEntries = 2;  // "." and ".." come before what the Store lists
constexpr uint64_t kUnknownNumber = 0xffffffff;  // 0 would make the C library skip the entry

}  // namespace

void Operations::OpenFolder(Request request, fuse_ino_t number, fuse_file_info*) {
  std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  if (!IsFolder(node->key.kind)) return request.Refuse(ENOTDIR);
  std::shared_ptr<FolderHandle> handle = TakeOfferedFolder(request.unique());
  if (handle == nullptr) {
    handle = std::make_shared<FolderHandle>();
    handle->kept = kept_.NewFile();
    if (handle->kept == nullptr) return request.Refuse(ENFILE);
    handle->kept->number = node->number;
    handle->kept->opened_by.store(request.unique() & ~kSentAgain);
    handle->kept->state.store(KeptFile::kFolder);
    handle->node = std::move(node);
    MutexLock lock(folders_mutex_);
    folders_.emplace(kept_.NumberOf(*handle->kept), handle);
  }
  if (request.AnswerOpen(kept_.NumberOf(*handle->kept), 0)) {
    handle->kept->opened_by.store(0);
  } else {
    CloseFolder(kept_.NumberOf(*handle->kept));
  }
}

std::shared_ptr<FolderHandle> Operations::TakeOfferedFolder(uint64_t unique) {
  if ((unique & kSentAgain) == 0) return nullptr;
  MutexLock lock(folders_mutex_);
  const auto offered = offered_folders_.find(unique & ~kSentAgain);
  if (offered == offered_folders_.end()) return nullptr;
  const auto found = folders_.find(offered->second);
  offered_folders_.erase(offered);
  return found == folders_.end() ? nullptr : found->second;
}

void Operations::CloseFolder(uint64_t number) {
  std::shared_ptr<FolderHandle> closed;
  {
    MutexLock lock(folders_mutex_);
    const auto found = folders_.find(number);
    if (found == folders_.end()) return;
    closed = std::move(found->second);
    folders_.erase(found);
  }
  kept_.FreeFile(closed->kept);
}

std::shared_ptr<FolderHandle> Operations::FolderOf(Request& request, const fuse_file_info* file) {
  {
    MutexLock lock(folders_mutex_);
    const auto found = folders_.find(file->fh);
    if (found != folders_.end()) return found->second;
  }
  request.Refuse(EBADF);
  return nullptr;
}

void Operations::ReleaseFolder(Request request, fuse_ino_t, fuse_file_info* file) {
  CloseFolder(file->fh);
  request.Done();
}

// Names are durable when the request that changed them is answered.
void Operations::SyncFolder(Request request, fuse_ino_t, int, fuse_file_info*) { request.Done(); }

void Operations::ReadFolder(Request request, fuse_ino_t, size_t room_bytes, off_t offset,
                            fuse_file_info* file) {
  std::shared_ptr<FolderHandle> handle = FolderOf(request, file);
  if (handle == nullptr) return;
  lane_.Post([this, handle = std::move(handle), room_bytes, offset,
              request = std::move(request)]() mutable {
    ReadFolderNow(std::move(request), *handle, room_bytes, offset, false);
  });
}

void Operations::ReadFolderPlus(Request request, fuse_ino_t, size_t room_bytes, off_t offset,
                                fuse_file_info* file) {
  std::shared_ptr<FolderHandle> handle = FolderOf(request, file);
  if (handle == nullptr) return;
  lane_.Post([this, handle = std::move(handle), room_bytes, offset,
              request = std::move(request)]() mutable {
    ReadFolderNow(std::move(request), *handle, room_bytes, offset, true);
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
  FolderAnswer answer{request.raw(), with_attributes, std::vector<char>(room_bytes), 0, {}};
  auto index = static_cast<size_t>(offset);
  if (index == 0 && AddDot(answer, ".", handle.node->number, 1)) ++index;
  if (index == 1 && AddDot(answer, "..", inodes_.ParentNumber(*handle.node), 2)) ++index;
  while (index >= kDotEntries && index < handle.entries.size() + kDotEntries &&
         AddListed(answer, *handle.node, handle.entries[index - kDotEntries],
                   static_cast<off_t>(index + 1))) {
    ++index;
  }
  if (request.AnswerData(std::as_bytes(std::span<const char>(answer.bytes.data(), answer.used)))) {
    return;
  }
  for (const uint64_t number : answer.remembered) inodes_.Forget(number, 1);
}

// The kernel knows these two already, and takes only the number from here.
bool Operations::AddDot(FolderAnswer& answer, const char* name, uint64_t number,
                        off_t next_offset) {
  fuse_entry_param parameter{};
  parameter.attr.st_mode = S_IFDIR;
  parameter.attr.st_ino = number;
  return answer.Add(name, parameter, next_offset);
}

// An entry whose facts cannot be had (removed meanwhile, damaged) is listed by its name alone: it must
// not hide the others. Whoever asks for it by name gets the error.
bool Operations::AddListed(FolderAnswer& answer, const Node& folder, const Listed& listed,
                           off_t next_offset) {
  if (!answer.HasRoomFor(listed.name.c_str(), next_offset)) return false;
  fuse_entry_param parameter{};
  parameter.attr.st_mode = listed.type;
  parameter.attr.st_ino = kUnknownNumber;
  if (answer.with_attributes) {
    const Result<Found> found =
        listed.found ? Result<Found>(*listed.found) : tree_.Look(folder, listed.name);
    if (found) {
      parameter = ToParameter(RememberEntry(folder, listed.name, *found));
      answer.remembered.push_back(parameter.ino);
      return answer.Add(listed.name.c_str(), parameter, next_offset);
    }
  }
  const Result<NodeKey> key = listed.found ? Result<NodeKey>(listed.found->key)
                                           : tree_.Identify(folder, listed.name);
  if (key) parameter.attr.st_ino = inodes_.NumberOf(*key);
  return answer.Add(listed.name.c_str(), parameter, next_offset);
}

bool FolderAnswer::HasRoomFor(const char* name, off_t next_offset) const {
  const size_t needed =
      with_attributes ? fuse_add_direntry_plus(request, nullptr, 0, name, nullptr, next_offset)
                      : fuse_add_direntry(request, nullptr, 0, name, nullptr, next_offset);
  return needed <= bytes.size() - used;
}

bool FolderAnswer::Add(const char* name, const fuse_entry_param& parameter, off_t next_offset) {
  char* const room = bytes.data() + used;
  const size_t left = bytes.size() - used;
  const size_t added =
      with_attributes
          ? fuse_add_direntry_plus(request, room, left, name, &parameter, next_offset)
          : fuse_add_direntry(request, room, left, name, &parameter.attr, next_offset);
  if (added > left) return false;
  used += added;
  return true;
}

}  // namespace quoin

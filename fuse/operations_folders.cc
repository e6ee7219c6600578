// Requests that list folders.
#include <cerrno>
#include <chrono>
#include <utility>

#include "fuse/attributes.h"
#include "fuse/operations.h"
#include "fuse/shared_work.h"

namespace quoin {
namespace {

constexpr size_t kDotEntries = 2;  // "." and ".." come before what the Store lists
constexpr uint64_t kUnknownNumber = 0xffffffff;  // 0 would make the C library skip the entry
constexpr size_t kMaxHelpers = 7;                // of one listing
// What a listing told of snapshots is no more news when the folder is read on after so long.
constexpr std::chrono::seconds kListingLimit{1};

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
    OpenFiles::MarkAnswered(*handle->kept, request.unique());
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
  lanes_.looks.Post([this, handle = std::move(handle), room_bytes, offset,
              request = std::move(request)]() mutable {
    ReadFolderNow(std::move(request), *handle, room_bytes, offset, false);
  });
}

void Operations::ReadFolderPlus(Request request, fuse_ino_t, size_t room_bytes, off_t offset,
                                fuse_file_info* file) {
  std::shared_ptr<FolderHandle> handle = FolderOf(request, file);
  if (handle == nullptr) return;
  lanes_.looks.Post([this, handle = std::move(handle), room_bytes, offset,
              request = std::move(request)]() mutable {
    ReadFolderNow(std::move(request), *handle, room_bytes, offset, true);
  });
}

// `offset` is how many entries were read before.
void Operations::ReadFolderNow(Request request, FolderHandle& handle, size_t room_bytes,
                               off_t offset, bool with_attributes) {
  const Node& folder = *handle.node;
  NameLease& lease = notifier_.LeaseOf(folder.key.kind);
  const uint64_t changes = lease.changes();
  if (offset == 0 || !handle.is_listed) {
    handle.changes = changes;
    handle.listed_at = std::chrono::steady_clock::now();
    Result<std::vector<Listed>> listed = tree_.List(folder);
    if (!listed) return request.Refuse(listed.error());
    handle.entries = std::move(*listed);
    handle.is_listed = true;
  }
  FolderAnswer answer{request.raw(), with_attributes, std::vector<char>(room_bytes), 0, {}};
  auto index = static_cast<size_t>(offset);
  if (index == 0 && AddDot(answer, ".", folder.number, 1)) ++index;
  if (index == 1 && AddDot(answer, "..", inodes_.ParentNumber(folder), 2)) ++index;
  if (index >= kDotEntries && index < handle.entries.size() + kDotEntries) {
    std::span<const Listed> listed = std::span(handle.entries).subspan(index - kDotEntries);
    listed = listed.first(answer.CountFitting(listed));
    const std::vector<Seen> seen = LookAtListed(folder, listed, with_attributes);
    if (with_attributes && folder.key.kind != NodeKind::kRoot && !IsControl(folder.key.kind)) {
      answer.seen_seconds = lease.Grant(changes);
      const auto age = std::chrono::steady_clock::now() - handle.listed_at;
      if (age < kListingLimit) answer.listed_seconds = lease.Grant(handle.changes);
    }
    for (size_t i = 0; i < listed.size(); ++i) {
      AddListed(answer, folder, listed[i], seen[i], static_cast<off_t>(index + i + 1));
    }
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
std::vector<Seen> Operations::LookAtListed(const Node& folder, std::span<const Listed> listed,
                                           bool with_attributes) {
  std::vector<Seen> all(listed.size());
  SharedWork::Run(lanes_.look_helpers, kMaxHelpers, listed.size(), [&](size_t index) {
    if (listed[index].found) return;
    Seen& seen = all[index];
    const std::string& name = listed[index].name;
    if (with_attributes) {
      if (Result<Found> found = tree_.Look(folder, name)) seen.found = std::move(*found);
    }
    if (seen.found) return;
    if (const Result<NodeKey> key = tree_.Identify(folder, name)) seen.key = *key;
  });
  return all;
}

// There is room for it.
void Operations::AddListed(FolderAnswer& answer, const Node& folder, const Listed& listed,
                           const Seen& seen, off_t next_offset) {
  const std::optional<Found>& found = listed.found ? listed.found : seen.found;
  fuse_entry_param parameter{};
  parameter.attr.st_mode = listed.type;
  parameter.attr.st_ino = kUnknownNumber;
  if (found && answer.with_attributes) {
    Entry entry = RememberEntry(folder, listed.name, *found);
    answer.remembered.push_back(entry.number);
    // `latest` goes with the last snapshot, of which the kernel does not know.
    if (!IsFixed(found->key.kind) && found->key.kind != NodeKind::kLatest) {
      entry.name_seconds = listed.found ? answer.listed_seconds : answer.seen_seconds;
    }
    parameter = ToParameter(entry);
  } else if (found) {
    parameter.attr.st_ino = inodes_.NumberOf(found->key);
  } else if (seen.key) {
    parameter.attr.st_ino = inodes_.NumberOf(*seen.key);
  }
  answer.Add(listed.name.c_str(), parameter, next_offset);
}

size_t FolderAnswer::CountFitting(std::span<const Listed> listed) const {
  size_t count = 0;
  size_t needed = used;
  for (const Listed& each : listed) {
    const char* const name = each.name.c_str();
    needed += with_attributes ? fuse_add_direntry_plus(request, nullptr, 0, name, nullptr, 0)
                              : fuse_add_direntry(request, nullptr, 0, name, nullptr, 0);
    if (needed > bytes.size()) break;
    ++count;
  }
  return count;
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

// Requests that open and close files.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fuse/attributes.h"
#include "fuse/operations.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

bool WantsToWrite(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }

// How the kernel shall treat the open file. Direct I/O only where the program asked for it: with it
// everywhere, mappings and much else that works on files would not.
uint32_t KernelFlags(const FileHandle& handle) {
  uint32_t flags = 0;
  if (!handle.uses_page_cache) flags |= FOPEN_DIRECT_IO;
  switch (handle.node->key.kind) {
    case NodeKind::kVdi:
      // Writes to different places need not wait for each other; the VDI orders those that overlap.
      if (!handle.uses_page_cache) flags |= FOPEN_PARALLEL_DIRECT_WRITES;
      break;
    case NodeKind::kSnapshot:
      // Its bytes never change, so what the kernel has of it stays right; nothing to flush either.
      flags |= FOPEN_NOFLUSH;
      if (handle.uses_page_cache) flags |= FOPEN_KEEP_CACHE;
      break;
    default:
      flags |= FOPEN_NOFLUSH;
  }
  return flags;
}

}  // namespace

Result<std::unique_ptr<FileHandle>> Operations::OpenVdi(const std::shared_ptr<Node>& node,
                                                        int flags) {
  auto handle = std::make_unique<FileHandle>();
  handle->node = node;
  handle->uses_page_cache = (flags & O_DIRECT) == 0;
  handle->writable = WantsToWrite(flags);
  QUOIN_ASSIGN(handle->vdi,
               store_.OpenVdi(node->key.vdi, handle->writable ? Access::kReadWrite : Access::kRead));
  handle->image = &*handle->vdi;
  if ((flags & O_TRUNC) != 0 && handle->vdi->size_bytes() != 0) {
    QUOIN_TRY(Truncate(*node, 0, handle.get()));
  }
  return handle;
}

Result<std::unique_ptr<FileHandle>> Operations::OpenSnapshot(const std::shared_ptr<Node>& node,
                                                             int flags, bool just_taken) {
  // The touch that takes a snapshot opens it for writing; what it writes is refused later.
  if (!just_taken && WantsToWrite(flags)) {
    return Fail(ErrorCode::kReadOnly, fmt::format("cannot open snapshot {} for writing: "
                                                  "a snapshot never changes",
                                                  node->snapshot->name));
  }
  auto handle = std::make_unique<FileHandle>();
  handle->node = node;
  handle->uses_page_cache = (flags & O_DIRECT) == 0;
  QUOIN_ASSIGN(handle->snapshot, store_.OpenSnapshot(node->key.vdi, node->key.snapshot));
  handle->image = handle->snapshot.get();
  return handle;
}

Result<std::unique_ptr<FileHandle>> Operations::OpenNode(const std::shared_ptr<Node>& node,
                                                         int flags) {
  if (node->key.kind == NodeKind::kVdi) return OpenVdi(node, flags);
  if (node->key.kind == NodeKind::kSnapshot) return OpenSnapshot(node, flags, false);
  if (!IsControl(node->key.kind) || IsFolder(node->key.kind)) {
    return Fail(ErrorCode::kIsDirectory, "cannot open a folder as a file");
  }
  if (WantsToWrite(flags)) {
    return Fail(ErrorCode::kReadOnly, "the files of .quoin cannot be written");
  }
  auto handle = std::make_unique<FileHandle>();
  handle->node = node;
  handle->text = control_files_.Content(node->key.kind);
  return handle;
}

FileHandle* Operations::AddHandle(std::unique_ptr<FileHandle> handle, const Request& request) {
  handle->opener = request.caller().pid;
  if (handle->writable && handle->vdi->size_bytes() == 0) {
    handle->copy = open_files_.CopyBy(handle->opener, store_);
  }
  return open_files_.Add(std::move(handle), request.unique());
}

void Operations::AnswerOpen(Request request, FileHandle& handle) {
  KeptFile& kept = *handle.kept;
  if (request.AnswerOpen(handle.number, KernelFlags(handle))) {
    OpenFiles::MarkAnswered(kept, request.unique());
  } else {
    static_cast<void>(open_files_.Close(&handle));
  }
}

void Operations::AnswerCreated(Request request, const Entry& entry, FileHandle& handle) {
  KeptFile& kept = *handle.kept;
  if (request.AnswerCreated(entry, handle.number, KernelFlags(handle))) {
    OpenFiles::MarkAnswered(kept, request.unique());
  } else {
    static_cast<void>(open_files_.Close(&handle));
    inodes_.Forget(entry.number, 1);
  }
}

void Operations::Open(Request request, fuse_ino_t number, fuse_file_info* file) {
  std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  if (FileHandle* const offered = open_files_.TakeOffered(request.unique())) {
    return AnswerOpen(std::move(request), *offered);
  }
  BlockingLane& lane = node->key.kind == NodeKind::kVdi ? lanes_.opens : lanes_.looks;
  lane.Post([this, node = std::move(node), flags = file->flags,
              request = std::move(request)]() mutable {
    Result<std::unique_ptr<FileHandle>> opened = OpenNode(node, flags);
    if (!opened) return request.Refuse(opened.error());
    FileHandle* const handle = AddHandle(std::move(*opened), request);
    if (handle == nullptr) return request.Refuse(ENFILE);
    AnswerOpen(std::move(request), *handle);
  });
}

void Operations::CreateNow(Request request, const Node& parent, const std::string& name,
                           mode_t mode, int flags) {
  if (FileHandle* const offered = open_files_.TakeOffered(request.unique())) {
    // Its node has the reference already that goes with the answer.
    Result<Found> found = tree_.Describe(*offered->node);
    if (!found) return request.Refuse(found.error());
    found->attributes.st_ino = offered->node->number;
    return AnswerCreated(std::move(request),
                         Entry{offered->node->number, found->attributes, kNameSeconds, 0}, *offered);
  }
  const BegunRequest begun(kept_, request.unique(), std::nullopt);
  const Result<Found> made = MakeFile(parent, name, mode, request);
  if (!made) return request.Refuse(made.error());
  const pid_t caller = request.caller().pid;
  const Entry entry = RememberEntry(parent, name, *made);
  const std::shared_ptr<Node> node = inodes_.Find(entry.number);
  const bool is_snapshot = node->key.kind == NodeKind::kSnapshot;
  if (is_snapshot) inodes_.SetCreator(*node, caller);
  Result<std::unique_ptr<FileHandle>> opened =
      is_snapshot ? OpenSnapshot(node, flags, true) : OpenNode(node, flags);
  if (!opened) {
    inodes_.Forget(entry.number, 1);
    return request.Refuse(opened.error());
  }
  FileHandle* const handle = AddHandle(std::move(*opened), request);
  if (handle == nullptr) {
    inodes_.Forget(entry.number, 1);
    return request.Refuse(ENFILE);
  }
  AnswerCreated(std::move(request), entry, *handle);
}

void Operations::Create(Request request, fuse_ino_t parent, const char* name, mode_t mode,
                        fuse_file_info* file) {
  std::shared_ptr<Node> folder = Find(request, parent);
  if (folder == nullptr) return;
  lanes_.changes.Post([this, folder = std::move(folder), name = std::string(name), mode,
              flags = file->flags, request = std::move(request)]() mutable {
    CreateNow(std::move(request), *folder, name, mode, flags);
  });
}

// Sent for each close(2), of duplicates too. There is nothing to write back: what was written has
// reached the VDI already, and making it durable is fsync's business.
void Operations::Flush(Request request, fuse_ino_t, fuse_file_info* file) {
  if (FileHandle* const handle = open_files_.Find(file->fh)) handle->flushed = true;
  request.Done();
}

void Operations::Release(Request request, fuse_ino_t, fuse_file_info* file) {
  // A daemon before may have closed it, and not come to answer.
  lanes_.releases.Post([this, number = file->fh, request = std::move(request)]() mutable {
    request.Done(open_files_.CloseNumber(number));
  });
}

}  // namespace quoin

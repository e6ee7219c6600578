// Requests about attributes: stat, chmod, chown, times, truncate, extended attributes, statfs.
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "blockstore/base/block.h"
#include "fuse/attributes.h"
#include "fuse/operations.h"

namespace quoin {
namespace {

constexpr mode_t kPermissionBits = 0777;
constexpr int kTimesNow = FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
constexpr int kTimes = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | kTimesNow;
constexpr int kOwner = FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
constexpr int kMeaningful = FUSE_SET_ATTR_MODE | kOwner | FUSE_SET_ATTR_SIZE | kTimes;
constexpr std::string_view kXattrPrefix = "user.quoin.";
constexpr std::string_view kUserPrefix = "user.";

int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// The set-user-id, set-group-id and sticky bits mean nothing on a disk image and are not kept.
AttributeChange ToChange(const struct stat& wanted, int to_set) {
  AttributeChange change;
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted.st_mode & kPermissionBits;
  if ((to_set & FUSE_SET_ATTR_UID) != 0) change.uid = wanted.st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) change.gid = wanted.st_gid;
  if ((to_set & FUSE_SET_ATTR_ATIME) != 0) change.atime_ns = ToNanoseconds(wanted.st_atim);
  if ((to_set & FUSE_SET_ATTR_MTIME) != 0) change.mtime_ns = ToNanoseconds(wanted.st_mtim);
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) change.atime_ns = NowNanoseconds();
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) change.mtime_ns = NowNanoseconds();
  return change;
}

int RefuseXattr(std::string_view name) {
  return name.substr(0, kXattrPrefix.size()) == kXattrPrefix ? EPERM : EOPNOTSUPP;
}

}  // namespace

void Operations::GetAttributes(Request request, fuse_ino_t number, fuse_file_info*) {
  std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  const bool from_memory = IsFixed(node->key.kind) || node->key.kind == NodeKind::kSnapshot;
  auto answer = [this, node = std::move(node)](Request to_answer) {
    Result<Found> found = tree_.Describe(*node);
    if (!found) return to_answer.Refuse(found.error());
    found->attributes.st_ino = node->number;
    to_answer.AnswerAttributes(found->attributes, AttributeSeconds(*found));
  };
  if (from_memory) return answer(std::move(request));
  lanes_.looks.Post([answer = std::move(answer), request = std::move(request)]() mutable {
    answer(std::move(request));
  });
}

Status Operations::Truncate(const Node& node, uint64_t size_bytes, const FileHandle* through) {
  const Id& id = node.key.vdi;
  const CacheNotifier::OwnChange own;
  const Status resized = store_.ResizeVdi(id, size_bytes, true, through != nullptr);
  if (resized || resized.error().code != ErrorCode::kBusy) return resized;
  if (!open_files_.WaitUntilUnused(node.number, through)) return resized;
  return store_.ResizeVdi(id, size_bytes, true, through != nullptr);
}

Status Operations::ApplyToVdi(const Node& node, const struct stat& wanted, int to_set,
                              const FileHandle* handle) {
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    QUOIN_TRY(Truncate(node, static_cast<uint64_t>(wanted.st_size), handle));
  }
  if ((to_set & (FUSE_SET_ATTR_MODE | kOwner | kTimes)) == 0) return {};
  const CacheNotifier::OwnChange own;
  return store_.SetAttributes(node.key.vdi, ToChange(wanted, to_set));
}

// The user's folders belong to whoever made the store. Asking for what is so already is granted.
Status Operations::ApplyToFolder(const Node& node, const struct stat& wanted, int to_set) {
  QUOIN_ASSIGN(const Found found, tree_.Describe(node));
  const struct stat& now = found.attributes;
  const bool same_mode = (to_set & FUSE_SET_ATTR_MODE) == 0 ||
                         (wanted.st_mode & kPermissionBits) == (now.st_mode & kPermissionBits);
  const bool same_owner =
      ((to_set & FUSE_SET_ATTR_UID) == 0 || wanted.st_uid == now.st_uid) &&
      ((to_set & FUSE_SET_ATTR_GID) == 0 || wanted.st_gid == now.st_gid);
  if (same_mode && same_owner && (to_set & kTimes) == 0) return {};
  return Fail(ErrorCode::kNotPermitted, "a folder's owner, permissions and times cannot be set");
}

Status Operations::ApplyAttributes(const Node& node, const struct stat& wanted, int to_set,
                                   const FileHandle* handle, pid_t caller) {
  if ((to_set & kMeaningful) == 0) return {};
  switch (node.key.kind) {
    case NodeKind::kVdi:
      return ApplyToVdi(node, wanted, to_set, handle);
    case NodeKind::kFolder:
      return ApplyToFolder(node, wanted, to_set);
    case NodeKind::kSnapshot: {
      // A touch sets the times of what it created to now; they are that already.
      const bool only_now = (to_set & kMeaningful & ~kTimes) == 0 && (to_set & kTimesNow) != 0;
      if (only_now && inodes_.WasJustCreatedBy(node, caller)) return {};
      return Fail(ErrorCode::kReadOnly, "a snapshot's attributes never change");
    }
    case NodeKind::kRoot:
    case NodeKind::kVdis:
      return Fail(ErrorCode::kNotPermitted, "the fixed folders cannot be changed");
    default:
      return Fail(ErrorCode::kReadOnly, "this part of the tree is read-only");
  }
}

void Operations::SetAttributes(Request request, fuse_ino_t number, struct stat* wanted, int to_set,
                               fuse_file_info* file) {
  std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  const FileHandle* handle = nullptr;
  if (file != nullptr) {
    handle = FileOf(request, file);
    if (handle == nullptr) return;
  }
  lanes_.changes.Post([this, node = std::move(node), wanted = *wanted, to_set, handle,
              request = std::move(request)]() mutable {
    const Status applied =
        ApplyAttributes(*node, wanted, to_set, handle, request.caller().pid);
    if (!applied) return request.Refuse(applied.error());
    Result<Found> found = tree_.Describe(*node);
    if (!found) return request.Refuse(found.error());
    found->attributes.st_ino = node->number;
    request.AnswerAttributes(found->attributes, AttributeSeconds(*found));
  });
}

void Operations::StatFs(Request request, fuse_ino_t) {
  lanes_.looks.Post([this, request = std::move(request)]() mutable {
    const Result<SpaceFacts> space = store_.Space();
    if (!space) return request.Refuse(space.error());
    struct statvfs out {};
    out.f_bsize = out.f_frsize = kBlockBytes;
    out.f_blocks = space->total_bytes / kBlockBytes;
    out.f_bfree = space->free_bytes / kBlockBytes;
    out.f_bavail = space->available_bytes / kBlockBytes;
    out.f_files = space->total_files;
    out.f_ffree = out.f_favail = space->free_files;
    out.f_namemax = kMaxNamePartBytes;
    request.AnswerSpace(out);
  });
}

Result<std::vector<std::pair<std::string, std::string>>> Operations::Xattrs(const Node& node) {
  std::vector<std::pair<std::string, std::string>> xattrs;
  const auto add = [&xattrs](std::string_view name, std::string value) {
    xattrs.emplace_back(std::string(kXattrPrefix) + std::string(name), std::move(value));
  };
  if (node.key.kind == NodeKind::kSnapshot) {
    add("id", node.key.snapshot.ToString());
    add("parent", node.key.vdi.ToString());
    add("logical", std::to_string(node.snapshot->size_bytes));
    // Not what the node remembers: the digest is known once the snapshot has been sealed.
    const Result<SnapshotRecord> now = store_.FindSnapshot(node.key.vdi, node.key.snapshot);
    if (!now && now.error().code != ErrorCode::kNotFound) return Failure(now.error());
    if (now && !now->digest.IsNull()) add("digest", now->digest.ToHex());
  } else if (node.key.kind == NodeKind::kVdi) {
    QUOIN_ASSIGN(const VdiInfo info, store_.Describe(node.key.vdi));
    add("id", info.id.ToString());
    if (!info.parent_snapshot.IsNull()) add("parent", info.parent_snapshot.ToString());
    add("logical", std::to_string(info.size_bytes));
    add("unique", std::to_string(info.unique_blocks * kBlockBytes));
    add("shared", std::to_string(info.shared_blocks * kBlockBytes));
    if (info.writer) {
      add("writer", fmt::format("{} (pid {})", info.writer->host_name, info.writer->pid));
    }
  }
  return xattrs;
}

void Operations::GetXattr(Request request, fuse_ino_t number, const char* name,
                          size_t room_bytes) {
  std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  const std::string_view wanted = name;
  if (wanted.substr(0, kUserPrefix.size()) != kUserPrefix) return request.Refuse(EOPNOTSUPP);
  if (wanted.substr(0, kXattrPrefix.size()) != kXattrPrefix) return request.Refuse(ENODATA);
  lanes_.looks.Post([this, node = std::move(node), wanted = std::string(wanted), room_bytes,
              request = std::move(request)]() mutable {
    const auto xattrs = Xattrs(*node);
    if (!xattrs) return request.Refuse(xattrs.error());
    for (const auto& [each, value] : *xattrs) {
      if (each == wanted) return request.AnswerXattr(value, room_bytes);
    }
    request.Refuse(ENODATA);
  });
}

void Operations::ListXattr(Request request, fuse_ino_t number, size_t room_bytes) {
  std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  lanes_.looks.Post([this, node = std::move(node), room_bytes, request = std::move(request)]() mutable {
    const auto xattrs = Xattrs(*node);
    if (!xattrs) return request.Refuse(xattrs.error());
    std::string names;
    for (const auto& [each, value] : *xattrs) {
      names += each;
      names += '\0';
    }
    request.AnswerXattr(names, room_bytes);
  });
}

void Operations::SetXattr(Request request, fuse_ino_t, const char* name, const char*, size_t, int) {
  request.Refuse(RefuseXattr(name));
}

void Operations::RemoveXattr(Request request, fuse_ino_t, const char* name) {
  request.Refuse(RefuseXattr(name));
}

}  // namespace quoin

#include "fuse/attributes.h"

#include "blockstore/base/block.h"

namespace quoin {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr uint32_t kPermissionBits = 0777;
constexpr uint32_t kWriteBits = 0222;
constexpr uint64_t kStatBlockBytes = 512;
// The unit in which data and holes are exact. cp and rsync look for holes in steps of st_blksize,
// and cp reads at least 128 KiB at once whatever it is, so a greater value would only lose holes.
constexpr blksize_t kPreferredBytes = kBlockBytes;
// Folders: the kernel and find take 1 as "the number of sub-folders is not known".
constexpr nlink_t kUncountedLinks = 1;

void SetTimes(struct stat& out, int64_t atime_ns, int64_t mtime_ns, int64_t ctime_ns) {
  out.st_atim = ToTimespec(atime_ns);
  out.st_mtim = ToTimespec(mtime_ns);
  out.st_ctim = ToTimespec(ctime_ns);
}

void SetFile(struct stat& out, uint64_t size_bytes, uint64_t data_blocks) {
  out.st_nlink = 1;
  out.st_blksize = kPreferredBytes;
  out.st_size = static_cast<off_t>(size_bytes);
  out.st_blocks = static_cast<blkcnt_t>(data_blocks * (kBlockBytes / kStatBlockBytes));
}

// To look into a folder one must be able to pass through it.
uint32_t FolderPermissions(uint32_t file_permissions) {
  return (file_permissions & kPermissionBits) | (file_permissions & 0444) >> 2;
}

}  // namespace

timespec ToTimespec(int64_t time_ns) {
  timespec time{};
  time.tv_sec = time_ns / kNanosecondsPerSecond;
  time.tv_nsec = time_ns % kNanosecondsPerSecond;
  if (time.tv_nsec < 0) {
    time.tv_nsec += kNanosecondsPerSecond;
    --time.tv_sec;
  }
  return time;
}

int64_t ToNanoseconds(const timespec& time) {
  return time.tv_sec * kNanosecondsPerSecond + time.tv_nsec;
}

struct stat VdiAttributes(const FileInfo& info) {
  struct stat out {};
  out.st_mode = S_IFREG | (info.attributes.mode & kPermissionBits);
  out.st_uid = info.attributes.uid;
  out.st_gid = info.attributes.gid;
  SetFile(out, info.size_bytes, info.data_blocks);
  SetTimes(out, info.attributes.atime_ns, info.attributes.mtime_ns, info.attributes.ctime_ns);
  return out;
}

struct stat SnapshotAttributes(const SnapshotRecord& snapshot) {
  struct stat out {};
  out.st_mode = S_IFREG | (snapshot.attributes.mode & kPermissionBits & ~kWriteBits);
  out.st_uid = snapshot.attributes.uid;
  out.st_gid = snapshot.attributes.gid;
  SetFile(out, snapshot.size_bytes, snapshot.data_blocks);
  SetTimes(out, snapshot.created_ns, snapshot.created_ns, snapshot.created_ns);
  return out;
}

struct stat SnapshotVdiAttributes(const HistoryInfo& info) {
  struct stat out {};
  out.st_mode = S_IFDIR | FolderPermissions(info.attributes.mode);
  out.st_uid = info.attributes.uid;
  out.st_gid = info.attributes.gid;
  out.st_nlink = 2;
  out.st_blksize = kPreferredBytes;
  SetTimes(out, info.changed_ns, info.changed_ns, info.changed_ns);
  return out;
}

struct stat LatestAttributes(const SnapshotRecord& newest) {
  struct stat out {};
  out.st_mode = S_IFLNK | 0777;
  out.st_uid = newest.attributes.uid;
  out.st_gid = newest.attributes.gid;
  out.st_nlink = 1;
  out.st_blksize = kPreferredBytes;
  out.st_size = static_cast<off_t>(newest.name.size());
  SetTimes(out, newest.created_ns, newest.created_ns, newest.created_ns);
  return out;
}

struct stat FolderAttributes(const NameFacts& facts) {
  return FixedFolderAttributes(facts.mode, facts.mtime_ns);
}

struct stat FixedFolderAttributes(uint32_t permissions, int64_t time_ns) {
  struct stat out {};
  out.st_mode = S_IFDIR | (permissions & kPermissionBits);
  out.st_nlink = kUncountedLinks;
  out.st_blksize = kPreferredBytes;
  SetTimes(out, time_ns, time_ns, time_ns);
  return out;
}

struct stat ControlFileAttributes(int64_t time_ns) {
  struct stat out {};
  out.st_mode = S_IFREG | 0444;
  SetFile(out, 0, 0);
  SetTimes(out, time_ns, time_ns, time_ns);
  return out;
}

}  // namespace quoin

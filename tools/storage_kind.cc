#include "tools/storage_kind.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <sstream>
#include <vector>

namespace quoin {
namespace {

constexpr std::array<std::string_view, 12> kOfOneHost = {
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "zfs", "bcachefs", "tmpfs", "ramfs",
    "fuseblk"};
constexpr std::array<std::string_view, 17> kShared = {
    "nfs",  "nfs4",   "ceph",   "cifs", "smb3", "smbfs",    "9p",    "virtiofs", "gfs2",
    "ocfs2", "lustre", "beegfs", "gpfs", "afs",  "orangefs", "pvfs2", "fuse"};
constexpr std::string_view kOfAProgram = "fuse.";

// A stale host's writes land, through any descriptor (MooseFS) or any but the one with the lock (GlusterFS).
constexpr std::array<std::string_view, 3> kMeasuredNotToFence = {"fuse.glusterfs", "fuse.mfs",
                                                                 "fuse.moosefs"};
constexpr std::string_view kMooseSource = "mfs#";

template <typename Words>
bool Has(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

StorageKind::Reach ReachOf(std::string_view filesystem) {
  if (Has(kOfOneHost, filesystem)) return StorageKind::Reach::kOneHost;
  if (Has(kShared, filesystem) || filesystem.starts_with(kOfAProgram)) {
    return StorageKind::Reach::kShared;
  }
  return StorageKind::Reach::kUnknown;
}

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

}  // namespace

std::optional<StorageKind> KindInMountInfo(std::string_view mount_info, uint64_t mount_id) {
  while (!mount_info.empty()) {
    const size_t end = std::min(mount_info.find('\n'), mount_info.size());
    const std::vector<std::string_view> words = Words(mount_info.substr(0, end));
    mount_info.remove_prefix(std::min(end + 1, mount_info.size()));
    uint64_t id = 0;
    if (words.empty() ||
        std::from_chars(words[0].data(), words[0].data() + words[0].size(), id).ec != std::errc() ||
        id != mount_id) {
      continue;
    }
    // "ID PARENT DEVICE ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE OPTIONS"
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.end() - dash < 3) return std::nullopt;
    StorageKind kind;
    kind.filesystem = *(dash + 1);
    kind.source = *(dash + 2);
    kind.reach = ReachOf(kind.filesystem);
    return kind;
  }
  return std::nullopt;
}

StorageKind StorageKindOf(const std::string& path) {
  struct statx facts = {};
  if (statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_MNT_ID, &facts) != 0 ||
      (facts.stx_mask & STATX_MNT_ID) == 0) {
    return {};
  }
  std::ifstream file("/proc/self/mountinfo");
  std::ostringstream text;
  text << file.rdbuf();
  return KindInMountInfo(text.str(), facts.stx_mnt_id).value_or(StorageKind());
}

Fencing KnownFencing(const StorageKind& kind) {
  if (kind.reach == StorageKind::Reach::kOneHost) return Fencing::kOneHost;
  if (Has(kMeasuredNotToFence, kind.filesystem) || kind.source.starts_with(kMooseSource)) {
    return Fencing::kNo;
  }
  return Fencing::kUnknown;
}

}  // namespace quoin

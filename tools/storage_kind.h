// What the kernel knows of the storage that a folder lies on: the kind of its filesystem, and whether that
// is one which other hosts may have mounted. Reads /proc/self/mountinfo; no storage is touched but for one
// statx. Stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "metadata/storage_findings.h"

namespace quoin {

struct StorageKind {
  enum class Reach {
    kOneHost,  // filesystems of disks and of memory, which a second host could not mount
    kShared,   // of a network, or a program's own
    kUnknown,
  };
  std::string filesystem = "unknown";  // "ext4", "nfs4", "fuse.glusterfs"
  std::string source;                  // "/dev/vda1", "10.0.0.1:/volume"
  Reach reach = Reach::kUnknown;
};

// Of the mount with this id in a text as /proc/self/mountinfo; nothing if it is not there.
std::optional<StorageKind> KindInMountInfo(std::string_view mount_info, uint64_t mount_id);
// With "unknown" and kUnknown if nothing can be learnt.
StorageKind StorageKindOf(const std::string& path);

// What is known of its fencing without asking anybody: kOneHost of a filesystem of one host; kNo of those
// that were measured to let a stale host's writes through (DESIGN.md, README.md of this room); kUnknown.
Fencing KnownFencing(const StorageKind& kind);

}  // namespace quoin

#include "tools/storage_kind.h"

#include <gtest/gtest.h>

#include <string>

namespace quoin {
namespace {

constexpr const char* kMountInfo =
    "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"
    "30 22 0:41 / /srv/with\\040space rw - nfs4 10.0.0.1:/volume rw,vers=4.2\n"
    "31 22 0:42 / /srv/gluster rw shared:7 master:2 - fuse.glusterfs 10.0.0.1:/vol rw\n"
    "32 22 0:43 / /srv/moose rw - fuse mfs#10.0.0.1:9421 rw\n"
    "33 22 0:44 / /srv/layered rw - overlay overlay rw,lowerdir=/a\n"
    "34 22 0:45 / /srv/ceph rw - ceph 10.0.0.1:6789:/ rw\n"
    "35 22 0:46 / /srv/cut rw -\n"
    "not a number at all\n"
    "36 22 0:47 / /run rw - tmpfs tmpfs rw";

StorageKind KindOf(uint64_t id) {
  const std::optional<StorageKind> kind = KindInMountInfo(kMountInfo, id);
  EXPECT_TRUE(kind) << id;
  return kind.value_or(StorageKind());
}

TEST(StorageKindTest, IsReadFromTheKernelsListOfMounts) {
  const StorageKind disk = KindOf(22);
  EXPECT_EQ(disk.filesystem, "ext4");
  EXPECT_EQ(disk.source, "/dev/vda1");
  EXPECT_EQ(disk.reach, StorageKind::Reach::kOneHost);
  EXPECT_EQ(KindOf(30).filesystem, "nfs4");
  EXPECT_EQ(KindOf(30).reach, StorageKind::Reach::kShared);
  EXPECT_EQ(KindOf(31).reach, StorageKind::Reach::kShared);
  EXPECT_EQ(KindOf(32).reach, StorageKind::Reach::kShared);
  EXPECT_EQ(KindOf(33).reach, StorageKind::Reach::kUnknown);
  EXPECT_EQ(KindOf(36).reach, StorageKind::Reach::kOneHost);
  EXPECT_FALSE(KindInMountInfo(kMountInfo, 35));
  EXPECT_FALSE(KindInMountInfo(kMountInfo, 99));
  EXPECT_FALSE(KindInMountInfo("", 22));
}

TEST(StorageKindTest, OnlyWhatIsCertainIsKnownOfFencing) {
  EXPECT_EQ(KnownFencing(KindOf(22)), Fencing::kOneHost);
  EXPECT_EQ(KnownFencing(KindOf(30)), Fencing::kUnknown);
  EXPECT_EQ(KnownFencing(KindOf(31)), Fencing::kNo);
  EXPECT_EQ(KnownFencing(KindOf(32)), Fencing::kNo);
  EXPECT_EQ(KnownFencing(KindOf(33)), Fencing::kUnknown);
  EXPECT_EQ(KnownFencing(KindOf(34)), Fencing::kUnknown) << "it depends on how clients are set up";
}

TEST(StorageKindTest, OfAFolderIsThatOfItsMount) {
  EXPECT_EQ(StorageKindOf("/proc").filesystem, "proc");
  EXPECT_EQ(StorageKindOf("/does/not/exist").filesystem, "unknown");
}

}  // namespace
}  // namespace quoin

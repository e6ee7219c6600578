// Snapshots that the daemon moves into packs by itself, as users of the tree see it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "tests/mount/mounted_store.h"
#include "tests/mount/open_file.h"

namespace quoin {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr int kPatience_s = 40;

std::string DigestOfSnapshot(const std::string& path) {
  char value[128] = {};
  const ssize_t got = getxattr(path.c_str(), "user.quoin.digest", value, sizeof value);
  return got < 0 ? "" : std::string(value, static_cast<size_t>(got));
}

std::string AwaitDigest(const std::string& path) {
  for (int tenths = 0; tenths < 10 * kPatience_s; ++tenths) {
    if (const std::string digest = DigestOfSnapshot(path); !digest.empty()) return digest;
    usleep(100'000);
  }
  return "";
}

// Their number once it is `wanted`, or what it still is when patience is at its end. Files of what has
// been sealed go a moment after its digest is known.
size_t AwaitLayerFiles(const std::string& store, size_t wanted) {
  size_t files = 0;
  for (int tenths = 0; tenths < 10 * kPatience_s; ++tenths) {
    files = 0;
    for (const auto& folder : std::filesystem::directory_iterator(store + "/vdis")) {
      std::error_code gone;
      const std::filesystem::directory_iterator layers(folder.path() / "layers", gone);
      files += static_cast<size_t>(std::distance(begin(layers), end(layers)));
    }
    if (files == wanted) break;
    usleep(100'000);
  }
  return files;
}

TEST(MountedSealingTest, SnapshotsAreSealedByThemselvesWhileTheGuestWritesOn) {
  MountedStore tree;
  ASSERT_TRUE(tree.Start());
  ASSERT_EQ(CreateWithSize(tree.vdi("a"), 64 * kMiB), 0);
  auto guest = std::make_unique<OpenFile>(tree.vdi("a"), O_RDWR);
  const std::string before = Pattern(1, 8 * kMiB);
  ASSERT_EQ(WriteAt(guest->get(), 4 * kMiB, before), 0);
  const std::string snapshot = tree.snapshot("a", "s");
  ASSERT_EQ(Touch(snapshot), 0);
  const struct stat at_first = StatOf(snapshot);
  ASSERT_EQ(DigestOfSnapshot(snapshot), "");
  ASSERT_EQ(WriteAt(guest->get(), 4 * kMiB, Pattern(2, kMiB)), 0);

  const std::string digest = AwaitDigest(snapshot);
  ASSERT_EQ(digest.size(), 64U);
  EXPECT_EQ(AwaitLayerFiles(tree.store(), 1), 1U) << "only the head has a file";
  EXPECT_BYTES(ReadFrom(snapshot, 4 * kMiB, 8 * kMiB), before);
  EXPECT_BYTES(ReadAt(guest->get(), 4 * kMiB, kMiB), Pattern(2, kMiB));
  EXPECT_BYTES(ReadAt(guest->get(), 5 * kMiB, 7 * kMiB), before.substr(kMiB));

  guest.reset();
  ASSERT_TRUE(tree.Remount());
  const struct stat now = StatOf(snapshot);
  EXPECT_EQ(now.st_ino, at_first.st_ino);
  EXPECT_EQ(now.st_size, at_first.st_size);
  EXPECT_EQ(now.st_blocks, at_first.st_blocks);
  EXPECT_EQ(now.st_mtim.tv_nsec, at_first.st_mtim.tv_nsec);
  EXPECT_BYTES(ReadFrom(snapshot, 4 * kMiB, 8 * kMiB), before);
  EXPECT_EQ(tree.Quoin({"check"}).exit_status, 0);
}

TEST(MountedSealingTest, EqualContentHasOneDigestAndIsStoredOnce) {
  MountedStore tree;
  ASSERT_TRUE(tree.Start());
  const std::string content = Pattern(3, 16 * kMiB);
  const uint64_t empty = tree.StoreBytes();  // with what is put by for collections
  for (const char* const name : {"a", "b"}) {
    ASSERT_EQ(CreateWithSize(tree.vdi(name), 32 * kMiB), 0);
    ASSERT_EQ(WriteTo(tree.vdi(name), kMiB, content), 0);
    ASSERT_EQ(Touch(tree.snapshot(name, "s")), 0);
    ASSERT_EQ(tree.Quoin({"seal", name}).exit_status, 0);
  }
  EXPECT_EQ(DigestOfSnapshot(tree.snapshot("a", "s")).size(), 64U);
  EXPECT_EQ(DigestOfSnapshot(tree.snapshot("a", "s")), DigestOfSnapshot(tree.snapshot("b", "s")));
  EXPECT_LT(tree.StoreBytes() - empty, content.size() + 2 * kMiB);
  ASSERT_EQ(unlink(tree.snapshot("a", "s").c_str()), 0);
  ASSERT_EQ(unlink(tree.vdi("a").c_str()), 0);
  ASSERT_EQ(tree.Quoin({"gc", "--grace", "0"}).exit_status, 0);
  EXPECT_BYTES(ReadFrom(tree.snapshot("b", "s"), kMiB, content.size()), content);
}

}  // namespace
}  // namespace quoin

// Owners, permissions, times and extended attributes.
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

class AttributesTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  }
};

std::string Xattr(const std::string& path, const std::string& name) {
  char value[4096];
  const ssize_t got = getxattr(path.c_str(), name.c_str(), value, sizeof value);
  if (got < 0) return "errno " + std::to_string(errno);
  return {value, static_cast<size_t>(got)};
}

std::vector<std::string> XattrNames(const std::string& path) {
  char list[4096];
  const ssize_t got = listxattr(path.c_str(), list, sizeof list);
  std::vector<std::string> names;
  for (ssize_t at = 0; at < got; at += static_cast<ssize_t>(names.back().size()) + 1) {
    names.emplace_back(list + at);
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST_F(AttributesTest, ModeOwnerAndTimesAreKeptAcrossARemount) {
  const std::string path = tree_.vdi("a");
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  ASSERT_EQ(chown(path.c_str(), 64055, 108), 0);
  const timespec times[2] = {{1600000000, 123456789}, {1700000000, 987654321}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  for (int round = 0; round < 2; ++round) {
    const struct stat facts = StatOf(path);
    EXPECT_EQ(facts.st_mode, static_cast<mode_t>(S_IFREG | 0640));
    EXPECT_EQ(facts.st_uid, 64055U);
    EXPECT_EQ(facts.st_gid, 108U);
    EXPECT_EQ(facts.st_atim.tv_sec, 1600000000);
    EXPECT_EQ(facts.st_atim.tv_nsec, 123456789);
    EXPECT_EQ(facts.st_mtim.tv_sec, 1700000000);
    EXPECT_EQ(facts.st_mtim.tv_nsec, 987654321);
    ASSERT_TRUE(tree_.Remount());
  }
}

TEST_F(AttributesTest, TheyCanBeChangedWhileAGuestRuns) {
  const OpenFile guest(tree_.vdi("a"), O_RDWR | O_DIRECT);
  EXPECT_EQ(ErrnoOf([&] { return fchmod(guest.get(), 0666); }), 0);
  EXPECT_EQ(ErrnoOf([&] { return chown(tree_.vdi("a").c_str(), 1, 2); }), 0);
  EXPECT_EQ(StatOf(tree_.vdi("a")).st_mode, static_cast<mode_t>(S_IFREG | 0666));
  EXPECT_EQ(StatOf(tree_.vdi("a")).st_uid, 1U);
}

TEST_F(AttributesTest, ANewVdiBelongsToWhoMadeIt) {
  const mode_t mask = umask(027);
  ASSERT_TRUE(OpenFile(tree_.vdi("b"), O_RDWR | O_CREAT, 0666).is_open());
  umask(mask);
  EXPECT_EQ(StatOf(tree_.vdi("b")).st_mode, static_cast<mode_t>(S_IFREG | 0640));
  EXPECT_EQ(StatOf(tree_.vdi("b")).st_uid, getuid());
}

TEST_F(AttributesTest, PermissionsAreEnforced) {
  ASSERT_EQ(chmod(tree_.vdi("a").c_str(), 0600), 0);
  const auto as_nobody = [](auto body) {
    return InAnotherProcess([&] {
      if (setgid(65534) != 0 || setuid(65534) != 0) return 255;
      return body();
    });
  };
  // The temporary folder is only root's, so nobody comes in by a descriptor.
  const OpenFile folder(tree_.vdi(""), O_RDONLY | O_DIRECTORY);
  const auto open_in = [&](const char* name, int flags) {
    const int file = openat(folder.get(), name, flags, 0600);
    return file < 0 ? errno : 0;
  };
  EXPECT_EQ(as_nobody([&] { return open_in("a", O_RDONLY); }), EACCES);
  EXPECT_EQ(as_nobody([&] { return open_in("new", O_RDWR | O_CREAT); }), EACCES);
  ASSERT_EQ(chmod(tree_.vdi("a").c_str(), 0604), 0);
  EXPECT_EQ(as_nobody([&] { return open_in("a", O_RDONLY); }), 0);
  EXPECT_EQ(as_nobody([&] { return open_in("a", O_RDWR); }), EACCES);
}

TEST_F(AttributesTest, WritingMovesTheModificationTime) {
  const timespec times[2] = {{1600000000, 0}, {1600000000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, tree_.vdi("a").c_str(), times, 0), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, "x"), 0);
  EXPECT_GT(StatOf(tree_.vdi("a")).st_mtim.tv_sec, 1600000000);
}

TEST_F(AttributesTest, AFoldersPermissionsAreFixed) {
  ASSERT_EQ(mkdir(tree_.vdi("lab").c_str(), 0755), 0);
  const mode_t mode = StatOf(tree_.vdi("lab")).st_mode & 0777;
  EXPECT_EQ(ErrnoOf([&] { return chmod(tree_.vdi("lab").c_str(), mode); }), 0);
  EXPECT_EQ(ErrnoOf([&] { return chmod(tree_.vdi("lab").c_str(), mode ^ 011); }), EPERM);
  EXPECT_EQ(ErrnoOf([&] { return chown(tree_.vdi("lab").c_str(), 5, 5); }), EPERM);
}

TEST_F(AttributesTest, ExtendedAttributesOfAVdi) {
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(8192, 'x')), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 4096, std::string(8192, 'y')), 0);
  const std::string path = tree_.vdi("a");
  EXPECT_EQ(Xattr(path, "user.quoin.id").size(), 32U);
  EXPECT_EQ(Xattr(path, "user.quoin.logical"), std::to_string(kMiB));
  EXPECT_EQ(Xattr(path, "user.quoin.unique"), "8192");
  EXPECT_EQ(Xattr(path, "user.quoin.shared"), "4096");
  EXPECT_EQ(Xattr(path, "user.quoin.parent"), "errno " + std::to_string(ENODATA));
  EXPECT_EQ(XattrNames(path),
            (std::vector<std::string>{"user.quoin.id", "user.quoin.logical", "user.quoin.shared",
                                      "user.quoin.unique"}));
  const OpenFile guest(path, O_RDWR);
  EXPECT_NE(Xattr(path, "user.quoin.writer").find(std::to_string(tree_.daemon())),
            std::string::npos)
      << Xattr(path, "user.quoin.writer");
}

TEST_F(AttributesTest, ExtendedAttributesOfASnapshotAndOfItsClone) {
  ASSERT_EQ(Touch(tree_.snapshot("a", "s")), 0);
  const std::string snapshot = tree_.snapshot("a", "s");
  EXPECT_EQ(Xattr(snapshot, "user.quoin.id").size(), 32U);
  EXPECT_EQ(Xattr(snapshot, "user.quoin.parent"), Xattr(tree_.vdi("a"), "user.quoin.id"));
  EXPECT_EQ(Xattr(snapshot, "user.quoin.logical"), std::to_string(kMiB));
  ASSERT_EQ(tree_.Quoin({"clone", "a@s", "b"}).exit_status, 0);
  EXPECT_EQ(Xattr(tree_.vdi("b"), "user.quoin.parent"), Xattr(snapshot, "user.quoin.id"));
}

TEST_F(AttributesTest, RefusedExtendedAttributes) {
  const std::string path = tree_.vdi("a");
  const auto set = [&](const char* name) {
    return ErrnoOf([&] { return setxattr(path.c_str(), name, "x", 1, 0); });
  };
  EXPECT_EQ(set("user.quoin.id"), EPERM);
  EXPECT_EQ(set("user.other"), EOPNOTSUPP);
  EXPECT_EQ(ErrnoOf([&] { return removexattr(path.c_str(), "user.quoin.id"); }), EPERM);
  EXPECT_EQ(Xattr(path, "user.other"), "errno " + std::to_string(ENODATA));
  EXPECT_EQ(Xattr(path, "user.quoin.nonsense"), "errno " + std::to_string(ENODATA));
  char small[2];
  EXPECT_EQ(ErrnoOf([&] { return getxattr(path.c_str(), "user.quoin.id", small, 2); }), ERANGE);
  EXPECT_EQ(getxattr(path.c_str(), "user.quoin.id", nullptr, 0), 32);
}

}  // namespace
}  // namespace quoin

#include "metadata/host.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

TEST(HostTest, TheHostStaysTheSameAndEveryStartIsANewSession) {
  const TemporaryDirectory directory;
  const std::string state_dir = directory / "a/b";
  ASSERT_OK_AND_ASSIGN(const HostIdentity first, LoadHostIdentity(state_dir));
  ASSERT_OK_AND_ASSIGN(const HostIdentity second, LoadHostIdentity(state_dir));
  EXPECT_FALSE(first.host.IsNull());
  EXPECT_EQ(first.host, second.host);
  EXPECT_NE(first.session, second.session);
  EXPECT_EQ(first.boot, second.boot);
  EXPECT_EQ(first.boot.size(), 36u);
  EXPECT_EQ(first.pid, ::getpid());
  EXPECT_NE(first.host_name, "");
}

TEST(HostTest, AnotherStateFolderIsAnotherHost) {
  const TemporaryDirectory directory;
  EXPECT_NE(LoadHostIdentity(directory / "a")->host, LoadHostIdentity(directory / "b")->host);
}

TEST(HostTest, ProcessesThatStartAtOnceAgreeOnTheHost) {
  const TemporaryDirectory directory;
  std::vector<Id> hosts(8);
  std::vector<std::thread> threads;
  for (Id& host : hosts) {
    threads.emplace_back([&] {
      const auto self = LoadHostIdentity(directory / "state");
      EXPECT_OK(self);
      if (self) host = self->host;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<Id>(hosts.begin(), hosts.end()).size(), 1u);
}

TEST(HostTest, ADamagedHostIdIsCorruptAndSaysWhatToDo) {
  PosixStorage storage;
  for (const std::string& bytes : {std::string(), std::string("x"), std::string(33, '\n'),
                                   std::string(32, '0') + "\n", std::string(1000, 'a')}) {
    WriteBytes(storage.file_system, storage.root + "/host.id", bytes);
    const auto self = LoadHostIdentity(storage.root);
    ASSERT_ERROR(kCorrupt, self) << bytes;
  }
  WriteBytes(storage.file_system, storage.root + "/host.id", "x");
  EXPECT_NE(LoadHostIdentity(storage.root).error().next.find("rm "), std::string::npos);
}

TEST(HostTest, AStateFolderThatIsAFileIsRefused) {
  PosixStorage storage;
  WriteBytes(storage.file_system, storage.root + "/file", "x");
  EXPECT_FALSE(LoadHostIdentity(storage.root + "/file"));
  EXPECT_FALSE(LoadHostIdentity(storage.root + "/file/inner"));
}

TEST(HostTest, TheFoldersAreFixedUnlessTheEnvironmentSaysOtherwise) {
  ::unsetenv("QUOIN_STATE_DIR");
  ::setenv("QUOIN_RUN_DIR", "", 1);
  EXPECT_EQ(DefaultStateDir(), "/var/lib/quoin");
  EXPECT_EQ(DefaultRunDir(), "/run/quoin");
  ::setenv("QUOIN_STATE_DIR", "/a", 1);
  ::setenv("QUOIN_RUN_DIR", "/b", 1);
  EXPECT_EQ(DefaultStateDir(), "/a");
  EXPECT_EQ(DefaultRunDir(), "/b");
  ::unsetenv("QUOIN_STATE_DIR");
  ::unsetenv("QUOIN_RUN_DIR");
}

}  // namespace
}  // namespace quoin

// A fresh store in a temporary folder, mounted by the real command. Its end unmounts, by force if it
// must, kills the daemon if that is still there, and removes everything.
//
// The command is the one that was built with the tests; QUOIN_BINARY in the environment names another.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/mount/child_process.h"
#include "tests/mount/open_file.h"
#include "tests/support/temporary_directory.h"

namespace quoin {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

class MountedStore {
 public:
  MountedStore() = default;
  ~MountedStore();
  MountedStore(const MountedStore&) = delete;
  MountedStore& operator=(const MountedStore&) = delete;

  // Makes the store and mounts it. `store` empty: in the temporary folder.
  ::testing::AssertionResult Start(const std::string& store = "");
  // Mounts another one's store, as another host: each has an identity of its own.
  ::testing::AssertionResult Join(const std::string& store);
  // The tree is mounted with a keeper from now on.
  void UseKeeper() { uses_keeper_ = true; }
  // With more words for the command.
  ::testing::AssertionResult Mount(const std::vector<std::string>& options = {});
  ::testing::AssertionResult Unmount();
  ::testing::AssertionResult Remount();
  // The keeper and the daemon die by SIGKILL; the dead mount is taken away.
  ::testing::AssertionResult Crash();

  // "quoin --store STORE <words>"
  Outcome Quoin(std::vector<std::string> words) const;

  const std::string& store() const { return store_; }
  std::string mount() const { return folder_ / "mount"; }
  std::string folder() const { return folder_.path(); }  // for the test's own files
  std::string vdi(const std::string& name) const { return mount() + "/vdis/" + name; }
  std::string snapshot(const std::string& vdi, const std::string& name) const {
    return snapshots(vdi) + "/" + name;
  }
  std::string snapshots(const std::string& vdi) const { return mount() + "/snapshots/" + vdi; }
  std::string control(const std::string& name) const { return mount() + "/.quoin/" + name; }
  pid_t daemon() const { return daemon_; }  // the one that has mounted
  pid_t keeper() const { return keeper_; }
  // The one that serves now, or 0; what its record says, without a look at the tree.
  pid_t present_daemon() const;
  uint64_t StoreBytes() const;  // space that the store takes on its disk

 private:
  void BecomeItsHost() const;
  void UnmountByForce();
  void TellOfDaemon() const;  // why a test has failed is often in its log

  TemporaryDirectory folder_;
  std::string store_;
  pid_t daemon_ = 0;
  pid_t keeper_ = 0;
  bool uses_keeper_ = false;
};

// A test with a store of its own, mounted.
class MountTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(tree_.Start()); }
  MountedStore tree_;
};

std::string QuoinBinary();

}  // namespace quoin

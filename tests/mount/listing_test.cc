// Listings with attributes: what they ask, and that no name that they told outlives a change.
#include <dirent.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <thread>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

class ListingTest : public MountTest {
 protected:
  // As `ls -l`; how many can be looked at.
  static size_t ListWithFiles(const std::string& folder) {
    DIR* const opened = opendir(folder.c_str());
    EXPECT_NE(opened, nullptr);
    if (opened == nullptr) return 0;
    size_t seen = 0;
    while (const dirent* const entry = readdir(opened)) {
      struct stat facts = {};
      if (entry->d_name[0] == '.') continue;
      if (fstatat(dirfd(opened), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0) ++seen;
    }
    closedir(opened);
    return seen;
  }
  static bool IsThere(const std::string& path) {
    struct stat facts = {};
    return lstat(path.c_str(), &facts) == 0;
  }
  uint64_t Requests(const std::string& kind) const {
    const std::string metrics = ReadWhole(tree_.control("metrics"));
    const std::string label = fmt::format("quoin_requests_total{{kind=\"{}\"}} ", kind);
    const size_t place = metrics.find(label);
    EXPECT_NE(place, std::string::npos) << kind;
    uint64_t count = 0;
    const char* const begin = metrics.data() + place + label.size();
    std::from_chars(begin, metrics.data() + metrics.size(), count);
    return count;
  }
};

TEST_F(ListingTest, WhoStatsWhatWasJustListedAsksForNoName) {
  constexpr size_t kVdis = 100;
  for (size_t i = 0; i < kVdis; ++i) {
    ASSERT_EQ(CreateWithSize(tree_.vdi(fmt::format("v{:02}", i)), kMiB), 0);
  }
  ASSERT_EQ(ListWithFiles(tree_.vdi("")), kVdis);
  const uint64_t lookups = Requests("lookup");
  ASSERT_EQ(ListWithFiles(tree_.vdi("")), kVdis);
  // On a busy machine some of them come later than a listed name is valid for.
  EXPECT_LT(Requests("lookup") - lookups, kVdis / 2);
}

TEST_F(ListingTest, WhatTheCommandRenamesAndRemovesIsGoneWhenItReturns) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("v0"), kMiB), 0);
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    const std::string now = fmt::format("v{}", round);
    const std::string next = fmt::format("v{}", round + 1);
    ASSERT_TRUE(IsThere(tree_.snapshots(now)));
    ListWithFiles(tree_.snapshots(""));
    ListWithFiles(tree_.vdi(""));
    ASSERT_EQ(tree_.Quoin({"mv", now, next}).exit_status, 0);
    EXPECT_FALSE(IsThere(tree_.vdi(now)));
    EXPECT_FALSE(IsThere(tree_.snapshots(now)));
    EXPECT_TRUE(IsThere(tree_.vdi(next)));
  }
  ListWithFiles(tree_.vdi(""));
  ASSERT_EQ(tree_.Quoin({"rm", "v5"}).exit_status, 0);
  EXPECT_FALSE(IsThere(tree_.vdi("v5")));
}

TEST_F(ListingTest, WhatTheCommandDoesToSnapshotsShowsWhenItReturns) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  ASSERT_EQ(Touch(tree_.snapshot("a", "one")), 0);
  ASSERT_EQ(ListWithFiles(tree_.snapshots("a")), 2u);
  ASSERT_EQ(tree_.Quoin({"snap", "rename", "a@one", "two"}).exit_status, 0);
  EXPECT_FALSE(IsThere(tree_.snapshot("a", "one")));
  ASSERT_EQ(ListWithFiles(tree_.snapshots("a")), 2u);
  ASSERT_EQ(tree_.Quoin({"snap", "rm", "a@two"}).exit_status, 0);
  EXPECT_FALSE(IsThere(tree_.snapshot("a", "two")));
  EXPECT_FALSE(IsThere(tree_.snapshot("a", "latest")));
}

// The kernel knows of these where they are made, and not of what they mean elsewhere.
TEST_F(ListingTest, WhatIsDoneThroughTheMountShowsInTheWholeTreeAtOnce) {
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
    ASSERT_EQ(Touch(tree_.snapshot("a", "only")), 0);
    ASSERT_EQ(ListWithFiles(tree_.snapshots("a")), 2u);
    ASSERT_EQ(unlink(tree_.snapshot("a", "only").c_str()), 0);
    EXPECT_FALSE(IsThere(tree_.snapshot("a", "only")));
    EXPECT_FALSE(IsThere(tree_.snapshot("a", "latest")));

    ASSERT_EQ(ListWithFiles(tree_.snapshots("")), 1u);
    ASSERT_EQ(ListWithFiles(tree_.vdi("")), 1u);
    ASSERT_EQ(rename(tree_.vdi("a").c_str(), tree_.vdi("b").c_str()), 0);
    EXPECT_FALSE(IsThere(tree_.vdi("a")));
    EXPECT_FALSE(IsThere(tree_.snapshots("a")));
    EXPECT_TRUE(IsThere(tree_.vdi("b")));
    EXPECT_TRUE(IsThere(tree_.snapshots("b")));

    ASSERT_EQ(ListWithFiles(tree_.snapshots("")), 1u);
    ASSERT_EQ(ListWithFiles(tree_.vdi("")), 1u);
    ASSERT_EQ(unlink(tree_.vdi("b").c_str()), 0);
    EXPECT_FALSE(IsThere(tree_.vdi("b")));
    EXPECT_FALSE(IsThere(tree_.snapshots("b")));
  }
}

TEST_F(ListingTest, WhatAnotherHostDoesShowsWithinASecond) {
  MountedStore other;
  ASSERT_TRUE(other.Join(tree_.store()));
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  ASSERT_EQ(ListWithFiles(other.vdi("")), 1u);
  ASSERT_EQ(Truncate(tree_.vdi("a"), 2 * kMiB), 0);
  ASSERT_EQ(rename(tree_.vdi("a").c_str(), tree_.vdi("b").c_str()), 0);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  EXPECT_FALSE(IsThere(other.vdi("a")));
  EXPECT_EQ(StatOf(other.vdi("b")).st_size, static_cast<off_t>(2 * kMiB));
  ASSERT_EQ(ListWithFiles(other.vdi("")), 1u);
  ASSERT_EQ(unlink(tree_.vdi("b").c_str()), 0);
  ASSERT_EQ(CreateWithSize(tree_.vdi("b"), 3 * kMiB), 0);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  EXPECT_EQ(StatOf(other.vdi("b")).st_size, static_cast<off_t>(3 * kMiB));
}

}  // namespace
}  // namespace quoin

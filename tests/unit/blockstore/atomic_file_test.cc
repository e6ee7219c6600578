#include "blockstore/base/atomic_file.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/simulated_file_system.h"

namespace quoin {
namespace {

constexpr uint64_t kLimitBytes = 1 << 20;
constexpr uint64_t kMaxSteps = 20;
constexpr uint64_t kSeeds = 40;

const std::string kOld = PatternOf(1, 3'000);
const std::string kNew = PatternOf(2, 5'000);

std::string ContentOf(FileSystem& fs, const std::string& path) {
  const Result<std::string> bytes = ReadWholeFile(fs, path, kLimitBytes);
  return bytes ? *bytes : std::string(ToWord(bytes.error().code));
}

// Runs `act` with the machine stopping at its first step, its second and so on, for each way to
// crash, and `check(content of /d/file, act returned success)` after each. `with_old`: the file is
// there before.
template <typename Act, typename Check>
void CrashAtEveryStep(bool with_old, Act act, Check check) {
  bool finished = false;
  for (uint64_t step = 1; !finished; ++step) {
    ASSERT_LT(step, kMaxSteps);
    for (uint64_t seed = 0; seed <= kSeeds; ++seed) {
      SimulatedFileSystem fs;
      ASSERT_OK(fs.MakeDirectory("/d"));
      ASSERT_OK(fs.SyncDirectory("/"));
      if (with_old) {
        ASSERT_OK(ReplaceFile(fs, "/d/file", "/d/tmp", kOld));
      }
      fs.FailAfter(step, FaultMode::kCrash);
      const Status status = act(fs);
      finished = !fs.stopped();
      fs.Crash(seed == 0 ? CrashMode::kLoseAll : CrashMode::kRandom, seed);
      check(ContentOf(fs, "/d/file"), status.has_value());
    }
  }
}

TEST(ReadWholeFileTest, ReadsAllBytesUpToTheLimit) {
  SimulatedFileSystem fs;
  ASSERT_OK(ReplaceFile(fs, "/a", "/tmp", "12345"));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadWholeFile(fs, "/a", 5));
  EXPECT_EQ(bytes, "12345");
  EXPECT_ERROR(kCorrupt, ReadWholeFile(fs, "/a", 4));
  EXPECT_ERROR(kNotFound, ReadWholeFile(fs, "/b", 4));
}

TEST(ReadWholeFileTest, AnEmptyFileIsEmpty) {
  SimulatedFileSystem fs;
  ASSERT_OK(ReplaceFile(fs, "/a", "/tmp", ""));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadWholeFile(fs, "/a", 0));
  EXPECT_EQ(bytes, "");
}

TEST(ReplaceFileTest, MakesAndReplaces) {
  SimulatedFileSystem fs;
  ASSERT_OK(ReplaceFile(fs, "/a", "/tmp", kOld));
  ASSERT_OK(ReplaceFile(fs, "/a", "/tmp", kNew));
  EXPECT_EQ(ContentOf(fs, "/a"), kNew);
  EXPECT_ERROR(kNotFound, fs.Facts("/tmp"));
}

TEST(ReplaceFileTest, ACrashAtAnyStepLeavesTheOldOrTheNewFile) {
  std::set<std::string> seen;
  CrashAtEveryStep(
      true, [](FileSystem& fs) { return ReplaceFile(fs, "/d/file", "/d/tmp", kNew); },
      [&seen](const std::string& content, bool returned) {
        EXPECT_TRUE(content == kNew || (content == kOld && !returned)) << content.size();
        seen.insert(content);
      });
  EXPECT_EQ(seen.size(), 2u);
}

TEST(ReplaceFileTest, AnErrorAtAnyStepLeavesOneWholeFileAndNoTemporary) {
  for (uint64_t step = 1; step <= 5; ++step) {
    SimulatedFileSystem fs;
    ASSERT_OK(ReplaceFile(fs, "/a", "/tmp", kOld));
    fs.FailAfter(step, FaultMode::kErrorOnce, ErrorCode::kNoSpace);
    const Status status = ReplaceFile(fs, "/a", "/tmp", kNew);
    EXPECT_ERROR(kNoSpace, status);
    // The last step is the sync of the folder, after which the new name is seen already.
    EXPECT_EQ(ContentOf(fs, "/a"), step == 5 ? kNew : kOld);
    EXPECT_ERROR(kNotFound, fs.Facts("/tmp"));
  }
  SimulatedFileSystem fs;
  const uint64_t before = fs.steps();
  ASSERT_OK(ReplaceFile(fs, "/a", "/tmp", kOld));
  EXPECT_EQ(fs.steps() - before, 5u) << "the loop above knows the number of steps";
}

TEST(PublishNewFileTest, NeverReplaces) {
  SimulatedFileSystem fs;
  ASSERT_OK(PublishNewFile(fs, "/a", "/tmp", kOld));
  EXPECT_ERROR(kExists, PublishNewFile(fs, "/a", "/tmp", kNew));
  EXPECT_EQ(ContentOf(fs, "/a"), kOld);
  EXPECT_ERROR(kNotFound, fs.Facts("/tmp"));
}

TEST(PublishNewFileTest, ACrashAtAnyStepLeavesTheWholeFileOrNone) {
  std::set<std::string> seen;
  CrashAtEveryStep(
      false, [](FileSystem& fs) { return PublishNewFile(fs, "/d/file", "/d/tmp", kNew); },
      [&seen](const std::string& content, bool returned) {
        EXPECT_TRUE(content == kNew || (content == "not_found" && !returned)) << content.size();
        seen.insert(content);
      });
  EXPECT_EQ(seen.size(), 2u);
}

TEST(ParentPathTest, IsTheFolderPart) {
  EXPECT_EQ(ParentPath("/a/b"), "/a");
  EXPECT_EQ(ParentPath("/a"), "/");
  EXPECT_EQ(ParentPath("a/b/c"), "a/b");
  EXPECT_EQ(ParentPath("a"), ".");
}

}  // namespace
}  // namespace quoin

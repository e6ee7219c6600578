#include "metadata/settled_files.h"

#include <gtest/gtest.h>

namespace quoin {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class SettledFilesTest : public ::testing::Test {
 protected:
  using Files = SettledFiles<int>;

  static FileFacts FileAt(int64_t changed_ns, uint64_t inode = 1) {
    FileFacts facts;
    facts.identity = {1, inode};
    facts.mtime_ns = facts.ctime_ns = changed_ns;
    return facts;
  }
  static constexpr int64_t Nanoseconds(milliseconds time) {
    return std::chrono::nanoseconds(time).count();
  }
  // Looks, and reads this value if it has to; what counts in the end.
  int Value(const std::string& path, const FileFacts& facts, int in_file, milliseconds after) {
    const Files::Look look = files_.At(path, facts, start_ + after);
    if (look.known) return *look.known;
    files_.Remember(path, look, in_file);
    return in_file;
  }

  Files files_;
  const Files::Clock::time_point start_ = Files::Clock::now();
};

constexpr int64_t kLongAgo = 1'700'000'000'000'000'000;

TEST_F(SettledFilesTest, WhatWasReadOnceTheTimesHaveStoodCounts) {
  const FileFacts file = FileAt(kLongAgo);
  EXPECT_EQ(Value("a", file, 1, milliseconds(0)), 1);
  EXPECT_EQ(Value("a", file, 2, milliseconds(100)), 2) << "a change meanwhile might not show";
  EXPECT_EQ(Value("a", file, 3, Files::kSettled), 3);
  EXPECT_EQ(Value("a", file, 4, 2 * Files::kSettled), 3);
  EXPECT_EQ(Value("a", file, 5, std::chrono::hours(1)), 3);
}

TEST_F(SettledFilesTest, WhatWasReadTooSoonDoesNotCountLater) {
  const FileFacts file = FileAt(kLongAgo);
  EXPECT_EQ(Value("a", file, 1, milliseconds(0)), 1);
  EXPECT_EQ(Value("a", file, 2, std::chrono::hours(1)), 2);
}

TEST_F(SettledFilesTest, AnotherFileWithALaterTimeTellsThatTheClockHasGoneOn) {
  const FileFacts file = FileAt(kLongAgo);
  Value("b", FileAt(kLongAgo + Nanoseconds(Files::kSettled) - 1, 2), 0, milliseconds(0));
  EXPECT_EQ(Value("a", file, 1, milliseconds(0)), 1);
  EXPECT_EQ(Value("a", file, 2, milliseconds(0)), 2);
  Value("b", FileAt(kLongAgo + Nanoseconds(Files::kSettled), 2), 0, milliseconds(0));
  EXPECT_EQ(Value("a", file, 3, milliseconds(0)), 3);
  EXPECT_EQ(Value("a", file, 4, milliseconds(0)), 3);
}

// Its own time does not: a look that read the file before is not made good by it.
TEST_F(SettledFilesTest, TheClockCountsAsOfTheLookAndNotOfTheReading) {
  const FileFacts file = FileAt(kLongAgo);
  const Files::Look look = files_.At("a", file, start_);
  Value("b", FileAt(kLongAgo + Nanoseconds(seconds(10)), 2), 0, milliseconds(0));
  files_.Remember("a", look, 1);
  EXPECT_EQ(Value("a", file, 2, milliseconds(0)), 2);
}

TEST_F(SettledFilesTest, EveryChangeThatShowsMakesItBeReadAgain) {
  Value("b", FileAt(kLongAgo + Nanoseconds(seconds(10)), 2), 0, milliseconds(0));
  const FileFacts file = FileAt(kLongAgo);
  FileFacts written = file;
  written.mtime_ns += 1;
  FileFacts linked = file;
  linked.ctime_ns += 1;
  FileFacts elsewhere = file;
  elsewhere.identity.device = 2;
  EXPECT_EQ(Value("a", file, 1, milliseconds(0)), 1);
  EXPECT_EQ(Value("a", file, 2, milliseconds(0)), 1);
  EXPECT_EQ(Value("a", written, 3, milliseconds(0)), 3);
  EXPECT_EQ(Value("a", linked, 4, milliseconds(0)), 4);
  EXPECT_EQ(Value("a", elsewhere, 5, milliseconds(0)), 5);
  EXPECT_EQ(Value("a", FileAt(kLongAgo, 7), 6, milliseconds(0)), 6);
}

TEST_F(SettledFilesTest, NoMoreIsRememberedThanTheLimit) {
  const FileFacts late = FileAt(kLongAgo + Nanoseconds(seconds(10)), 2);
  Value("late", late, 0, milliseconds(0));
  const FileFacts file = FileAt(kLongAgo);
  Value("first", file, 1, milliseconds(0));
  for (size_t i = 0; i < Files::kMaxEntries; ++i) {
    Value(std::to_string(i), file, 0, milliseconds(0));
  }
  EXPECT_EQ(Value("first", file, 2, milliseconds(0)), 2);
}

}  // namespace
}  // namespace quoin

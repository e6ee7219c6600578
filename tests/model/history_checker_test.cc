// That the checker objects to histories that nothing explains, one of each kind, and to nothing else.
#include "tests/model/history_checker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quoin::model {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSectors = 4;
constexpr int kA = 0, kB = 1, kC = 2;  // hosts

class HistoryCheckerTest : public ::testing::Test {
 protected:
  using Values = std::vector<Value>;

  static Answer Ok() { return {}; }
  static Answer Refused(ErrorCode code = ErrorCode::kIo) {
    Answer answer;
    answer.error = Error{code, "refused", {}};
    return answer;
  }
  static Operation Of(Act act) { return {.act = act}; }
  static Operation Whole(Act act, const std::string& snapshot = "") {
    return {.act = act, .count = kSectors, .snapshot = snapshot};
  }
  static Operation WriteOf(Value value, uint64_t first = 0, uint64_t count = kSectors) {
    return {.act = Act::kWrite, .first = first, .count = count, .value = value};
  }
  void Do(int host, const Operation& operation, const Answer& answer = Ok()) {
    checker_.Invoked(host, operation);
    checker_.Answered(host, answer);
  }
  void Open(int host) {
    Answer answer;
    answer.epoch = ++epoch_;
    Do(host, Of(Act::kOpen), answer);
  }
  static Answer Saw(const Values& values) {
    Answer answer;
    answer.values = values;
    return answer;
  }
  void Read(int host, const Values& values) { Do(host, Whole(Act::kRead), Saw(values)); }
  void Glance(int host, const Values& values) { Do(host, Whole(Act::kGlance), Saw(values)); }
  void List(int host, const std::vector<std::string>& names) {
    Answer answer;
    answer.names = names;
    Do(host, Of(Act::kList), answer);
  }
  void Snapshot(int host, const std::string& name, const Answer& answer = Ok()) {
    Do(host, {.act = Act::kSnapshot, .snapshot = name}, answer);
  }
  // A writes and flushes 1, then writes 2 and is killed.
  void DieWithUnflushed() {
    Open(kA);
    Do(kA, WriteOf(1));
    Do(kA, Of(Act::kFlush));
    Do(kA, WriteOf(2));
    checker_.Killed(kA);
  }
  void ExpectViolation(const std::string& part) {
    ASSERT_TRUE(checker_.violation());
    EXPECT_THAT(*checker_.violation(), HasSubstr(part));
  }
  void ExpectNone() { EXPECT_FALSE(checker_.violation()) << *checker_.violation(); }

  HistoryChecker checker_{3, 1, kSectors};
  uint64_t epoch_ = 1;
};

// ------------------------------------------------------------------------------- what is right

TEST_F(HistoryCheckerTest, AnUnflushedWriteIsThereOrNotSectorBySectorAndThenForGood) {
  DieWithUnflushed();
  Open(kB);
  Read(kB, {1, 2, 2, 1});
  Read(kB, {1, 2, 2, 1});
  Snapshot(kB, "s");
  checker_.Killed(kB);
  Open(kC);
  Read(kC, {1, 2, 2, 1});
  Do(kA, Whole(Act::kReadSnapshot, "s"), Saw({1, 2, 2, 1}));
  ExpectNone();
  EXPECT_EQ(checker_.successions(), 2u);
}

TEST_F(HistoryCheckerTest, WhatWasAskedBeforeASuccessionMayBeAnsweredAfterIt) {
  Open(kA);
  Do(kA, WriteOf(1));
  checker_.Invoked(kA, Of(Act::kFlush));
  Open(kB);
  checker_.Answered(kA, Ok());
  Read(kB, {1, 1, 1, 1});
  Do(kA, WriteOf(2), Refused(ErrorCode::kLostOwnership));
  Read(kB, {1, 1, 1, 1});
  ExpectNone();
}

TEST_F(HistoryCheckerTest, AReaderElsewhereSeesTheLastReleaseOrLater) {
  Open(kA);
  Do(kA, WriteOf(1));
  Glance(kB, {0, 0, 0, 0});
  Do(kA, Of(Act::kClose));
  Glance(kB, {1, 1, 1, 1});
  Open(kA);
  Do(kA, WriteOf(2));
  Glance(kB, {1, 2, 1, 1});
  Glance(kB, {2, 2, 1, 2});
  ExpectNone();
}

TEST_F(HistoryCheckerTest, ACrashOfTheStorageMayUndoWhatWasReadButNotWhatWasFlushed) {
  DieWithUnflushed();
  Open(kA);
  Read(kA, {2, 2, 2, 2});
  checker_.StorageCrashed();
  Open(kB);
  Read(kB, {1, 2, 1, 2});
  ExpectNone();
}

TEST_F(HistoryCheckerTest, ASnapshotThatWasNotAnsweredMayBeThereOrNot) {
  Open(kA);
  Snapshot(kA, "s", Refused());
  checker_.Invoked(kA, {.act = Act::kSnapshot, .snapshot = "t"});
  checker_.Killed(kA);
  Open(kB);
  List(kB, {"t"});
  ExpectNone();
}

// ------------------------------------------------------------------------------- what is wrong

TEST_F(HistoryCheckerTest, AFlushedWriteThatIsLost) {
  DieWithUnflushed();
  Open(kB);
  Read(kB, {1, 1, 0, 1});
  ExpectViolation("sector 2 is zeros, but must be w1 or w2");
}

TEST_F(HistoryCheckerTest, ASectorThatChangesAfterItWasReadByTheNextOwner) {
  DieWithUnflushed();
  Open(kB);
  Read(kB, {1, 1, 1, 1});
  Read(kB, {1, 1, 1, 2});
  ExpectViolation("sector 3 is w2, but must be w1");
}

TEST_F(HistoryCheckerTest, AWriteOfAStaleOwnerThatIsSeen) {
  DieWithUnflushed();
  Open(kA);
  Open(kB);
  Do(kA, WriteOf(3), Refused());
  Read(kB, {1, 1, 3, 1});
  ExpectViolation("sector 2 is w3");
}

TEST_F(HistoryCheckerTest, AWriteOfAStaleOwnerThatAReaderElsewhereSees) {
  Open(kA);
  Open(kB);
  Do(kA, WriteOf(3), Refused());
  Glance(kC, {0, 0, 3, 0});
  ExpectViolation("no owner wrote there");
}

TEST_F(HistoryCheckerTest, AFlushThatAStaleOwnerIsToldSucceeded) {
  Open(kA);
  Do(kA, WriteOf(1));
  Open(kB);
  Do(kA, Of(Act::kFlush));
  ExpectViolation("host 1 had become the owner before it was asked");
}

TEST_F(HistoryCheckerTest, AReadThatAStaleOwnerIsAnswered) {
  Open(kA);
  Open(kB);
  Read(kA, {0, 0, 0, 0});
  ExpectViolation("host 1 had become the owner before it was asked");
}

TEST_F(HistoryCheckerTest, AFlushThatWasUnderWayAndIsNotInWhatTheNextOwnerFound) {
  Open(kA);
  Do(kA, WriteOf(1));
  checker_.Invoked(kA, Of(Act::kFlush));
  Open(kB);
  Read(kB, {1, 0, 1, 1});
  checker_.Answered(kA, Ok());
  ExpectViolation("sector 1 was w1 then, but host 1, the next owner, found zeros");
}

TEST_F(HistoryCheckerTest, ASnapshotThatChanges) {
  Open(kA);
  Do(kA, WriteOf(1));
  Snapshot(kA, "s");
  Do(kA, WriteOf(2));
  Do(kB, Whole(Act::kReadSnapshot, "s"), Saw({1, 1, 1, 2}));
  ExpectViolation("sector 3 of the snapshot is w2, but must be w1");
}

TEST_F(HistoryCheckerTest, ASnapshotThatIsNotOneWithWhatItsTakerRead) {
  DieWithUnflushed();
  Open(kB);
  Snapshot(kB, "s");
  Read(kB, {1, 1, 1, 2});
  Do(kB, Whole(Act::kReadSnapshot, "s"), Saw({1, 1, 2, 2}));
  ExpectViolation("sector 2 of the snapshot is w2, but must be w1");
}

TEST_F(HistoryCheckerTest, ASnapshotThatVanishes) {
  Open(kA);
  Snapshot(kA, "s");
  checker_.Killed(kA);
  Open(kB);
  List(kB, {});
  ExpectViolation("the snapshot s is not there any more");
}

TEST_F(HistoryCheckerTest, ASnapshotThatComesBack) {
  Open(kA);
  Snapshot(kA, "s", Refused());
  checker_.Killed(kA);
  Open(kB);
  List(kB, {});
  List(kC, {"s"});
  ExpectViolation("s is there, though an owner did not have it");
}

TEST_F(HistoryCheckerTest, ASnapshotThatIsAnsweredThoughTheNextOwnerDoesNotHaveIt) {
  Open(kA);
  checker_.Invoked(kA, {.act = Act::kSnapshot, .snapshot = "s"});
  Open(kB);
  List(kB, {});
  checker_.Answered(kA, Ok());
  ExpectViolation("the next owner did not have it");
}

TEST_F(HistoryCheckerTest, AReaderElsewhereThatGoesBack) {
  Open(kA);
  Do(kA, WriteOf(1));
  Do(kA, Of(Act::kFlush));
  Glance(kB, {1, 1, 1, 1});
  Glance(kC, {1, 0, 1, 1});
  ExpectViolation("older than what was published or seen before");
}

TEST_F(HistoryCheckerTest, AReaderElsewhereThatMissesARelease) {
  Open(kA);
  Do(kA, WriteOf(1));
  Do(kA, Of(Act::kClose));
  Glance(kB, {1, 1, 0, 1});
  ExpectViolation("at least w1 was to be seen");
}

TEST_F(HistoryCheckerTest, AnEpochThatDoesNotRise) {
  Open(kA);
  epoch_ = 1;
  Open(kB);
  ExpectViolation("epoch 2 after 2");
}

TEST_F(HistoryCheckerTest, BytesOfNobodys) {
  Open(kA);
  Read(kA, {0, kNobodys, 0, 0});
  ExpectViolation("sector 1 is nobody's");
}

TEST_F(HistoryCheckerTest, Damage) {
  Do(kA, Of(Act::kOpen), Refused(ErrorCode::kCorrupt));
  ExpectViolation("damage");
}

TEST(HistoryTest, ASectorIsOfTheWriteThatFilledItInItsPlaceOnly) {
  std::array<std::byte, kSectorBytes> bytes{};
  EXPECT_EQ(ReadSector(0, 3, bytes), kZeros);
  FillSector(7, 1, 2, 0, 3, bytes);
  EXPECT_EQ(ReadSector(0, 3, bytes), 7u);
  EXPECT_EQ(ReadSector(1, 3, bytes), kNobodys);
  EXPECT_EQ(ReadSector(0, 4, bytes), kNobodys);
  bytes[200] ^= std::byte{1};
  EXPECT_EQ(ReadSector(0, 3, bytes), kNobodys);
}

}  // namespace
}  // namespace quoin::model

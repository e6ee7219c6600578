// What a crash, a failing disk and a full one leave of a VDI's database.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "metadata/vdi_database.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

constexpr uint32_t kLastRound = 12;
const char* const kPath = "/vdi.db";

// The region that a round writes, so that rounds overwrite each other's rows too.
uint32_t RegionOf(uint32_t round) { return round % 5; }

std::string RunsOf(uint32_t round) { return std::string(200 + round, 'r') + std::to_string(round); }

Status DoRound(VdiDatabase& database, uint32_t round) {
  QUOIN_ASSIGN(auto change, database.Begin());
  VdiRecord vdi = PlainState().vdi;
  vdi.epoch = round;  // tells which round is the last one
  QUOIN_TRY(change.PutVdi(vdi));
  QUOIN_TRY(change.PutOwnership(1, {{RegionOf(round), RunsOf(round)}}));
  QUOIN_TRY(change.Commit());
  return round % 5 == 0 ? database.Checkpoint() : Status();
}

// Makes a database and commits rounds until something fails. Returns the last round that was
// committed; nothing if not even Create succeeded.
std::optional<uint32_t> RunUntilFailure(FileSystem& file_system) {
  VdiState state = PlainState();
  state.vdi.epoch = 0;
  auto database = VdiDatabase::Create(file_system, kPath, state);
  if (!database) return std::nullopt;
  uint32_t committed = 0;
  for (uint32_t round = 1; round <= kLastRound; ++round) {
    if (!DoRound(**database, round)) break;
    committed = round;
  }
  return committed;
}

// The database holds the rounds up to one of at least `at_least`, and all of each.
void ExpectWholeRounds(VdiDatabase& database, uint32_t at_least) {
  ASSERT_OK_AND_ASSIGN(const VdiState state, database.Load());
  const auto last = static_cast<uint32_t>(state.vdi.epoch);
  EXPECT_GE(last, at_least);
  EXPECT_LE(last, at_least + 1);  // the one that was under way may be there or not
  std::map<uint32_t, std::string> expected;
  for (uint32_t round = 1; round <= last; ++round) expected[RegionOf(round)] = RunsOf(round);
  std::map<uint32_t, std::string> found;
  EXPECT_OK(database.LoadOwnership(1, [&](uint32_t region, std::string_view runs) -> Status {
    found.emplace(region, runs);
    return {};
  }));
  EXPECT_EQ(found, expected);
}

uint64_t StepsOfAWholeRun() {
  SimulatedFileSystem file_system;
  EXPECT_EQ(RunUntilFailure(file_system), kLastRound);
  return file_system.steps();
}

class VdiDatabaseCrashTest : public ::testing::TestWithParam<CrashMode> {};

TEST_P(VdiDatabaseCrashTest, ACommitThatReturnedSurvivesAStopAtAnyStepAndNoOtherIsHalfThere) {
  const uint64_t steps = StepsOfAWholeRun();
  ASSERT_GT(steps, 40u);
  for (uint64_t step = 1; step <= steps; ++step) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      SCOPED_TRACE(testing::Message() << "stopped at step " << step << ", seed " << seed);
      SimulatedFileSystem file_system;
      file_system.FailAfter(step, FaultMode::kCrash);
      const std::optional<uint32_t> committed = RunUntilFailure(file_system);
      ASSERT_TRUE(file_system.stopped());
      file_system.Crash(GetParam(), seed);

      auto database = VdiDatabase::Open(file_system, kPath);
      if (!committed) {
        // Not made: then either not there at all, or whole and empty.
        if (!database) {
          EXPECT_ERROR(kNotFound, database);
          continue;
        }
        ExpectWholeRounds(**database, 0);
        continue;
      }
      ASSERT_OK(database);
      ExpectWholeRounds(**database, *committed);
      // And it goes on from there.
      EXPECT_OK(DoRound(**database, kLastRound + 1));
      EXPECT_OK((*database)->Checkpoint());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, VdiDatabaseCrashTest,
                         ::testing::Values(CrashMode::kLoseAll, CrashMode::kRandom,
                                           CrashMode::kProcessOnly));

// The WAL was made by one that only looked, and never synced its name.
TEST(VdiDatabaseNamesTest, ACommitIntoAWalThatAnotherConnectionMadeSurvivesAPowerCut) {
  SimulatedFileSystem file_system;
  ASSERT_OK(file_system.MakeDirectory("/vdi"));
  ASSERT_OK(file_system.SyncDirectory("/"));
  const std::string path = "/vdi/vdi.db";
  VdiState state = PlainState();
  state.vdi.epoch = 0;
  ASSERT_OK(VdiDatabase::Create(file_system, path, state));
  for (const uint32_t rounds : {0u, 1u}) {
    ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system, path));
    ASSERT_OK(database->Load());
    if (rounds == 1) {
      ASSERT_OK(DoRound(*database, 1));
      file_system.FailAfter(1, FaultMode::kCrash);  // nothing is tidied up
    }
  }
  file_system.Crash(CrashMode::kLoseAll);
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system, path));
  ExpectWholeRounds(*database, 1);
}

TEST(VdiDatabaseFaultTest, AnyCallThatFailsOnceIsReportedAndHarmsNothing) {
  const uint64_t steps = StepsOfAWholeRun();
  for (const ErrorCode code : {ErrorCode::kIo, ErrorCode::kNoSpace}) {
    for (uint64_t step = 1; step <= steps; ++step) {
      SCOPED_TRACE(testing::Message() << ToWord(code) << " at step " << step);
      SimulatedFileSystem file_system;
      file_system.FailAfter(step, FaultMode::kErrorOnce, code);
      const std::optional<uint32_t> committed = RunUntilFailure(file_system);
      file_system.ClearFaults();
      file_system.Crash(CrashMode::kProcessOnly);
      auto database = VdiDatabase::Open(file_system, kPath);
      if (!committed && !database) {
        EXPECT_ERROR(kNotFound, database);
        continue;
      }
      ASSERT_OK(database);
      ExpectWholeRounds(**database, committed.value_or(0));
    }
  }
}

TEST(VdiDatabaseFaultTest, ACommitOnAFullStoreIsNoSpaceAndTheSameConnectionWorksWhenThereIsRoom) {
  SimulatedFileSystem file_system;
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Create(file_system, kPath, PlainState()));
  ASSERT_OK(DoRound(*database, 1));
  file_system.SetCapacity(file_system.used_bytes());
  for (uint32_t attempt = 0; attempt < 3; ++attempt) {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    std::vector<RegionRecord> many;
    for (uint32_t region = 10; region < 600; ++region) many.push_back({region, RunsOf(900)});
    const Status put = change.PutOwnership(1, many);
    EXPECT_ERROR(kNoSpace, change.Commit());
    (void)put;  // may fail already, where SQLite's cache overflows
    // Reading works all the while.
    ASSERT_OK_AND_ASSIGN(const VdiState state, database->Load());
    EXPECT_EQ(state.vdi.epoch, 1u);
  }
  file_system.SetCapacity(UINT64_MAX);
  for (uint32_t round = 2; round <= 6; ++round) EXPECT_OK(DoRound(*database, round));
  ExpectWholeRounds(*database, 6);
}

TEST(VdiDatabaseFaultTest, AFullStoreDuringCheckpointLosesNothing) {
  SimulatedFileSystem file_system;
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Create(file_system, kPath, PlainState()));
  {
    ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
    std::vector<RegionRecord> many;
    for (uint32_t region = 0; region < 600; ++region) many.push_back({region, RunsOf(900)});
    ASSERT_OK(change.PutOwnership(1, many));
    ASSERT_OK(change.Commit());
  }
  file_system.SetCapacity(file_system.used_bytes());
  EXPECT_ERROR(kNoSpace, database->Checkpoint());
  uint32_t rows = 0;
  const auto count = [&](uint32_t, std::string_view runs) -> Status {
    EXPECT_EQ(runs, RunsOf(900));
    ++rows;
    return {};
  };
  EXPECT_OK(database->LoadOwnership(1, count));
  EXPECT_EQ(rows, 600u);
  file_system.SetCapacity(UINT64_MAX);
  EXPECT_OK(database->Checkpoint());
  rows = 0;
  EXPECT_OK(database->LoadOwnership(1, count));
  EXPECT_EQ(rows, 600u);
}

TEST(VdiDatabaseFaultTest, AStorageThatFencesEndsTheOwnershipAndIsNotReportedAsAnIoError) {
  SimulatedFileSystem file_system;
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Create(file_system, kPath, PlainState()));
  ASSERT_OK(DoRound(*database, 1));
  Fault fault;
  fault.mode = FaultMode::kErrors;
  fault.code = ErrorCode::kLostOwnership;
  fault.only_call = Call::kWrite;
  file_system.Plan(fault);
  EXPECT_ERROR(kLostOwnership, DoRound(*database, 2));
}

TEST(VdiDatabaseFaultTest, AReadThatFailsIsAnIoErrorAndTheNextOneWorks) {
  SimulatedFileSystem file_system;
  { ASSERT_OK(VdiDatabase::Create(file_system, kPath, ChainState(2000))); }
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Open(file_system, kPath));
  Fault fault;
  fault.only_call = Call::kRead;
  file_system.Plan(fault);
  EXPECT_ERROR(kIo, database->Load());
  EXPECT_OK(database->Load());
}

TEST(VdiDatabaseCostTest, ACommitIsOneSyncAndNoOtherFileIsTouched) {
  SimulatedFileSystem file_system;
  ASSERT_OK_AND_ASSIGN(const auto database, VdiDatabase::Create(file_system, kPath, PlainState()));
  ASSERT_OK(DoRound(*database, 1));  // makes the WAL
  const uint64_t syncs = file_system.count(Call::kSync);
  const uint64_t folders = file_system.count(Call::kSyncDirectory);
  const uint64_t opens = file_system.count(Call::kOpen) + file_system.count(Call::kCreate);
  for (uint32_t round = 2; round <= 4; ++round) ASSERT_OK(DoRound(*database, round));
  EXPECT_EQ(file_system.count(Call::kSync) - syncs, 3u);
  EXPECT_EQ(file_system.count(Call::kSyncDirectory), folders);
  EXPECT_EQ(file_system.count(Call::kOpen) + file_system.count(Call::kCreate), opens);
}

TEST(VdiDatabaseCostTest, ClosingLeavesNoHandleOpenWhateverFailed) {
  const uint64_t steps = StepsOfAWholeRun();
  for (uint64_t step = 1; step <= steps; ++step) {
    SimulatedFileSystem file_system;
    file_system.FailAfter(step, FaultMode::kErrors);
    RunUntilFailure(file_system);
    EXPECT_EQ(file_system.open_handles(), 0u) << "failing from step " << step;
  }
}

}  // namespace
}  // namespace quoin

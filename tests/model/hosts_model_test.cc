// Several hosts against a HistoryChecker: random opens, writes, snapshots, closes, stops, kills and cuts,
// and whether what the hosts were told can be explained.
//
// A run is one seed. The same seed gives the same run to the last call: what is drawn, how far each host
// comes before it is struck, which of two hosts is first. (Where threads of a seal wait for each other
// while their host is cut off, the order of their calls is the machine's.) Without QUOIN_SEED
// the histories are the same ones each time, so that a failure is due to a change. QUOIN_SEED repeats one, or
// with QUOIN_MODEL_HISTORIES looks at so many others; QUOIN_MODEL_ACTS sets how many acts each has.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <iostream>

#include "tests/model/hosts_world.h"
#include "tests/support/seed.h"

namespace quoin::model {
namespace {

constexpr uint64_t kFirstSeed = 1;
constexpr uint64_t kDefaultHistories = 300;
constexpr uint64_t kDefaultActs = 200;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 10) : otherwise;
}

class HostsModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    level_ = spdlog::default_logger()->level();
    spdlog::set_level(spdlog::level::off);  // hosts that lose VDIs have much to say
  }
  void TearDown() override { spdlog::set_level(level_); }

  spdlog::level::level_enum level_ = spdlog::level::info;
};

TEST_F(HostsModelTest, WhatSeveralHostsWereToldIsExplainedByOneOrderOfWrites) {
  const bool repeats = std::getenv("QUOIN_SEED") != nullptr;
  const uint64_t first = repeats ? DrawSeed() : kFirstSeed;
  const uint64_t histories =
      FromEnvironment("QUOIN_MODEL_HISTORIES", repeats ? 1 : kDefaultHistories);
  const uint64_t acts = FromEnvironment("QUOIN_MODEL_ACTS", kDefaultActs);
  HostsWorld::Tally tally;
  for (uint64_t seed = first; seed < first + histories; ++seed) {
    HostsWorld world(seed);
    const std::optional<std::string> violation = world.Run(acts);
    ASSERT_FALSE(violation) << "QUOIN_SEED=" << seed << ": " << *violation;
    tally += world.tally();
  }
  std::cout << tally.operations << " operations, " << tally.answered << " with success; "
            << tally.successions << " successions, " << tally.unflushed_found
            << " sectors of unflushed writes found; " << tally.stops << " stops, " << tally.kills
            << " kills, " << tally.cuts << " cuts, " << tally.expulsions << " expulsions, "
            << tally.storage_crashes << " crashes of the storage; " << tally.guesses
            << " guesses\n";
  if (histories < kDefaultHistories) return;
  EXPECT_GT(tally.successions, histories / 10);
  EXPECT_GT(tally.unflushed_found, histories / 10);
}

TEST_F(HostsModelTest, OneSeedIsOneRun) {
  constexpr uint64_t kSeeds = 5;
  const uint64_t first = DrawSeed();
  for (uint64_t seed = first; seed < first + kSeeds; ++seed) {
    std::optional<uint64_t> hash;
    for (int run = 0; run < 2; ++run) {
      HostsWorld world(seed);
      (void)world.Run(kDefaultActs);
      if (world.tally().guesses > 0) continue;
      EXPECT_EQ(hash.value_or(world.run_hash()), world.run_hash()) << "QUOIN_SEED=" << seed;
      hash = world.run_hash();
    }
  }
}

}  // namespace
}  // namespace quoin::model

#include "fuse/name_lease.h"

#include <gtest/gtest.h>

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

TEST(NameLeaseTest, WhatWasLookedAtSinceTheLastChangeMayBeUsedForAMoment) {
  NameLease lease;
  EXPECT_DOUBLE_EQ(lease.Grant(lease.changes()), 0.1);
  lease.End();
  EXPECT_DOUBLE_EQ(lease.Grant(lease.changes()), 0.1);
}

TEST(NameLeaseTest, WhatWasLookedAtBeforeAChangeMayNot) {
  NameLease lease;
  const uint64_t before = lease.changes();
  lease.End();
  EXPECT_EQ(lease.Grant(before), 0);
}

TEST(NameLeaseTest, AFolderMayBeUsedWhileWhatWasListedIsLookedAt) {
  NameLease lease;
  EXPECT_EQ(lease.GrantOnTheWay(lease.changes()), 0);
  lease.Grant(lease.changes());
  const uint64_t before = lease.changes();
  EXPECT_DOUBLE_EQ(lease.GrantOnTheWay(before), 0.1);
  lease.End();
  EXPECT_EQ(lease.GrantOnTheWay(before), 0);
}

TEST(NameLeaseTest, AChangeWaitsUntilNothingIsValidAnyMore) {
  NameLease lease;
  const auto begin = Clock::now();
  lease.Grant(lease.changes());
  lease.End();
  EXPECT_GE(Clock::now() - begin, NameLease::kLength);
}

TEST(NameLeaseTest, AChangeOfWhatNobodyWasToldWaitsForNothing) {
  NameLease lease;
  lease.Grant(lease.changes());
  lease.End();
  const auto begin = Clock::now();
  for (int i = 0; i < 1000; ++i) lease.End();
  EXPECT_LT(Clock::now() - begin, 100 * NameLease::kLength) << "each of them has waited";
}

}  // namespace
}  // namespace quoin

#include "snapshots/snapshot_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/seed.h"

namespace quoin {
namespace {

using Snapshots = std::vector<SnapshotRecord>;

SnapshotRecord Made(const std::string& name, uint64_t ordinal) {
  SnapshotRecord snapshot;
  snapshot.id = Id::Random();
  snapshot.name = name;
  snapshot.ordinal = ordinal;
  return snapshot;
}

Snapshots Many(size_t count) {
  Snapshots snapshots;
  for (size_t n = 0; n < count; ++n) snapshots.push_back(Made("s" + std::to_string(n), n + 1));
  return snapshots;
}

TEST(SnapshotIndexTest, FindsEachOfManyAfterOneWalk) {
  const Snapshots snapshots = Many(1000);
  SnapshotIndex index;
  for (const SnapshotRecord& snapshot : snapshots) {
    EXPECT_EQ(index.FindName(snapshots, snapshot.name), &snapshot);
  }
  EXPECT_EQ(index.walks(), 1u);
  for (const SnapshotRecord& snapshot : snapshots) {
    EXPECT_EQ(index.FindId(snapshots, snapshot.id), &snapshot);
  }
  EXPECT_EQ(index.walks(), 2u);
  EXPECT_EQ(index.FindName(snapshots, "missing"), nullptr);
  EXPECT_EQ(index.FindId(snapshots, Id::Random()), nullptr);
}

TEST(SnapshotIndexTest, RemovingOneCostsTheOthersNoWalk) {
  Snapshots snapshots = Many(1000);
  SnapshotIndex index;
  ASSERT_NE(index.FindName(snapshots, "s0"), nullptr);
  snapshots.erase(snapshots.begin() + 10);
  EXPECT_EQ(index.FindName(snapshots, "s10"), nullptr);
  const uint64_t walks = index.walks();
  for (const SnapshotRecord& snapshot : snapshots) {
    EXPECT_EQ(index.FindName(snapshots, snapshot.name), &snapshot);
  }
  EXPECT_EQ(index.walks(), walks);
}

TEST(SnapshotIndexTest, ANameIsThatOfWhoeverHasItNow) {
  Snapshots snapshots = Many(100);
  SnapshotIndex index;
  ASSERT_EQ(index.FindName(snapshots, "s5"), &snapshots[5]);
  std::swap(snapshots[5].name, snapshots[6].name);
  EXPECT_EQ(index.FindName(snapshots, "s5"), &snapshots[6]);
  EXPECT_EQ(index.FindName(snapshots, "s6"), &snapshots[5]);
  // The newest is removed, and another one gets its ordinal.
  const uint64_t ordinal = snapshots.back().ordinal;
  snapshots.pop_back();
  snapshots.push_back(Made("again", ordinal));
  EXPECT_EQ(index.FindName(snapshots, "s99"), nullptr);
  EXPECT_EQ(index.FindName(snapshots, "again"), &snapshots.back());
}

TEST(SnapshotIndexTest, FindsWhatAWalkFindsWhateverHappensToTheList) {
  std::mt19937_64 random(DrawSeed());
  Snapshots snapshots;
  SnapshotIndex index;
  uint64_t next_ordinal = 1;
  const auto any_name = [&] { return "n" + std::to_string(random() % 400); };
  for (int step = 0; step < 20'000; ++step) {
    const std::string name = any_name();
    const auto walked = std::find_if(snapshots.begin(), snapshots.end(),
                                     [&](const auto& s) { return s.name == name; });
    const SnapshotRecord* const expected = walked == snapshots.end() ? nullptr : &*walked;
    ASSERT_EQ(index.FindName(snapshots, name), expected) << "step " << step;
    if (expected != nullptr) {
      ASSERT_EQ(index.FindId(snapshots, expected->id), expected);
    }
    switch (random() % 4) {
      case 0:
        if (expected != nullptr) snapshots.erase(walked);
        break;
      case 1:
        if (const std::string other = any_name();
            expected != nullptr && std::none_of(snapshots.begin(), snapshots.end(),
                                                [&](const auto& s) { return s.name == other; })) {
          walked->name = other;
        }
        break;
      default:
        if (expected == nullptr) snapshots.push_back(Made(name, next_ordinal++));
    }
  }
  EXPECT_GT(snapshots.size(), SnapshotIndex::kMinIndexed);
}

}  // namespace
}  // namespace quoin

// Random histories of maps against plain arrays: edits, growth, truncation, snapshots taken from
// any earlier snapshot; every question that a map answers is asked of both.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <vector>

#include "blockstore/maps/content_digest.h"
#include "blockstore/maps/map.h"
#include "blockstore/maps/map_builder.h"
#include "blockstore/maps/map_walk.h"
#include "blockstore/maps/region_change.h"
#include "blockstore/maps/region_edit.h"
#include "tests/support/memory_records.h"
#include "tests/support/reference_map.h"
#include "tests/support/result_matchers.h"
#include "tests/support/scattered_region.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

struct Snapshot {
  MapRoot root;
  ReferenceMap reference;
};

class MapModelTest : public ::testing::Test {
 protected:
  // Places where regions are: the start, borders between subtrees of several levels, the end.
  static constexpr uint64_t kWindows[] = {0, 15, 255, 4'095, 70'000, kMaxVdiRegions - 2};

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  uint64_t SomeBlock() {
    const uint64_t region = kWindows[Below(std::size(kWindows))] + Below(2);
    return region * kRegionBlocks + (Below(4) == 0 ? 0 : Below(kRegionBlocks));
  }

  // Changes some regions and perhaps cuts the end off, in the map and in the reference.
  Result<Snapshot> Edit(const Snapshot& base) {
    Snapshot next = base;
    const bool cut = Below(8) == 0;
    const uint64_t keep_blocks = cut ? SomeBlock() : kMaxVdiBlocks;
    QUOIN_ASSIGN(const auto map, Map::Open(records_, cache_, base.root));
    MapBuilder builder(*map, records_, keep_blocks);
    if (cut) next.reference.Truncate(keep_blocks);
    for (const uint64_t window : kWindows) {
      for (uint64_t region = window; region < window + 2; ++region) {
        if (region * kRegionBlocks >= keep_blocks) continue;
        const bool is_cut = keep_blocks - region * kRegionBlocks < kRegionBlocks;
        if (Below(4) != 0 && !is_cut) continue;
        QUOIN_ASSIGN(const RegionNode node, EditRegion(*map, region, keep_blocks, next.reference));
        QUOIN_TRY(builder.SetRegion(region, node));
      }
    }
    QUOIN_ASSIGN(next.root, builder.Finish());
    return next;
  }

  Result<RegionNode> EditRegion(const Map& map, uint64_t region, uint64_t keep_blocks,
                                ReferenceMap& reference) {
    const uint64_t first_block = region * kRegionBlocks;
    const auto limit = static_cast<uint32_t>(std::min(kRegionBlocks, keep_blocks - first_block));
    QUOIN_ASSIGN(const auto base, map.ReadRegion(region));
    RegionEdit edit(base == nullptr ? std::span<const MapExtent>() : base->extents);
    if (limit < kRegionBlocks) edit.SetHole(limit, static_cast<uint32_t>(kRegionBlocks - limit));
    for (uint64_t n = Below(6); n > 0; --n) {
      const auto first = static_cast<uint32_t>(Below(2) == 0 ? 0 : Below(limit));
      const auto count =
          static_cast<uint32_t>(Below(4) == 0 ? limit - first : 1 + Below(limit - first) / 50);
      if (Below(3) == 0) {
        edit.SetHole(first, count);
        reference.SetHole(first_block + first, count);
        continue;
      }
      // Few contents and slots, so that equal ones meet; a slot always holds the same content.
      const SlotLocation slot{TestPack(static_cast<uint32_t>(Below(3))),
                              first + static_cast<uint32_t>(Below(3))};
      edit.SetData(first, count, slot);
      for (uint32_t i = 0; i < count; ++i) {
        const SlotLocation at{slot.pack, slot.slot + i};
        reference.SetData(first_block + first + i, 1 + at.slot, at);
      }
    }
    return edit.Build([&](uint32_t block) -> Result<Digest> {
      return TestBlockDigest(reference.At(first_block + block).content);
    });
  }

  void CheckAnswers(const Snapshot& snapshot) {
    ASSERT_OK_AND_ASSIGN(const auto map, Map::Open(records_, cache_, snapshot.root));
    const ReferenceMap& reference = snapshot.reference;
    ASSERT_EQ(snapshot.root.data_blocks, reference.CountData(0, kMaxVdiBlocks));
    for (int i = 0; i < 30; ++i) {
      const uint64_t block = SomeBlock();
      const uint64_t limit = 1 + Below(3 * kRegionBlocks);
      ASSERT_OK_AND_ASSIGN(const MapRun run, map->FindRun(block, limit));
      ASSERT_EQ(run, reference.RunAt(block, limit)) << block;
      ASSERT_EQ(map->CountData(block, limit), reference.CountData(block, block + limit));
      ASSERT_OK_AND_ASSIGN(const auto data, map->FindData(block, block + limit));
      ASSERT_EQ(data, First(reference, true, block, block + limit));
      ASSERT_OK_AND_ASSIGN(const auto hole, map->FindHole(block, block + limit));
      ASSERT_EQ(hole, First(reference, false, block, block + limit));
    }
    for (const uint64_t region : reference.Regions()) {
      ASSERT_OK_AND_ASSIGN(const auto node, map->ReadRegion(region));
      const RegionNode expected = reference.NodeOf(region);
      ASSERT_EQ(node == nullptr, expected.extents.empty()) << region;
      if (node == nullptr) continue;
      ASSERT_EQ(*node, expected) << region;
    }
  }

  static std::optional<uint64_t> First(const ReferenceMap& reference, bool data, uint64_t block,
                                       uint64_t end) {
    for (; block < end; ++block) {
      if ((reference.At(block).content != 0) == data) return block;
    }
    return std::nullopt;
  }

  // The same content, built from nothing and in other slots, is known by the same digest.
  void CheckDigest(const Snapshot& snapshot) {
    ReferenceMap elsewhere;
    for (const uint64_t region : snapshot.reference.Regions()) {
      for (uint64_t i = 0; i < kRegionBlocks; ++i) {
        const uint64_t block = region * kRegionBlocks + i;
        const uint64_t content = snapshot.reference.At(block).content;
        if (content == 0) continue;
        elsewhere.SetData(block, content, {TestPack(77), static_cast<uint32_t>(Below(4) + i)});
      }
    }
    ASSERT_OK_AND_ASSIGN(const MapRoot root, BuildAll(elsewhere, records_, records_, cache_));
    ASSERT_EQ(root.digest, snapshot.root.digest);
    ASSERT_EQ(root.height, snapshot.root.height);
    ASSERT_EQ(root.data_blocks, snapshot.root.data_blocks);
    ASSERT_EQ(ContentDigest(12'345, root), ContentDigest(12'345, snapshot.root));
  }

  void CheckDifferences(const Snapshot& a, const Snapshot& b) {
    ASSERT_OK_AND_ASSIGN(const auto a_map, Map::Open(records_, cache_, a.root));
    ASSERT_OK_AND_ASSIGN(const auto b_map, Map::Open(records_, cache_, b.root));
    const uint64_t first = Below(2) == 0 ? 0 : SomeBlock();
    const uint64_t end = Below(2) == 0 ? kMaxVdiBlocks : first + Below(2 * kRegionBlocks);
    std::vector<std::pair<uint64_t, uint64_t>> found;
    ASSERT_OK(CompareMaps(*a_map, *b_map, first, end, [&](uint64_t at, uint64_t count) -> Status {
      found.push_back({at, count});
      return {};
    }));
    std::vector<std::pair<uint64_t, uint64_t>> expected;
    for (const uint64_t window : kWindows) {
      for (uint64_t region = window; region < window + 2; ++region) {
        if (a.reference.NodeOf(region).digest == b.reference.NodeOf(region).digest) continue;
        for (uint64_t i = 0; i < kRegionBlocks; ++i) {
          const uint64_t block = region * kRegionBlocks + i;
          if (block < first || block >= end) continue;
          if (a.reference.At(block).slot == b.reference.At(block).slot) continue;
          if (!expected.empty() && expected.back().first + expected.back().second == block) {
            ++expected.back().second;
          } else {
            expected.push_back({block, 1});
          }
        }
      }
    }
    ASSERT_EQ(found, expected);
    ASSERT_EQ(a.root.digest == b.root.digest, SameContent(a.reference, b.reference));
  }

  static bool SameContent(const ReferenceMap& a, const ReferenceMap& b) {
    for (const uint64_t window : kWindows) {
      for (uint64_t block = window * kRegionBlocks; block < (window + 2) * kRegionBlocks; ++block) {
        if (a.At(block).content != b.At(block).content) return false;
      }
    }
    return true;
  }

  const uint64_t seed_ = DrawSeed();
  std::mt19937_64 random_{seed_};
  MemoryRecords records_;
  NodeCache cache_{size_t{1} << 20};  // small: nodes come and go
};

TEST_F(MapModelTest, RandomHistoriesAgreeWithPlainArrays) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr int kRounds = 30;
#else
  constexpr int kRounds = 150;
#endif
  std::vector<Snapshot> snapshots(1);
  for (int round = 0; round < kRounds; ++round) {
    const Snapshot& base = snapshots[Below(snapshots.size())];
    ASSERT_OK_AND_ASSIGN(Snapshot next, Edit(base));
    ASSERT_NO_FATAL_FAILURE(CheckAnswers(next));
    ASSERT_NO_FATAL_FAILURE(CheckDifferences(base, next));
    ASSERT_NO_FATAL_FAILURE(CheckDifferences(snapshots[Below(snapshots.size())], next));
    if (round % 4 == 0) {
      ASSERT_NO_FATAL_FAILURE(CheckDigest(next));
    }
    snapshots.push_back(std::move(next));
    if (snapshots.size() > 12) {
      snapshots.erase(snapshots.begin() + static_cast<std::ptrdiff_t>(Below(snapshots.size())));
    }
  }
  // What was snapshotted long ago is as it was.
  for (const Snapshot& snapshot : snapshots) ASSERT_NO_FATAL_FAILURE(CheckAnswers(snapshot));
}

// Thousands of versions of one region, each over any of the last few, so that chains branch; of the
// versions that are kept, some from long ago, every block is where plain arrays say.
class RegionHistoryTest : public ::testing::Test {
 protected:
  using Places = std::array<SlotLocation, kRegionBlocks>;
  struct Version {
    MapRoot root;
    std::shared_ptr<const Places> places;
  };

  uint64_t Below(uint64_t limit) { return random_() % limit; }

  Result<Version> Next(const Version& base, uint64_t number) {
    auto places = std::make_shared<Places>(*base.places);
    const uint64_t changes = Below(50) == 0 ? Below(600) : 1 + Below(8);
    for (uint64_t n = 0; n < changes; ++n) {
      const uint64_t first = Below(kRegionBlocks);
      const uint64_t end = std::min(kRegionBlocks, first + (Below(4) == 0 ? 1 + Below(40) : 1));
      const bool is_hole = Below(6) == 0;
      SlotLocation at{TestPack(static_cast<uint32_t>(1 + number / 32 + Below(2))),
                      static_cast<uint32_t>(Below(60'000))};
      for (uint64_t block = first; block < end; ++block, ++at.slot) {
        (*places)[block] = is_hole ? SlotLocation() : at;
      }
    }
    QUOIN_ASSIGN(const auto map, Map::Open(records_, cache_, base.root));
    MapBuilder builder(*map, records_);
    QUOIN_TRY(builder.SetRegion(0, NodeOf(*places, number)));
    QUOIN_ASSIGN(const MapRoot root, builder.Finish());
    return Version{root, std::move(places)};
  }

  // Block by block, so that nothing is shared with what is tested.
  static RegionNode NodeOf(const Places& places, uint64_t number) {
    RegionNode node;
    node.digest = TestBlockDigest(number);
    for (uint32_t block = 0; block < kRegionBlocks; ++block) {
      if (places[block].IsNull()) continue;
      const MapExtent extent{static_cast<uint16_t>(block), 1, places[block]};
      if (!node.extents.empty() && Continues(node.extents.back(), extent)) {
        ++node.extents.back().count;
      } else {
        node.extents.push_back(extent);
      }
    }
    return node;
  }

  void Check(const Version& version) {
    const auto node = ReadMapNode(records_, ChildOfRoot(version.root), 0);
    ASSERT_OK(node);
    longest_ = std::max(longest_, (*node)->chain().bases.size());
    const RegionEdit found((*node)->region()->extents);
    for (uint32_t block = 0; block < kRegionBlocks; ++block) {
      ASSERT_EQ(found.SlotOf(block), (*version.places)[block]) << block;
    }
  }

  std::mt19937_64 random_{DrawSeed()};
  MemoryRecords records_;
  NodeCache cache_{size_t{4} << 20};
  size_t longest_ = 0;
};

TEST_F(RegionHistoryTest, ThousandsOfVersionsAreReadAsPlainArraysSay) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr uint64_t kVersions = 600;
#else
  constexpr uint64_t kVersions = 5'000;
#endif
  constexpr size_t kKept = 64;
  ASSERT_OK_AND_ASSIGN(Version first, Next({{}, std::make_shared<Places>()}, 1));
  std::vector<Version> kept = {std::move(first)};
  for (uint64_t number = 2; number <= kVersions; ++number) {
    const size_t recent = std::min<size_t>(kept.size(), Below(20) == 0 ? kept.size() : 2);
    const Version& base = kept[kept.size() - 1 - Below(recent)];
    ASSERT_OK_AND_ASSIGN(Version next, Next(base, number));
    ASSERT_NO_FATAL_FAILURE(Check(next)) << number;
    kept.push_back(std::move(next));
    if (kept.size() <= kKept) continue;
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(Below(kept.size() - 1)));
  }
  for (const Version& version : kept) ASSERT_NO_FATAL_FAILURE(Check(version));
  EXPECT_GE(longest_, 3u);
  EXPECT_LE(longest_, 12u);
}

}  // namespace
}  // namespace quoin

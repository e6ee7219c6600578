#include "metadata/digest_index.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "metadata/host.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temporary_directory.h"

namespace quoin {
namespace {

constexpr uint64_t kRoom = 1'000'000;

Id NumberedId(uint64_t number) {
  std::array<uint8_t, Id::kBytes> bytes{};
  std::memcpy(bytes.data(), &number, sizeof number);
  bytes[15] = 1;
  return Id::FromBytes(bytes);
}

// The `number`-th of many digests; sampled, all of them.
Digest Sampled(uint64_t number) {
  uint64_t prefix = (number + 1) * 0x9e3779b97f4a7c15ULL / DigestIndex::kSampling;
  prefix *= DigestIndex::kSampling;
  Digest digest;
  std::memcpy(digest.bytes.data(), &prefix, sizeof prefix);
  digest.bytes[31] = static_cast<uint8_t>(number);
  return digest;
}

DigestIndex::PackDigests Contents(uint64_t first, size_t count) {
  DigestIndex::PackDigests contents;
  for (size_t i = 0; i < count; ++i) {
    contents.digests.push_back(Sampled(first + i));
    contents.slots.push_back(static_cast<uint32_t>(i));
  }
  return contents;
}

void Add(DigestIndex& index, const Id& pack, const DigestIndex::PackDigests& contents) {
  index.AddPack(pack, contents.digests, contents.slots);
}

class DigestIndexTest : public ::testing::Test {
 protected:
  std::unique_ptr<DigestIndex> Open(uint64_t max_entries = kRoom) {
    auto index = DigestIndex::Open(folder_, store_, max_entries);
    EXPECT_OK(index);
    return index ? *std::move(index) : nullptr;
  }

  std::string Bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

  // A closed index with one pack of 2,000 digests.
  void MakeFile() {
    const auto index = Open();
    Add(*index, NumberedId(1), Contents(0, 2000));
    ASSERT_FALSE(index->is_private());
  }

  // Whatever was in the file: there is an index on the disk, and it takes and keeps a pack.
  void ExpectUsable() {
    const Digest fresh = Sampled(1'000'000'007);
    {
      const auto index = Open();
      ASSERT_NE(index, nullptr);
      EXPECT_FALSE(index->is_private());
      for (uint64_t i = 0; i < 2000; i += 100) {
        const auto found = index->Lookup(Sampled(i));
        if (found.empty()) continue;
        EXPECT_EQ(found, (std::vector<SlotLocation>{{NumberedId(1), static_cast<uint32_t>(i)}}));
      }
      index->AddPack(NumberedId(9), std::span(&fresh, 1), std::vector<uint32_t>{7});
    }
    EXPECT_EQ(Open()->Lookup(fresh), (std::vector<SlotLocation>{{NumberedId(9), 7}}));
  }

  const TemporaryDirectory directory_;
  const Id store_ = NumberedId(77);
  const std::string folder_ = StoreStateDir(directory_ / "state", store_);
  const std::string path_ = folder_ + "/index.db";
};

TEST_F(DigestIndexTest, FindsWhatWasAddedAlsoAfterReopening) {
  {
    const auto index = Open();
    Add(*index, NumberedId(1), Contents(0, 100));
    Add(*index, NumberedId(2), Contents(100, 50));
    EXPECT_EQ(index->entries(), 150u);
  }
  const auto index = Open();
  EXPECT_FALSE(index->is_private());
  EXPECT_EQ(index->entries(), 150u);
  EXPECT_EQ(index->Packs(), (std::vector<Id>{NumberedId(1), NumberedId(2)}));
  for (uint32_t i = 0; i < 150; ++i) {
    const SlotLocation expected{NumberedId(i < 100 ? 1 : 2), i < 100 ? i : i - 100};
    EXPECT_EQ(index->Lookup(Sampled(i)), std::vector<SlotLocation>{expected}) << i;
  }
  EXPECT_TRUE(index->Lookup(Sampled(150)).empty());
}

TEST_F(DigestIndexTest, KeepsOneDigestInEightAndOnlyTheSampledOnes) {
  const auto index = Open();
  std::mt19937_64 random(1);
  DigestIndex::PackDigests contents;
  for (uint32_t slot = 0; slot < 8000; ++slot) {
    Digest digest;
    const uint64_t prefix = random();
    std::memcpy(digest.bytes.data(), &prefix, sizeof prefix);
    contents.digests.push_back(digest);
    contents.slots.push_back(slot);
  }
  Add(*index, NumberedId(1), contents);
  uint64_t sampled = 0;
  for (uint32_t slot = 0; slot < 8000; ++slot) {
    const bool is_sampled = DigestIndex::IsSampled(contents.digests[slot]);
    sampled += is_sampled ? 1 : 0;
    EXPECT_EQ(index->Lookup(contents.digests[slot]).size(), is_sampled ? 1u : 0u);
  }
  EXPECT_EQ(index->entries(), sampled);
  EXPECT_GT(sampled, 850u);
  EXPECT_LT(sampled, 1150u);
}

TEST_F(DigestIndexTest, ABlockInSeveralPacksGivesEachOfThemUpToTheLimit) {
  const auto index = Open();
  for (uint64_t pack = 1; pack <= DigestIndex::kMaxCandidates + 3; ++pack) {
    Add(*index, NumberedId(pack), Contents(5, 1));
    const auto found = index->Lookup(Sampled(5));
    ASSERT_EQ(found.size(), std::min<size_t>(pack, DigestIndex::kMaxCandidates));
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].pack, NumberedId(i + 1));
  }
}

TEST_F(DigestIndexTest, APackIsRemovedOrReplacedWhole) {
  const auto index = Open();
  Add(*index, NumberedId(1), Contents(0, 10));
  Add(*index, NumberedId(2), Contents(10, 10));
  index->RemovePack(NumberedId(1));
  index->RemovePack(NumberedId(3));  // never heard of: nothing happens
  EXPECT_EQ(index->Packs(), std::vector<Id>{NumberedId(2)});
  EXPECT_TRUE(index->Lookup(Sampled(3)).empty());
  EXPECT_EQ(index->Lookup(Sampled(13)).size(), 1u);
  Add(*index, NumberedId(2), Contents(15, 2));
  EXPECT_EQ(index->entries(), 2u);
  EXPECT_TRUE(index->Lookup(Sampled(13)).empty());
  EXPECT_EQ(index->Lookup(Sampled(16)), (std::vector<SlotLocation>{{NumberedId(2), 1}}));
}

TEST_F(DigestIndexTest, SlotsThatDiedAreForgottenAndNoOthers) {
  const auto index = Open();
  Add(*index, NumberedId(1), Contents(0, 10));
  Add(*index, NumberedId(2), Contents(0, 10));
  index->RemoveSlots(NumberedId(1), [](uint32_t slot) { return slot >= 3 && slot < 6; });
  index->RemoveSlots(NumberedId(3), [](uint32_t) { return true; });
  EXPECT_EQ(index->entries(), 17u);
  for (uint32_t slot = 0; slot < 10; ++slot) {
    EXPECT_EQ(index->Lookup(Sampled(slot)).size(), slot >= 3 && slot < 6 ? 1u : 2u) << slot;
  }
}

TEST_F(DigestIndexTest, BeyondItsRoomThePacksAddedLongestAgoAreDroppedWhole) {
  {
    const auto index = Open(100);
    for (uint64_t pack = 1; pack <= 5; ++pack) {
      Add(*index, NumberedId(pack), Contents(pack * 100, 30));
      EXPECT_LE(index->entries(), 100u);
    }
    EXPECT_EQ(index->Packs(), (std::vector<Id>{NumberedId(3), NumberedId(4), NumberedId(5)}));
    EXPECT_TRUE(index->Lookup(Sampled(201)).empty());
    EXPECT_EQ(index->Lookup(Sampled(301)).size(), 1u);
    Add(*index, NumberedId(6), Contents(600, 101));  // alone too large
    EXPECT_EQ(index->entries(), 0u);
    Add(*index, NumberedId(7), Contents(700, 60));
    Add(*index, NumberedId(8), Contents(800, 40));
    EXPECT_EQ(index->entries(), 100u);
  }
  const auto smaller = Open(50);  // opened with less room
  EXPECT_EQ(smaller->Packs(), std::vector<Id>{NumberedId(8)});
}

TEST_F(DigestIndexTest, ReconcileAddsWhatIsNewAndDropsWhatIsGoneInBoundedSteps) {
  const auto index = Open();
  for (uint64_t pack = 1; pack <= 5; ++pack) Add(*index, NumberedId(pack), Contents(pack * 100, 3));
  std::vector<Id> present;
  for (uint64_t pack = 4; pack <= 9; ++pack) present.push_back(NumberedId(pack));
  std::vector<Id> loaded;
  const auto load = [&](const Id& pack) -> Result<DigestIndex::PackDigests> {
    loaded.push_back(pack);
    return Contents(pack.bytes()[0] * 100u, 3);
  };
  const auto step = [&](size_t added, size_t dropped, bool finished) {
    const auto progress = index->Reconcile(present, load, 2);
    EXPECT_EQ(progress.added, added);
    EXPECT_EQ(progress.dropped, dropped);
    EXPECT_EQ(progress.finished, finished);
  };
  step(0, 2, false);
  step(1, 1, false);
  step(2, 0, false);
  step(1, 0, true);
  step(0, 0, true);
  EXPECT_EQ(loaded.size(), 4u);
  EXPECT_EQ(index->Packs(), present);
  for (uint64_t pack = 1; pack <= 9; ++pack) {
    EXPECT_EQ(index->Lookup(Sampled(pack * 100 + 2)).size(), pack < 4 ? 0u : 1u) << pack;
  }
}

TEST_F(DigestIndexTest, ReconcileLeavesOutWhatCannotBeLoadedAndWhatWasDroppedForWantOfRoom) {
  const auto index = Open(100);
  std::vector<Id> present;
  for (uint64_t pack = 1; pack <= 4; ++pack) present.push_back(NumberedId(pack));
  size_t loads = 0;
  const auto load = [&](const Id& pack) -> Result<DigestIndex::PackDigests> {
    ++loads;
    if (pack == NumberedId(2)) return Fail(ErrorCode::kCorrupt, "damaged");
    return Contents(pack.bytes()[0] * 100u, 40);
  };
  EXPECT_TRUE(index->Reconcile(present, load, 10).finished);
  EXPECT_EQ(loads, 4u);
  EXPECT_EQ(index->Packs(), (std::vector<Id>{NumberedId(3), NumberedId(4)}));
  EXPECT_TRUE(index->Reconcile(present, load, 10).finished);
  EXPECT_EQ(loads, 4u);
  present.erase(present.begin() + 2);  // 3 vanished, so there is room for 1 again
  EXPECT_TRUE(index->Reconcile(present, load, 10).finished);
  EXPECT_EQ(index->Packs(), (std::vector<Id>{NumberedId(4), NumberedId(1)}));
  EXPECT_EQ(loads, 5u);
}

TEST_F(DigestIndexTest, AGarbageFileIsBegunAnew) {
  std::mt19937_64 random(2);
  std::string noise(100'000, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  for (const std::string& garbage :
       {std::string(), std::string("x"), std::string(4096, '\0'), std::string(100'000, '\xff'),
        std::string("SQLite format 3\0", 16) + noise, noise}) {
    MakeFile();
    Write(garbage);
    ExpectUsable();
  }
}

TEST_F(DigestIndexTest, ATruncatedFileIsBegunAnew) {
  MakeFile();
  const std::string good = Bytes();
  ASSERT_GT(good.size(), 50'000u);
  for (size_t size = 0; size < good.size(); size += 4096) {
    for (const size_t odd : {size_t{0}, size_t{1}, size_t{100}}) {
      SCOPED_TRACE(size + odd);
      Write(good.substr(0, size + odd));
      ExpectUsable();
    }
  }
}

TEST_F(DigestIndexTest, FlippedBitsNeverFailAnybody) {
  MakeFile();
  const std::string good = Bytes();
  std::mt19937_64 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string bytes = good;
    for (int k = 0; k < 16; ++k) {
      char& byte = bytes[random() % bytes.size()];
      byte = static_cast<char>(byte ^ (1 << random() % 8));
    }
    Write(bytes);
    const auto index = Open();
    ASSERT_NE(index, nullptr);
    for (uint64_t n = 0; n < 2000; n += 10) (void)index->Lookup(Sampled(n));
    Add(*index, NumberedId(5), Contents(5000, 20));
    index->RemoveSlots(NumberedId(1), [](uint32_t slot) { return slot % 2 == 0; });
    index->RemovePack(NumberedId(1));
    (void)index->Packs();
  }
  Write(good);
  ExpectUsable();
}

TEST_F(DigestIndexTest, AnErrorWhileRunningEndsInAnIndexThatAnswersNothingAndThenInANewOne) {
  constexpr uint64_t kMany = 30'000;
  Add(*Open(), NumberedId(1), Contents(0, kMany));
  std::string bytes = Bytes();
  // The youngest pages are leaves, so it opens, and fails when an entry in one of them is looked
  // for.
  for (size_t at = bytes.size() / 4 * 3; at < bytes.size(); ++at) bytes[at] = '\x55';
  Write(bytes);
  {
    const auto index = Open();
    ASSERT_EQ(index->entries(), kMany);
    for (uint64_t n = 0; n < kMany; ++n) (void)index->Lookup(Sampled(n));
    EXPECT_EQ(index->entries(), 0u);
    Add(*index, NumberedId(2), Contents(0, 100));
    index->RemovePack(NumberedId(2));
    index->RemoveSlots(NumberedId(2), [](uint32_t) { return true; });
    const auto load = [](const Id&) { return Result<DigestIndex::PackDigests>(Contents(0, 9)); };
    EXPECT_TRUE(index->Reconcile({NumberedId(3)}, load, 5).finished);
    EXPECT_TRUE(index->Packs().empty());
    EXPECT_TRUE(index->Lookup(Sampled(5)).empty());
  }
  ExpectUsable();
}

TEST_F(DigestIndexTest, AnIndexOfAnotherStoreOrVersionOrProgramIsBegunAnew) {
  MakeFile();
  ASSERT_OK_AND_ASSIGN(const auto other, DigestIndex::Open(folder_, NumberedId(78), kRoom));
  EXPECT_TRUE(other->Packs().empty());
  EXPECT_FALSE(other->is_private());
  for (const char* change : {"PRAGMA user_version = 2", "PRAGMA application_id = 7",
                             "DROP TABLE entry", "DELETE FROM store"}) {
    const TemporaryDirectory place;
    {
      const auto index = DigestIndex::Open(place.path(), store_, kRoom);
      ASSERT_OK(index);
      Add(**index, NumberedId(1), Contents(0, 5));
    }
    SQLite::Database(place / "index.db", SQLite::OPEN_READWRITE).exec(change);
    const auto index = DigestIndex::Open(place.path(), store_, kRoom);
    ASSERT_OK(index);
    EXPECT_TRUE((*index)->Packs().empty()) << change;
    EXPECT_FALSE((*index)->is_private());
    Add(**index, NumberedId(1), Contents(0, 5));
    EXPECT_EQ((*index)->Lookup(Sampled(3)).size(), 1u);
  }
}

TEST_F(DigestIndexTest, ASecondProcessHasAnIndexOfItsOwnInMemory) {
  const auto index = Open();
  Add(*index, NumberedId(1), Contents(0, 5));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto second = DigestIndex::Open(folder_, store_, kRoom);
    bool good = second && (*second)->is_private() && (*second)->Packs().empty();
    if (good) {
      Add(**second, NumberedId(2), Contents(100, 5));
      good = (*second)->Lookup(Sampled(101)).size() == 1 && (*second)->Lookup(Sampled(1)).empty();
    }
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(index->Packs(), std::vector<Id>{NumberedId(1)});
  EXPECT_EQ(index->Lookup(Sampled(1)).size(), 1u);
}

TEST_F(DigestIndexTest, TheFileIsFreeForTheNextWhenItsUserIsGone) {
  auto first = Open();
  EXPECT_TRUE(Open()->is_private());
  first.reset();
  EXPECT_FALSE(Open()->is_private());
}

TEST_F(DigestIndexTest, AProcessThatIsKilledLeavesWhatItHadAdded) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto index = DigestIndex::Open(folder_, store_, kRoom);
    if (index) Add(**index, NumberedId(1), Contents(0, 500));
    ::_exit(index ? 0 : 1);  // nothing is closed
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  const auto index = Open();
  EXPECT_EQ(index->entries(), 500u);
  EXPECT_EQ(index->Lookup(Sampled(77)).size(), 1u);
}

TEST_F(DigestIndexTest, WithoutADiskThereIsStillAnIndex) {
  std::ofstream(directory_ / "file") << "not a folder";
  const auto index = DigestIndex::Open(directory_ / "file" + "/x", store_, kRoom);
  ASSERT_OK(index);
  EXPECT_TRUE((*index)->is_private());
  Add(**index, NumberedId(1), Contents(0, 5));
  EXPECT_EQ((*index)->Lookup(Sampled(3)).size(), 1u);
}

TEST_F(DigestIndexTest, ManyThreadsMayUseIt) {
  const auto index = Open(2000);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&index, t] {
      for (uint64_t round = 0; round < 20; ++round) {
        const Id pack = NumberedId(t * 100 + round + 1);
        Add(*index, pack, Contents(t * 1'000'000 + round * 100, 100));
        const auto found = index->Lookup(Sampled(t * 1'000'000 + round * 100 + 5));
        if (!found.empty()) {
          EXPECT_EQ(found, (std::vector<SlotLocation>{{pack, 5}}));
        }
        index->RemoveSlots(pack, [](uint32_t slot) { return slot > 50; });
        if (round % 3 == 0) index->RemovePack(pack);
        (void)index->Packs();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(index->entries(), 2000u);
}

// Printed, not asserted: tests run on machines of all sorts.
TEST_F(DigestIndexTest, LookupsInAMillionEntries) {
  using Clock = std::chrono::steady_clock;
  constexpr uint64_t kPerPack = 250'000;
  constexpr uint64_t kPacks = 4;
  constexpr uint64_t kEntries = kPerPack * kPacks;
  const auto index = Open(2 * kEntries);
  const auto begin = Clock::now();
  for (uint64_t pack = 0; pack < kPacks; ++pack) {
    Add(*index, NumberedId(pack + 1), Contents(pack * kPerPack, kPerPack));
  }
  const double filling_s = std::chrono::duration<double>(Clock::now() - begin).count();
  ASSERT_EQ(index->entries(), kEntries);
  std::mt19937_64 random(4);
  constexpr uint64_t kLookups = 100'000;
  const auto measure = [&](uint64_t first) {
    uint64_t found = 0;
    const auto from = Clock::now();
    for (uint64_t i = 0; i < kLookups; ++i) {
      found += index->Lookup(Sampled(first + random() % kEntries)).size();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
    return std::make_pair(found, static_cast<double>(kLookups) / seconds);
  };
  (void)measure(0);  // warms its cache
  const auto [hits, hits_per_s] = measure(0);
  const auto [misses, misses_per_s] = measure(10 * kEntries);
  EXPECT_EQ(hits, kLookups);
  EXPECT_EQ(misses, 0u);
  fmt::print("{} entries: {:.0f} added/s, {:.0f} hits/s, {:.0f} misses/s\n", kEntries,
             static_cast<double>(kEntries) / filling_s, hits_per_s, misses_per_s);
}

}  // namespace
}  // namespace quoin

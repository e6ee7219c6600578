// What a listing with attributes asks of the storage, on a host that owns none of the VDIs, and that it shows
// all that other hosts have changed.
#include <fmt/format.h>

#include <functional>

#include "metadata/store_layout.h"
#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class ListingTest : public StoreWorld {
 protected:
  static constexpr size_t kVdis = 50;
  static constexpr uint64_t kBlocks = 8;

  void SetUp() override {
    StoreWorld::SetUp();
    ASSERT_OK(store_->MakeFolder("lab"));
    for (size_t i = 0; i < kVdis; ++i) ids_.push_back(Create(fmt::format("lab/v{:02}", i), kBlocks));
    // All files are old by the time of one that comes later.
    fs_.LetTimePass(std::chrono::seconds(2));
    Create("late", 1);
    other_ = OpenAs(2);
    ASSERT_OK(See("late"));
    EXPECT_EQ(ListWithFiles(), kVdis);
    EXPECT_EQ(ListWithFiles(), kVdis);
  }

  // What the kernel is told of a name.
  Result<FileInfo> See(const std::string& name) {
    QUOIN_ASSIGN(const NameFacts facts, other_->Lookup(name));
    return other_->DescribeFile(facts.vdi);
  }
  uint64_t SizeOf(const std::string& name) {
    const Result<FileInfo> file = See(name);
    EXPECT_OK(file);
    return file ? file->size_bytes : 0;
  }
  // As `ls -l lab`; how many can be described.
  size_t ListWithFiles() {
    const Result<std::vector<NameEntry>> entries = other_->List("lab");
    EXPECT_OK(entries);
    size_t seen = 0;
    for (const NameEntry& entry : *entries) seen += See("lab/" + entry.name) ? 1 : 0;
    return seen;
  }
  // All calls on the storage while `act` runs, and those that open a file.
  struct Calls {
    uint64_t all = 0;
    uint64_t opens = 0;
  };
  Calls CallsOf(const std::function<void()>& act) {
    const auto count = [this] {
      Calls calls{0, fs_.count(Call::kOpen)};
      for (size_t i = 0; i < kCalls; ++i) calls.all += fs_.count(static_cast<Call>(i));
      return calls;
    };
    const Calls before = count();
    act();
    const Calls after = count();
    return {after.all - before.all, after.opens - before.opens};
  }

  std::vector<Id> ids_;
  std::unique_ptr<Store> other_;
};

TEST_F(ListingTest, ListedAgainItCostsThreeLooksANameAndOpensNothing) {
  const Calls calls = CallsOf([this] { EXPECT_EQ(ListWithFiles(), kVdis); });
  EXPECT_EQ(calls.opens, 0u);
  constexpr uint64_t kOfTheFolder = 4;
  EXPECT_LE(calls.all, 3 * kVdis + kOfTheFolder);
}

TEST_F(ListingTest, ListedForTheFirstTimeItOpensThreeFilesAName) {
  other_.reset();
  other_ = OpenAs(2);
  const Calls calls = CallsOf([this] { EXPECT_EQ(ListWithFiles(), kVdis); });
  EXPECT_EQ(calls.opens, 3 * kVdis) << "the name, the lock's record and what is published";
  constexpr uint64_t kOfTheFolder = 4;
  EXPECT_LE(calls.all, 13 * kVdis + kOfTheFolder);
}

TEST_F(ListingTest, OneThatChangedIsReadAgainAndNoOther) {
  ASSERT_OK(store_->ResizeVdi(ids_[7], 2 * kBlocks * kBlockBytes, false, false));
  const Calls calls = CallsOf([this] {
    EXPECT_EQ(SizeOf("lab/v07"), 2 * kBlocks * kBlockBytes);
    EXPECT_EQ(ListWithFiles(), kVdis);
  });
  EXPECT_LE(calls.opens, 6u);
}

TEST_F(ListingTest, WhatAnotherHostDoesToNamesShows) {
  ASSERT_OK(store_->Rename("lab/v01", "lab/w01"));
  EXPECT_ERROR(kNotFound, See("lab/v01"));
  EXPECT_OK(See("lab/w01"));
  ASSERT_OK(store_->RemoveVdi("lab/v02", false));
  EXPECT_ERROR(kNotFound, See("lab/v02"));
  EXPECT_ERROR(kNotFound, other_->DescribeFile(ids_[2]));
  Create("lab/v02", 3);
  EXPECT_EQ(SizeOf("lab/v02"), 3 * kBlockBytes);
  ASSERT_OK(store_->Rename("lab/v03", "away"));
  ASSERT_OK(store_->Rename("lab/v02", "lab/v03"));
  EXPECT_EQ(SizeOf("lab/v03"), 3 * kBlockBytes);
  EXPECT_EQ(ListWithFiles(), kVdis - 1);
}

TEST_F(ListingTest, WhatAnotherHostDoesToAVdiShows) {
  AttributeChange change;
  change.mode = 0640;
  change.uid = 7;
  ASSERT_OK(store_->SetAttributes(ids_[1], change));
  ASSERT_OK_AND_ASSIGN(FileInfo file, See("lab/v01"));
  EXPECT_EQ(file.attributes.mode, 0640u);
  EXPECT_EQ(file.attributes.uid, 7u);
  {
    VdiHandle guest = OpenVdi(ids_[2]);
    ASSERT_OK(guest->Write(0, AsBytes(std::string(3 * kBlockBytes, 'x'))));
    ASSERT_OK(guest.Close());
  }
  ASSERT_OK_AND_ASSIGN(file, See("lab/v02"));
  EXPECT_EQ(file.data_blocks, 3u);
  Snapshot("lab/v02", "one");
  {
    VdiHandle guest = OpenVdi(ids_[2]);
    ASSERT_OK(guest->Write(0, AsBytes(std::string(5 * kBlockBytes, 'y'))));
    ASSERT_OK(guest.Close());
  }
  ASSERT_OK_AND_ASSIGN(file, See("lab/v02"));
  EXPECT_EQ(file.data_blocks, 5u);
}

TEST_F(ListingTest, WhatThisHostOwnsIsShownAsItIsAndThenAsItWasLeft) {
  Result<VdiHandle> guest = other_->OpenVdi(ids_[4], Access::kReadWrite);
  ASSERT_OK(guest);
  ASSERT_OK((*guest)->Write(0, AsBytes(std::string(2 * kBlockBytes, 'x'))));
  ASSERT_OK_AND_ASSIGN(FileInfo file, See("lab/v04"));
  EXPECT_EQ(file.data_blocks, 2u);
  ASSERT_OK(guest->Close());
  ASSERT_OK_AND_ASSIGN(file, See("lab/v04"));
  EXPECT_EQ(file.data_blocks, 2u);
  // Another host is its owner next.
  VdiHandle next = OpenVdi(ids_[4]);
  ASSERT_OK(next->Write(4 * kBlockBytes, AsBytes(std::string(kBlockBytes, 'z'))));
  ASSERT_OK(next.Close());
  ASSERT_OK_AND_ASSIGN(file, See("lab/v04"));
  EXPECT_EQ(file.data_blocks, 3u);
}

// A process of this host dies after a flush: what it flushed shows, though it was not published.
TEST_F(ListingTest, WhatADeadProcessOfThisHostHadFlushedShows) {
  VdiHandle guest = OpenVdi(ids_[5]);
  ASSERT_OK(guest->Write(0, AsBytes(std::string(3 * kBlockBytes, 'x'))));
  ASSERT_OK(guest->Flush());
  other_.reset();
  const std::unique_ptr<Store> survivor = OpenAs(1);
  ASSERT_OK(survivor->DescribeFile(ids_[5]));
  KillProcess({&guest});
  ASSERT_OK_AND_ASSIGN(const FileInfo file, survivor->DescribeFile(ids_[5]));
  EXPECT_EQ(file.data_blocks, 3u);
}

TEST_F(ListingTest, TheShortDescriptionIsThatOfTheLongOne) {
  VdiHandle guest = OpenVdi(ids_[6]);
  ASSERT_OK(guest->Write(0, AsBytes(std::string(kBlockBytes, 'x'))));
  for (const Id& id : {ids_[6], ids_[8]}) {
    ASSERT_OK_AND_ASSIGN(const FileInfo file, store_->DescribeFile(id));
    ASSERT_OK_AND_ASSIGN(const VdiInfo info, store_->Describe(id));
    EXPECT_EQ(file.size_bytes, info.size_bytes);
    EXPECT_EQ(file.data_blocks, info.data_blocks);
    EXPECT_EQ(file.attributes, info.attributes);
    EXPECT_FALSE(file.is_passing);
  }
}

// --- a VDI that is just being opened ------------------------------------------------------------------

class BeingOpenedTest : public ListingTest {
 protected:
  void SeenWhileItIsOpened(Call call, const std::string& path_part) {
    Within(
        call, StoreLayout("/store").Vdi(ids_[9]) + path_part,
        [&] {
          Result<VdiHandle> opened = other_->OpenVdi(ids_[9], Access::kReadWrite);
          EXPECT_OK(opened);
        },
        [&] {
          const Result<FileInfo> file = other_->DescribeFile(ids_[9]);
          ASSERT_OK(file);
          EXPECT_EQ(file->size_bytes, kBlocks * kBlockBytes);
          EXPECT_TRUE(file->is_passing) << "its owner may know better in a moment";
          EXPECT_OK(other_->Describe(ids_[9]));
        });
    ASSERT_OK_AND_ASSIGN(const FileInfo file, other_->DescribeFile(ids_[9]));
    EXPECT_FALSE(file.is_passing);
  }
};

TEST_F(BeingOpenedTest, ItIsSeenWhileItsLockIsWaitedFor) {
  SeenWhileItIsOpened(Call::kLock, "/writer.lock");
}

TEST_F(BeingOpenedTest, ItIsSeenWhileItsDatabaseIsOpened) {
  SeenWhileItIsOpened(Call::kOpen, "/vdi.db");
}

}  // namespace
}  // namespace quoin

#include "metadata/names.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

using Strings = std::vector<std::string>;

TEST(NameRulesTest, OrdinaryNamesAreValid) {
  for (const std::string& name :
       {std::string("web01"), std::string("lab/db02"), std::string("a/b/c/d"), std::string("..."),
        std::string(".hidden"), std::string("with space"), std::string("\xff\xfe"),
        std::string("latest"), std::string("x\ny"), std::string(255, 'n')}) {
    EXPECT_OK(ValidateVdiName(name)) << name;
  }
  EXPECT_OK(ValidateSnapshotName("2026-11-22T10:00"));
}

TEST(NameRulesTest, ImpossibleNamesAreRefusedAndSayWhatIsAllowed) {
  for (const std::string& name :
       {std::string(), std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("."), std::string(".."), std::string("a/../b"), std::string("a/."),
        std::string("web@monday"), std::string("a\0b", 3)}) {
    const Status valid = ValidateVdiName(name);
    ASSERT_ERROR(kInvalid, valid) << name;
    EXPECT_NE(valid.error().next, "");
    EXPECT_ERROR(kInvalid, ValidateSnapshotName(name));
  }
  EXPECT_ERROR(kInvalid, ValidateSnapshotName("a/b"));
  EXPECT_ERROR(kInvalid, ValidateSnapshotName("latest"));
}

TEST(NameRulesTest, LongNamesAreRefusedAtTheirExactLimits) {
  EXPECT_ERROR(kNameTooLong, ValidateVdiName(std::string(256, 'n')));
  EXPECT_ERROR(kNameTooLong, ValidateVdiName("ok/" + std::string(256, 'n') + "/ok"));
  EXPECT_ERROR(kNameTooLong, ValidateSnapshotName(std::string(256, 'n')));
  EXPECT_OK(ValidateSnapshotName(std::string(255, 'n')));
  std::string deep = "x";
  while (deep.size() + 2 <= kMaxNameBytes) deep += "/x";
  EXPECT_OK(ValidateVdiName(deep));
  EXPECT_ERROR(kNameTooLong, ValidateVdiName(deep + "/x"));
}

template <typename Storage>
class NamesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(storage_.file_system.MakeDirectory(layout_.Names(), 0755));
    ASSERT_OK(storage_.file_system.MakeDirectory(layout_.Temporaries(), 0700));
  }

  void Put(const std::string& name, const std::string& bytes) {
    WriteBytes(storage_.file_system, layout_.Names() + "/" + name, bytes);
  }
  Strings AllNames() {
    Strings all;
    const auto listed = names_.ListAll("", nullptr);
    EXPECT_OK(listed);
    for (const NamedVdi& vdi : *listed) all.push_back(vdi.name);
    return all;
  }

  Storage storage_;
  const StoreLayout layout_{storage_.root};
  const Names names_{storage_.file_system, layout_};
};

TYPED_TEST_SUITE(NamesTest, AllStorages);

TYPED_TEST(NamesTest, AClaimedNameIsFoundWithItsId) {
  ASSERT_OK(this->names_.Claim("web01", SampleId(1)));
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.Claim("lab/db02", SampleId(2)));
  ASSERT_OK_AND_ASSIGN(const NameFacts web, this->names_.Lookup("web01"));
  EXPECT_FALSE(web.is_folder);
  EXPECT_EQ(web.vdi, SampleId(1));
  EXPECT_EQ(this->names_.Lookup("lab/db02")->vdi, SampleId(2));
  ASSERT_OK_AND_ASSIGN(const auto left,
                       this->storage_.file_system.List(this->layout_.Temporaries()));
  EXPECT_TRUE(left.empty());
}

TYPED_TEST(NamesTest, FoldersAreFoundAndKeepTheirNumberWhenRenamed) {
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.MakeFolder("other"));
  ASSERT_OK(this->names_.Claim("lab/a", SampleId(1)));
  ASSERT_OK_AND_ASSIGN(const NameFacts before, this->names_.Lookup("lab"));
  EXPECT_TRUE(before.is_folder);
  EXPECT_TRUE(this->names_.Lookup("")->is_folder);
  EXPECT_NE(before.folder_number, this->names_.Lookup("other")->folder_number);
  ASSERT_OK(this->names_.RenameFolder("lab", "other/moved"));
  EXPECT_EQ(this->names_.Lookup("other/moved")->folder_number, before.folder_number);
  EXPECT_EQ(this->names_.Lookup("other/moved/a")->vdi, SampleId(1));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("lab"));
}

TYPED_TEST(NamesTest, LookupTellsWhatIsWrong) {
  ASSERT_OK(this->names_.Claim("web01", SampleId(1)));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("nobody"));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("no/body"));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("../quoin.store"));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("web01@monday"));
  EXPECT_ERROR(kNotDirectory, this->names_.Lookup("web01/inner"));
  EXPECT_ERROR(kNameTooLong, this->names_.Lookup(std::string(256, 'n')));
}

TYPED_TEST(NamesTest, ATakenNameIsRefused) {
  ASSERT_OK(this->names_.Claim("web01", SampleId(1)));
  ASSERT_OK(this->names_.MakeFolder("lab"));
  const Status claimed = this->names_.Claim("web01", SampleId(2));
  ASSERT_ERROR(kExists, claimed);
  EXPECT_NE(claimed.error().what.find("vdis/web01"), std::string::npos);
  EXPECT_ERROR(kExists, this->names_.Claim("lab", SampleId(2)));
  EXPECT_ERROR(kExists, this->names_.MakeFolder("web01"));
  EXPECT_ERROR(kExists, this->names_.MakeFolder("lab"));
  EXPECT_EQ(this->names_.Lookup("web01")->vdi, SampleId(1));
}

TYPED_TEST(NamesTest, ANameNeedsItsFolder) {
  ASSERT_OK(this->names_.Claim("web01", SampleId(1)));
  EXPECT_ERROR(kNotFound, this->names_.Claim("lab/a", SampleId(2)));
  EXPECT_ERROR(kNotDirectory, this->names_.Claim("web01/a", SampleId(2)));
  EXPECT_ERROR(kNotFound, this->names_.MakeFolder("no/such"));
  EXPECT_ERROR(kInvalid, this->names_.Claim("a@b", SampleId(2)));
  EXPECT_ERROR(kInvalid, this->names_.MakeFolder(".."));
}

TYPED_TEST(NamesTest, ListingIsSortedByBytesAndLeavesOutWhatCanBeNoVdi) {
  ASSERT_OK(this->names_.MakeFolder("folder"));
  for (const char* name : {"b", "a", "Z", "\xc3\xa4"}) {
    ASSERT_OK(this->names_.Claim(name, SampleId(1)));
  }
  this->Put("x@y", SampleId(1).ToString() + "\n");
  ASSERT_OK_AND_ASSIGN(const auto entries, this->names_.List(""));
  Strings names;
  for (const NameEntry& entry : entries) {
    names.push_back(entry.name);
    EXPECT_EQ(entry.is_folder, entry.name == "folder");
  }
  EXPECT_EQ(names, (Strings{"Z", "a", "b", "folder", "\xc3\xa4"}));
  EXPECT_ERROR(kNotDirectory, this->names_.List("a"));
  EXPECT_ERROR(kNotFound, this->names_.List("nobody"));
}

TYPED_TEST(NamesTest, ListAllWalksEveryFolderAndReportsDamagedNames) {
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.MakeFolder("lab/deep"));
  ASSERT_OK(this->names_.MakeFolder("empty"));
  ASSERT_OK(this->names_.Claim("top", SampleId(1)));
  ASSERT_OK(this->names_.Claim("lab/a", SampleId(2)));
  ASSERT_OK(this->names_.Claim("lab/deep/b", SampleId(3)));
  this->Put("lab/rubbish", "what is this");
  Strings damaged;
  ASSERT_OK_AND_ASSIGN(const auto all, this->names_.ListAll("", &damaged));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(damaged, Strings{"lab/rubbish"});
  ASSERT_OK_AND_ASSIGN(const auto lab, this->names_.ListAll("lab", nullptr));
  ASSERT_EQ(lab.size(), 2u);
  EXPECT_EQ(lab[0].name, "lab/a");
  EXPECT_EQ(lab[1].name, "lab/deep/b");
  EXPECT_EQ(lab[1].id, SampleId(3));
}

TYPED_TEST(NamesTest, ADamagedNameFileIsCorruptAndNothingElseIs) {
  const std::string id = SampleId(1).ToString();
  ASSERT_OK(this->names_.Claim("good", SampleId(1)));
  for (const std::string& bytes :
       {std::string(), id, id + "\n\n", id + " ", std::string(32, 'g') + "\n",
        std::string(32, '0') + "\n", std::string(33, '\0'), std::string(1 << 20, 'x')}) {
    this->Put("bad", bytes);
    const auto found = this->names_.Lookup("bad");
    ASSERT_ERROR(kCorrupt, found) << bytes.substr(0, 40);
    EXPECT_NE(found.error().what.find("vdis/bad"), std::string::npos);
    EXPECT_OK(this->names_.Lookup("good"));
  }
}

TYPED_TEST(NamesTest, AReleasedNameIsGone) {
  ASSERT_OK(this->names_.Claim("web01", SampleId(1)));
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.Release("web01"));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("web01"));
  EXPECT_ERROR(kNotFound, this->names_.Release("web01"));
  EXPECT_ERROR(kIsDirectory, this->names_.Release("lab"));
}

TYPED_TEST(NamesTest, ARenamedVdiKeepsItsId) {
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.Claim("a", SampleId(1)));
  ASSERT_OK(this->names_.Rename("a", "lab/b"));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("a"));
  EXPECT_EQ(this->names_.Lookup("lab/b")->vdi, SampleId(1));
  ASSERT_OK(this->names_.Rename("lab/b", "lab/b"));
  EXPECT_EQ(this->AllNames(), Strings{"lab/b"});
}

TYPED_TEST(NamesTest, ARenameNeverTakesAnothersName) {
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.Claim("a", SampleId(1)));
  ASSERT_OK(this->names_.Claim("b", SampleId(2)));
  EXPECT_ERROR(kExists, this->names_.Rename("a", "b"));
  EXPECT_ERROR(kExists, this->names_.Rename("a", "lab"));
  EXPECT_ERROR(kNotFound, this->names_.Rename("a", "no/such"));
  EXPECT_ERROR(kNotDirectory, this->names_.Rename("a", "b/c"));
  EXPECT_ERROR(kNotFound, this->names_.Rename("nobody", "c"));
  EXPECT_ERROR(kIsDirectory, this->names_.Rename("lab", "c"));
  EXPECT_ERROR(kInvalid, this->names_.Rename("a", "c@d"));
  EXPECT_EQ(this->AllNames(), (Strings{"a", "b"}));
  EXPECT_EQ(this->names_.Lookup("b")->vdi, SampleId(2));
}

TYPED_TEST(NamesTest, FoldersAreRemovedOnlyWhenEmpty) {
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.Claim("lab/a", SampleId(1)));
  EXPECT_ERROR(kNotEmpty, this->names_.RemoveFolder("lab"));
  EXPECT_ERROR(kNotDirectory, this->names_.RemoveFolder("lab/a"));
  EXPECT_ERROR(kNotFound, this->names_.RemoveFolder("nobody"));
  EXPECT_ERROR(kInvalid, this->names_.RemoveFolder(""));
  ASSERT_OK(this->names_.Release("lab/a"));
  ASSERT_OK(this->names_.RemoveFolder("lab"));
  EXPECT_ERROR(kNotFound, this->names_.Lookup("lab"));
}

TYPED_TEST(NamesTest, AFolderIsRenamedOverAnEmptyOneOnly) {
  for (const char* folder : {"from", "empty", "full"}) ASSERT_OK(this->names_.MakeFolder(folder));
  ASSERT_OK(this->names_.Claim("full/a", SampleId(1)));
  ASSERT_OK(this->names_.Claim("vdi", SampleId(2)));
  EXPECT_ERROR(kNotEmpty, this->names_.RenameFolder("from", "full"));
  EXPECT_ERROR(kExists, this->names_.RenameFolder("from", "vdi"));
  EXPECT_ERROR(kNotDirectory, this->names_.RenameFolder("vdi", "new"));
  EXPECT_ERROR(kNotFound, this->names_.RenameFolder("nobody", "new"));
  EXPECT_ERROR(kInvalid, this->names_.RenameFolder("from", "from/inner"));
  EXPECT_OK(this->names_.RenameFolder("full", "empty"));
  EXPECT_EQ(this->AllNames(), (Strings{"vdi", "empty/a"}));
}

TYPED_TEST(NamesTest, ANameThatACrashedRenameDoubledIsMadeSingleAgain) {
  ASSERT_OK(this->names_.MakeFolder("lab"));
  ASSERT_OK(this->names_.Claim("b", SampleId(1)));
  ASSERT_OK(this->names_.Claim("other", SampleId(2)));
  ASSERT_OK(this->storage_.file_system.Link(this->layout_.Names() + "/b",
                                            this->layout_.Names() + "/lab/a"));
  ASSERT_OK_AND_ASSIGN(const Strings left, this->names_.ResolveDouble(SampleId(1)));
  EXPECT_EQ(left, Strings{"b"});
  EXPECT_EQ(this->AllNames(), (Strings{"b", "other"}));
  EXPECT_EQ(*this->names_.ResolveDouble(SampleId(1)), Strings{"b"});
  EXPECT_EQ(*this->names_.ResolveDouble(SampleId(3)), Strings());
}

TYPED_TEST(NamesTest, OfManyWhoClaimANameAtOnceOneGetsIt) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    const std::string name = fmt::format("n{}", round);
    std::atomic<int> winners = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const Status claimed = this->names_.Claim(name, SampleId(i + 1));
        if (claimed) ++winners;
        EXPECT_TRUE(claimed || claimed.error().code == ErrorCode::kExists);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
  }
}

TEST(NamesOnRealStorageTest, ALinkThatSomeonePutThereIsNoVdi) {
  PosixStorage storage;
  const StoreLayout layout(storage.root);
  ASSERT_OK(storage.file_system.MakeDirectory(layout.Names(), 0755));
  ASSERT_EQ(::symlink("/etc/passwd", (layout.Names() + "/link").c_str()), 0);
  const Names names(storage.file_system, layout);
  EXPECT_ERROR(kCorrupt, names.Lookup("link"));
  EXPECT_TRUE(names.List("")->empty());
}

// At every step of a rename the VDI keeps one of its names, and ResolveDouble leaves just one.
TEST(NamesCrashTest, ARenameNeverLosesTheVdi) {
  const StoreLayout layout("");
  bool finished = false;
  for (uint64_t step = 1; !finished; ++step) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      SimulatedFileSystem file_system;
      const Names names(file_system, layout);
      ASSERT_OK(file_system.MakeDirectory(layout.Names()));
      ASSERT_OK(file_system.MakeDirectory(layout.Temporaries()));
      ASSERT_OK(file_system.SyncDirectory("/"));
      ASSERT_OK(names.MakeFolder("lab"));
      ASSERT_OK(names.Claim("a", SampleId(1)));
      file_system.FailAfter(step, FaultMode::kCrash);
      const Status renamed = names.Rename("a", "lab/b");
      finished = !file_system.stopped();
      file_system.Crash(seed == 0 ? CrashMode::kLoseAll : CrashMode::kRandom, seed);
      ASSERT_OK_AND_ASSIGN(const Strings left, names.ResolveDouble(SampleId(1)));
      ASSERT_EQ(left.size(), 1u) << "step " << step << ", seed " << seed;
      EXPECT_EQ(names.Lookup(left[0])->vdi, SampleId(1));
      EXPECT_TRUE(!renamed || left[0] == "lab/b");
    }
    ASSERT_LT(step, 20u);
  }
}

TEST(NamesCrashTest, AClaimThatReturnedIsThereAndOneThatDidNotIsWholeOrAbsent) {
  const StoreLayout layout("");
  bool finished = false;
  for (uint64_t step = 1; !finished; ++step) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      SimulatedFileSystem file_system;
      const Names names(file_system, layout);
      ASSERT_OK(file_system.MakeDirectory(layout.Names()));
      ASSERT_OK(file_system.MakeDirectory(layout.Temporaries()));
      ASSERT_OK(file_system.SyncDirectory("/"));
      file_system.FailAfter(step, FaultMode::kCrash);
      const Status claimed = names.Claim("a", SampleId(1));
      finished = !file_system.stopped();
      file_system.Crash(seed == 0 ? CrashMode::kLoseAll : CrashMode::kRandom, seed);
      const auto found = names.Lookup("a");
      if (claimed || found) {
        ASSERT_OK(found) << "step " << step;
        EXPECT_EQ(found->vdi, SampleId(1));
      } else {
        EXPECT_ERROR(kNotFound, found);
      }
    }
    ASSERT_LT(step, 20u);
  }
}

// --- what is remembered of names ----------------------------------------------------------------------

class RememberedNamesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(fs_.MakeDirectory(layout_.Names()));
    ASSERT_OK(fs_.MakeDirectory(layout_.Temporaries()));
    ASSERT_OK(others_.Claim("a", SampleId(1)));
    ASSERT_OK(others_.Claim("b", SampleId(2)));
    // The storage's clock is known to have gone on by the time of a later name.
    fs_.LetTimePass(std::chrono::seconds(2));
    ASSERT_OK(others_.Claim("late", SampleId(3)));
    EXPECT_EQ(Found("late"), SampleId(3));
    EXPECT_EQ(Found("a"), SampleId(1));
    EXPECT_EQ(Found("b"), SampleId(2));
  }
  Id Found(const std::string& name) {
    const Result<NameFacts> facts = names_.Lookup(name);
    return facts && !facts->is_folder ? facts->vdi : Id();
  }
  uint64_t Calls() const {
    uint64_t calls = 0;
    for (size_t call = 0; call < kCalls; ++call) calls += fs_.count(static_cast<Call>(call));
    return calls;
  }

  SimulatedFileSystem fs_;
  const StoreLayout layout_{""};
  const Names names_{fs_, layout_};
  const Names others_{fs_, layout_};  // another host's
};

TEST_F(RememberedNamesTest, ANameThatIsAsItWasCostsOneCall) {
  const uint64_t before = Calls();
  EXPECT_EQ(Found("a"), SampleId(1));
  EXPECT_EQ(Found("b"), SampleId(2));
  EXPECT_EQ(Calls(), before + 2);
}

TEST_F(RememberedNamesTest, ANameThatIsNotOldEnoughIsReadEachTime) {
  const uint64_t opens = fs_.count(Call::kOpen);
  EXPECT_EQ(Found("late"), SampleId(3));
  EXPECT_EQ(Found("late"), SampleId(3));
  EXPECT_EQ(fs_.count(Call::kOpen), opens + 2);
}

TEST_F(RememberedNamesTest, WhatAnotherHostRenamesIsFoundWhereItIs) {
  ASSERT_OK(others_.Rename("a", "c"));
  EXPECT_EQ(Found("a"), Id());
  EXPECT_EQ(Found("c"), SampleId(1));
  ASSERT_OK(others_.Rename("b", "a"));
  EXPECT_EQ(Found("a"), SampleId(2));
  ASSERT_OK(others_.Rename("c", "b"));
  EXPECT_EQ(Found("b"), SampleId(1));
}

TEST_F(RememberedNamesTest, WhatAnotherHostRemovesIsGoneAndCanBeAnothersName) {
  ASSERT_OK(others_.Release("a"));
  EXPECT_EQ(Found("a"), Id());
  ASSERT_OK(others_.Claim("a", SampleId(7)));
  EXPECT_EQ(Found("a"), SampleId(7));
  ASSERT_OK(others_.Release("b"));
  ASSERT_OK(others_.MakeFolder("b"));
  ASSERT_OK_AND_ASSIGN(const NameFacts folder, names_.Lookup("b"));
  EXPECT_TRUE(folder.is_folder);
}

TEST_F(RememberedNamesTest, WhenAFolderIsReplacedSoAreTheNamesInIt) {
  ASSERT_OK(others_.MakeFolder("lab"));
  ASSERT_OK(others_.MakeFolder("new"));
  ASSERT_OK(others_.Claim("lab/x", SampleId(4)));
  ASSERT_OK(others_.Claim("new/x", SampleId(5)));
  fs_.LetTimePass(std::chrono::seconds(2));
  ASSERT_OK(others_.Claim("later", SampleId(6)));
  EXPECT_EQ(Found("later"), SampleId(6));
  EXPECT_EQ(Found("lab/x"), SampleId(4));
  ASSERT_OK(others_.RenameFolder("lab", "old"));
  ASSERT_OK(others_.RenameFolder("new", "lab"));
  EXPECT_EQ(Found("lab/x"), SampleId(5));
  EXPECT_EQ(Found("old/x"), SampleId(4));
}

TEST_F(RememberedNamesTest, ASecondNameShowsThoughTheFileIsKnown) {
  ASSERT_OK_AND_ASSIGN(NameFacts facts, names_.Lookup("a"));
  EXPECT_FALSE(facts.is_double);
  ASSERT_OK(fs_.Link(layout_.Names() + "/a", layout_.Names() + "/z"));
  ASSERT_OK_AND_ASSIGN(facts, names_.Lookup("a"));
  EXPECT_TRUE(facts.is_double);
}

TEST_F(RememberedNamesTest, AListOfAllNamesOpensNoneThatIsKnown) {
  const uint64_t opens = fs_.count(Call::kOpen);
  ASSERT_OK_AND_ASSIGN(const auto all, names_.ListAll("", nullptr));
  EXPECT_EQ(all.size(), 3u);
  EXPECT_EQ(fs_.count(Call::kOpen), opens + 1) << "the one that is not old enough";
}

}  // namespace
}  // namespace quoin

// init and check.
#include <algorithm>
#include <boost/filesystem.hpp>

#include "tests/command/command_fixture.h"

namespace quoin {
namespace {

class StoreVerbsTest : public CommandTest {};

TEST_F(StoreVerbsTest, InitMakesAStoreOnce) {
  EXPECT_TRUE(IsDone(Quoin({"init", store()})));
  EXPECT_TRUE(IsRefused(Quoin({"init", store()}), 1, "already"));
  EXPECT_EQ(OnStore({"ls"}).status, 0);
}

TEST_F(StoreVerbsTest, InitTakesAnEmptyFolderAndKeepsItsHandsOffOthers) {
  boost::filesystem::create_directories(Path("empty"));
  EXPECT_TRUE(IsDone(Quoin({"init", Path("empty"), "--compression", "zstd"})));
  boost::filesystem::create_directories(Path("full"));
  WriteFile(Path("full/letter"), "dear");
  EXPECT_TRUE(IsRefused(Quoin({"init", Path("full")}), 1, "not empty"));
  EXPECT_EQ(ReadFile(Path("full/letter")), "dear");
}

TEST_F(StoreVerbsTest, WhatIsNoStoreIsRefusedByEveryVerb) {
  const std::vector<std::vector<std::string>> verbs = {
      {"ls"},         {"create", "web01", "1M"}, {"check"},
      {"lock", "ls"}, {"info", "web01"},         {"snap", "ls", "web01"},
      {"rm", "web01"}};
  for (const auto& words : verbs) {
    EXPECT_TRUE(IsRefused(OnStore(words), 1, "quoin init")) << "missing folder";
  }
  boost::filesystem::create_directories(store());
  for (const auto& words : verbs) EXPECT_TRUE(IsRefused(OnStore(words), 1, "not a quoin store"));
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), mount()}), 1, "not a quoin store"));
}

TEST_F(StoreVerbsTest, AStoreOfANewerFormatIsRefusedAndLeftAlone) {
  MakeStore();
  nlohmann::json superblock = nlohmann::json::parse(ReadFile(store() + "/quoin.store"));
  superblock["format"] = 1000;
  WriteFile(store() + "/quoin.store", superblock.dump());
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"ls"}, {"create", "web01", "1M"}, {"check"}}) {
    EXPECT_TRUE(IsRefused(OnStore(words), 1, "newer quoin"));
  }
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), mount()}), 1, "newer quoin"));
}

TEST_F(StoreVerbsTest, CheckOfAHealthyStoreFindsNothing) {
  MakeStore();
  for (const char* name : {"web01", "lab/db02"}) {
    ASSERT_TRUE(IsDone(OnStore({"create", name, "1G"})));
    Fill(name, 0, 100'000);
  }
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@monday", "lab/db02@monday"})));
  Fill("web01", 4096, 50'000);
  ASSERT_TRUE(IsDone(OnStore({"clone", "web01@monday", "copy"})));
  ASSERT_EQ(OnStore({"rollback", "web01@monday"}).status, 0);
  const nlohmann::json report = JsonOf({"check"});
  EXPECT_EQ(report["vdis"], 3);
  EXPECT_EQ(report["snapshots"], 3);
  EXPECT_EQ(report["damaged"], false);
  EXPECT_EQ(report["findings"].size(), 0u) << report.dump(2);
  EXPECT_NE(OnStore({"check"}).out.find("no damage"), std::string::npos);
}

TEST_F(StoreVerbsTest, CheckChangesNothing) {
  MakeStore();
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1G"})));
  Fill("web01", 0, 100'000);
  const CommandResult before = RunCommand({"find", store(), "-printf", "%p %s %T@ %C@\n"});
  ASSERT_TRUE(IsDone(OnStore({"check"})));
  const CommandResult after = RunCommand({"find", store(), "-printf", "%p %s %T@ %C@\n"});
  EXPECT_EQ(before.out, after.out);
}

TEST_F(StoreVerbsTest, CheckSaysWhatACrashLeft) {
  MakeStore();
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  boost::filesystem::create_directories(store() + "/vdis/" + std::string(32, 'a') + ".new");
  boost::filesystem::create_directories(store() + "/tmp/" + std::string(32, 'b'));
  const nlohmann::json report = JsonOf({"check"});
  EXPECT_EQ(report["damaged"], false);
  EXPECT_EQ(report["findings"].size(), 2u) << report.dump(2);
  for (const auto& finding : report["findings"]) EXPECT_EQ(finding["severity"], "note");
  ASSERT_TRUE(IsDone(OnStore({"lock", "ls"})));  // opens the store, which clears up
  EXPECT_EQ(JsonOf({"check"})["findings"].size(), 0u);
}

}  // namespace
}  // namespace quoin

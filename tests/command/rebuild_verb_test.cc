// rebuild: a store of which little but the packs is left.
#include <boost/filesystem.hpp>

#include "tests/command/command_fixture.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

class RebuildVerbTest : public CommandTest {
 protected:
  void SetUp() override {
    MakeStore();
    ASSERT_TRUE(IsDone(OnStore({"create", "lab/a", "64M"})));
    Fill("lab/a", 0, 1 << 20);
    ASSERT_TRUE(IsDone(OnStore({"snap", "create", "lab/a@monday"})));
    Fill("lab/a", 4096, 1 << 20);
    ASSERT_EQ(OnStore({"seal", "lab/a"}).status, 0);
    ASSERT_TRUE(IsDone(OnStore({"snap", "create", "lab/a@tuesday"})));
    ASSERT_EQ(OnStore({"seal", "lab/a"}).status, 0);
    ASSERT_TRUE(IsDone(OnStore({"clone", "lab/a@monday", "clone"})));
    ASSERT_EQ(OnStore({"seal", "clone"}).status, 0);
    WriteFile(Path("image"), std::string(1 << 20, 'x'));
    ASSERT_EQ(OnStore({"import", Path("image"), "imported"}).status, 0);
  }

  void LoseAllButPacks() {
    for (const char* name : {"quoin.store", "names", "vdis", "gc", "groups", "hosts", "tmp"}) {
      fs::remove_all(store() + "/" + name);
    }
  }

  // What users know a store by.
  nlohmann::json Facts() {
    nlohmann::json facts;
    for (const char* vdi : {"lab/a", "clone", "imported"}) {
      const nlohmann::json info = JsonOf({"info", vdi});
      facts[vdi] = {info["id"], info["size_bytes"], info["used_bytes"],
                    JsonOf({"snap", "ls", vdi})};
      for (nlohmann::json& snapshot : facts[vdi][3]) snapshot.erase("layer");
    }
    return facts;
  }
  std::string Export(const std::string& snapshot) {
    const std::string path = Path("exported-" + std::to_string(++exports_));
    EXPECT_TRUE(IsDone(OnStore({"export", snapshot, path})));
    return ReadFile(path);
  }

 private:
  int exports_ = 0;
};

TEST_F(RebuildVerbTest, AStoreOfWhichOnlyPacksAreLeftIsMadeAgain) {
  const nlohmann::json facts = Facts();
  const std::string monday = Export("lab/a@monday");
  const std::string tuesday = Export("lab/a@tuesday");
  LoseAllButPacks();
  EXPECT_TRUE(IsRefused(OnStore({"ls"}), 1, "not a quoin store"));

  const nlohmann::json planned = JsonOf({"rebuild", "--dry-run"});
  EXPECT_TRUE(planned["dry_run"]);
  EXPECT_TRUE(planned["new_superblock"]);
  EXPECT_FALSE(planned["damaged"]);
  ASSERT_EQ(planned["vdis"].size(), 3u);
  EXPECT_FALSE(fs::exists(store() + "/names"));

  const CommandResult done = OnStore({"rebuild"});
  ASSERT_TRUE(IsDone(done));
  EXPECT_NE(done.out.find("lab/a"), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("3 VDIs rebuilt"), std::string::npos) << done.out;
  EXPECT_EQ(OnStore({"ls"}).out, "clone\nimported\nlab/a\n");
  EXPECT_EQ(Facts(), facts);
  EXPECT_TRUE(Export("lab/a@monday") == monday);
  EXPECT_TRUE(Export("lab/a@tuesday") == tuesday);
  EXPECT_EQ(OnStore({"check"}).status, 0);

  const nlohmann::json again = JsonOf({"rebuild"});
  EXPECT_TRUE(again["vdis"].empty());
  EXPECT_TRUE(again["left_out"].empty());
  EXPECT_FALSE(again["new_superblock"]);
}

TEST_F(RebuildVerbTest, OneVdiIsMadeAgainAndWhatCannotBeFailsTheCommand) {
  const nlohmann::json facts = Facts();
  ASSERT_TRUE(IsDone(OnStore({"create", "unsealed", "1M"})));
  fs::remove_all(FolderOf("unsealed"));
  fs::remove_all(FolderOf("clone"));
  const CommandResult result = OnStore({"rebuild"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.out.find("damage: vdis/unsealed: "), std::string::npos) << result.out;
  EXPECT_EQ(Facts(), facts);
  EXPECT_TRUE(IsDone(OnStore({"info", "clone"})));
}

TEST_F(RebuildVerbTest, AMountedStoreIsLeftAlone) {
  MountStore();
  EXPECT_TRUE(IsRefused(OnStore({"rebuild"}), 1, "quoin unmount " + mount()));
  EXPECT_EQ(JsonOf({"rebuild", "--dry-run"})["vdis"].size(), 0u);
  UnmountStore();
  EXPECT_EQ(OnStore({"rebuild"}).status, 0);
}

TEST_F(RebuildVerbTest, WhatHoldsNoPackIsNoStore) {
  fs::create_directories(Path("nothing"));
  EXPECT_TRUE(IsRefused(Quoin({"--store", Path("nothing"), "rebuild"}), 1, "not a quoin store"));
  EXPECT_TRUE(fs::is_empty(Path("nothing")));
  EXPECT_TRUE(IsRefused(Quoin({"--store", Path("nowhere"), "rebuild"}), 1, "cannot rebuild"));
}

}  // namespace
}  // namespace quoin

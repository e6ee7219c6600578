// Damaged files of one VDI: a clear error for that VDI, and all others keep working.
#include <algorithm>
#include <boost/filesystem.hpp>

#include "tests/command/command_fixture.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

class DamageTest : public CommandTest {
 protected:
  void SetUp() override {
    MakeStore();
    for (const char* name : {"good", "bad"}) {
      ASSERT_TRUE(IsDone(OnStore({"create", name, "1G"})));
      Fill(name, 0, 1 << 20);
    }
    ASSERT_TRUE(IsDone(OnStore({"snap", "create", "bad@monday"})));
    Fill("bad", 4096, 1 << 20);
    bad_ = FolderOf("bad");
  }

  // The store's other VDI can be listed, described, changed, snapshotted and cloned.
  void ExpectOthersWork() {
    EXPECT_TRUE(IsDone(OnStore({"info", "good"})));
    EXPECT_TRUE(IsDone(OnStore({"resize", "good", "2G"})));
    EXPECT_TRUE(IsDone(OnStore({"snap", "create", "good@now"})));
    EXPECT_TRUE(IsDone(OnStore({"clone", "good@now", "copy"})));
    const CommandResult list = OnStore({"ls", "-l"});
    EXPECT_NE(list.out.find("good"), std::string::npos) << list.out;
    EXPECT_NE(list.out.find("copy"), std::string::npos) << list.out;
  }

  // check reports damage, of the VDI named "bad" only.
  nlohmann::json ExpectCheckFindsDamage() {
    const CommandResult result = OnStore({"check", "--json"});
    EXPECT_EQ(result.status, 1);
    const nlohmann::json report = nlohmann::json::parse(result.out, nullptr, false);
    EXPECT_EQ(report["damaged"], true);
    for (const auto& finding : report["findings"]) {
      if (finding["severity"] == "damage") {
        EXPECT_EQ(finding["object"], "vdis/bad") << finding.dump();
      }
    }
    return report["findings"];
  }

  std::string LayerOf(size_t index) {
    std::vector<std::string> layers;
    for (const auto& entry : fs::directory_iterator(bad_ + "/layers")) {
      if (entry.path().filename().string().find('.') == std::string::npos) {
        layers.push_back(entry.path().string());
      }
    }
    std::sort(layers.begin(), layers.end());
    return layers.at(index);
  }

  std::string bad_;
};

TEST_F(DamageTest, ADamagedDatabase) {
  Scribble(bad_ + "/vdi.db", 5000, std::string(200, '!'));
  EXPECT_TRUE(IsRefused(OnStore({"resize", "bad", "2G"}), 1, "vdi.db"));
  EXPECT_TRUE(IsRefused(OnStore({"snap", "create", "bad@now"}), 1, "vdi.db"));
  ExpectOthersWork();
  ExpectCheckFindsDamage();
}

TEST_F(DamageTest, AMissingDatabase) {
  fs::remove(bad_ + "/vdi.db");
  EXPECT_TRUE(IsRefused(OnStore({"resize", "bad", "2G"}), 1, "cannot"));
  ExpectOthersWork();
  ExpectCheckFindsDamage();
}

TEST_F(DamageTest, ADamagedPublishedCopy) {
  Scribble(bad_ + "/published.db", 5000, std::string(200, '!'));
  EXPECT_TRUE(IsRefused(OnStore({"info", "bad"}), 1, "published.db"));
  const CommandResult list = OnStore({"ls", "-l"});
  EXPECT_TRUE(IsRefused(list, 1, "vdis/bad"));
  EXPECT_NE(list.out.find("good"), std::string::npos) << list.out;
  ExpectOthersWork();
  ExpectCheckFindsDamage();
  // A change by an owner publishes it anew, from the database.
  EXPECT_TRUE(IsDone(OnStore({"snap", "create", "bad@now"})));
  EXPECT_EQ(OnStore({"check"}).status, 0);
}

TEST_F(DamageTest, ALayerThatEndsTooEarly) {
  fs::resize_file(LayerOf(0), 8192);
  EXPECT_TRUE(IsRefused(OnStore({"snap", "create", "bad@now"}), 1, "cannot"));
  ExpectOthersWork();
  const nlohmann::json findings = ExpectCheckFindsDamage();
  EXPECT_NE(findings.dump().find("monday"), std::string::npos) << "its snapshot is named";
}

TEST_F(DamageTest, ALayerThatIsMissing) {
  fs::remove(LayerOf(0));
  ExpectOthersWork();
  ExpectCheckFindsDamage();
}

TEST_F(DamageTest, AListOfBlocksThatIsRubbish) {
  WriteFile(LayerOf(0) + ".owned", "rubbish");
  ExpectOthersWork();
  ExpectCheckFindsDamage();
}

TEST_F(DamageTest, ALockRecordOfRubbishCanBeBroken) {
  WriteFile(bad_ + "/writer.lock", std::string(512, '?'));
  EXPECT_TRUE(IsRefused(OnStore({"resize", "bad", "2G"}), 1, "lock break bad"));
  EXPECT_EQ(JsonOf({"lock", "show", "bad"})["state"], "damaged");
  ExpectOthersWork();
  ExpectCheckFindsDamage();
  ASSERT_TRUE(IsDone(OnStore({"lock", "break", "bad"})));
  EXPECT_EQ(OnStore({"resize", "bad", "2G"}).status, 0) << "it may say that it recovers the VDI";
  EXPECT_EQ(OnStore({"check"}).status, 0);
}

TEST_F(DamageTest, ANameOfRubbish) {
  WriteFile(store() + "/names/lost", "rubbish");
  const CommandResult list = OnStore({"ls"});
  EXPECT_TRUE(IsRefused(list, 1, "vdis/lost"));
  EXPECT_EQ(list.out, "bad\ngood\n");
  EXPECT_TRUE(IsRefused(OnStore({"info", "lost"}), 1, "cannot"));
  ExpectOthersWork();
  EXPECT_EQ(OnStore({"check"}).status, 1);
}

TEST_F(DamageTest, AVdiWithoutItsFolderOrItsName) {
  fs::rename(bad_, bad_ + "-gone");
  EXPECT_TRUE(IsRefused(OnStore({"info", "bad"}), 1, "cannot describe vdis/bad"));
  ExpectOthersWork();
  ExpectCheckFindsDamage();
  fs::rename(bad_ + "-gone", bad_);
  EXPECT_EQ(OnStore({"check"}).status, 0);
  fs::remove(store() + "/names/bad");
  EXPECT_EQ(OnStore({"check"}).status, 1);
}

TEST_F(DamageTest, ASharedHeadAndAFileThatNobodyNeeds) {
  WriteFile(bad_ + "/layers/99-99", "leftover");
  const CommandResult leftover = OnStore({"check"});
  EXPECT_EQ(leftover.status, 0) << "it harms nothing";
  EXPECT_NE(leftover.out.find("warning: vdis/bad"), std::string::npos) << leftover.out;
  fs::remove(bad_ + "/layers/99-99");
  fs::create_hard_link(LayerOf(1), Path("copy-of-the-head"));
  const nlohmann::json findings = ExpectCheckFindsDamage();
  EXPECT_NE(findings.dump().find("head"), std::string::npos);
}

TEST_F(DamageTest, TheMountedTreeShowsTheOthersToo) {
  Scribble(bad_ + "/vdi.db", 5000, std::string(200, '!'));
  MountStore();
  EXPECT_TRUE(IsRefused(OnStore({"resize", "bad", "2G"}), 1, "vdi.db"));
  ExpectOthersWork();
  UnmountStore();
}

}  // namespace
}  // namespace quoin

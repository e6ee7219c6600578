// create, ls, info, resize, rm, mv, snap, clone and rollback: each with the store mounted, where a
// daemon does the work, and not mounted, where the command does it itself. Both must be the same.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/filesystem.hpp>

#include "tests/command/command_fixture.h"

namespace quoin {
namespace {

enum class Where { kNotMounted, kMounted };

class VdiVerbsTest : public CommandTest, public ::testing::WithParamInterface<Where> {
 protected:
  void SetUp() override {
    MakeStore();
    if (GetParam() == Where::kMounted) MountStore();
  }
  void TearDown() override {
    if (GetParam() == Where::kMounted) UnmountStore();
    const CommandResult check = OnStore({"check", "--json"});
    EXPECT_EQ(check.status, 0) << check.out;
    EXPECT_EQ(nlohmann::json::parse(check.out)["findings"].size(), 0u) << check.out;
  }
  std::vector<std::string> NamesOf(const nlohmann::json& list) {
    std::vector<std::string> names;
    for (const auto& item : list) names.push_back(item["name"]);
    return names;
  }
  using Names = std::vector<std::string>;
};

INSTANTIATE_TEST_SUITE_P(Everywhere, VdiVerbsTest,
                         ::testing::Values(Where::kNotMounted, Where::kMounted),
                         [](const auto& where) {
                           return where.param == Where::kMounted ? "Mounted" : "NotMounted";
                         });

TEST_P(VdiVerbsTest, CreateMakesAnEmptyVdiAndItsFolders) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "20G"})));
  ASSERT_TRUE(IsDone(OnStore({"create", "lab/deep/db02", "512"})));
  const nlohmann::json list = JsonOf({"ls"});
  EXPECT_EQ(NamesOf(list), (Names{"lab/deep/db02", "web01"}));
  EXPECT_EQ(list[0]["size_bytes"], 512);
  EXPECT_EQ(list[1]["size_bytes"], uint64_t{20} << 30);
  EXPECT_EQ(list[1]["used_bytes"], 0);
  EXPECT_TRUE(list[1]["writer"].is_null());
  ASSERT_TRUE(IsDone(OnStore({"create", "empty", "0"})));
  ASSERT_TRUE(IsDone(OnStore({"create", "vast", "256T"})));
}

TEST_P(VdiVerbsTest, CreateRefusesANameThatIsTaken) {
  ASSERT_TRUE(IsDone(OnStore({"create", "lab/db02", "1G"})));
  EXPECT_TRUE(IsRefused(OnStore({"create", "lab/db02", "1G"}), 1, "cannot create"));
  EXPECT_TRUE(IsRefused(OnStore({"create", "lab", "1G"}), 1, "cannot create"));
  EXPECT_TRUE(IsRefused(OnStore({"create", "lab/db02/x", "1G"}), 1, "cannot create"));
}

TEST_P(VdiVerbsTest, ListShowsNamesOrAllByPrefix) {
  for (const char* name : {"web01", "web02", "lab/db02"}) {
    ASSERT_TRUE(IsDone(OnStore({"create", name, "1G"})));
  }
  EXPECT_EQ(OnStore({"ls"}).out, "lab/db02\nweb01\nweb02\n");
  EXPECT_EQ(OnStore({"ls", "web"}).out, "web01\nweb02\n");
  EXPECT_EQ(OnStore({"ls", "lab/"}).out, "lab/db02\n");
  EXPECT_EQ(OnStore({"ls", "lab/d"}).out, "lab/db02\n");
  EXPECT_TRUE(IsRefused(OnStore({"ls", "nothing"}), 1, "begins with 'nothing'"));
  EXPECT_TRUE(IsRefused(OnStore({"ls", "no/thing"}), 1, "begins with 'no/thing'"));
  const std::string table = OnStore({"ls", "-l"}).out;
  for (const char* word : {"NAME", "SIZE", "USED", "SNAPSHOTS", "WRITER", "MODIFIED", "1 GiB"}) {
    EXPECT_NE(table.find(word), std::string::npos) << word << "\n" << table;
  }
}

TEST_P(VdiVerbsTest, AnEmptyStoreListsNothing) {
  const CommandResult result = OnStore({"ls", "-l"});
  EXPECT_TRUE(IsDone(result));
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(JsonOf({"ls"}), nlohmann::json::array());
}

TEST_P(VdiVerbsTest, InfoShowsAVdiAndASnapshot) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@monday"})));
  const nlohmann::json vdi = JsonOf({"info", "web01"});
  EXPECT_EQ(vdi["name"], "web01");
  EXPECT_EQ(vdi["size_bytes"], 1 << 20);
  EXPECT_EQ(vdi["snapshots"], 1);
  EXPECT_EQ(vdi["mode"], "0600");
  EXPECT_EQ(vdi["id"].get<std::string>().size(), 32u);
  const nlohmann::json snapshot = JsonOf({"info", "web01@monday"});
  EXPECT_EQ(snapshot["name"], "monday");
  EXPECT_EQ(snapshot["vdi"], "web01");
  EXPECT_EQ(snapshot["protected"], false);
  EXPECT_NE(OnStore({"info", "web01"}).out.find("1 MiB (1048576 bytes)"), std::string::npos);
  EXPECT_NE(OnStore({"info", "web01@monday"}).out.find("web01@monday"), std::string::npos);
  EXPECT_TRUE(IsRefused(OnStore({"info", "nobody"}), 1, "cannot describe"));
  EXPECT_TRUE(IsRefused(OnStore({"info", "web01@never"}), 1, "cannot describe"));
}

TEST_P(VdiVerbsTest, ResizeGrowsAndShrinksOnlyWhenTold) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1G"})));
  ASSERT_TRUE(IsDone(OnStore({"resize", "web01", "2G"})));
  EXPECT_EQ(JsonOf({"info", "web01"})["size_bytes"], uint64_t{2} << 30);
  EXPECT_TRUE(IsRefused(OnStore({"resize", "web01", "1G"}), 1, "--shrink"));
  EXPECT_EQ(JsonOf({"info", "web01"})["size_bytes"], uint64_t{2} << 30);
  ASSERT_TRUE(IsDone(OnStore({"resize", "web01", "1G", "--shrink"})));
  EXPECT_EQ(JsonOf({"info", "web01"})["size_bytes"], uint64_t{1} << 30);
  EXPECT_TRUE(IsRefused(OnStore({"resize", "nobody", "1G"}), 1, "cannot resize"));
}

TEST_P(VdiVerbsTest, RemoveRefusesAVdiWithSnapshotsUnlessTold) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@monday"})));
  EXPECT_TRUE(IsRefused(OnStore({"rm", "web01"}), 1, "--with-snapshots"));
  ASSERT_TRUE(IsDone(OnStore({"snap", "protect", "web01@monday"})));
  EXPECT_TRUE(IsRefused(OnStore({"rm", "web01", "--with-snapshots"}), 1, "protected"));
  ASSERT_TRUE(IsDone(OnStore({"snap", "unprotect", "web01@monday"})));
  ASSERT_TRUE(IsDone(OnStore({"rm", "web01", "--with-snapshots"})));
  EXPECT_TRUE(IsRefused(OnStore({"rm", "web01"}), 1, "cannot remove"));
  ASSERT_TRUE(IsDone(OnStore({"create", "lab/db02", "1M"})));
  EXPECT_TRUE(IsRefused(OnStore({"rm", "lab"}), 1, "folder"));
}

TEST_P(VdiVerbsTest, RenameMovesVdisWithTheirSnapshots) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  ASSERT_TRUE(IsDone(OnStore({"create", "web02", "1M"})));
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@monday"})));
  ASSERT_TRUE(IsDone(OnStore({"mv", "web01", "lab/new/b"})));
  EXPECT_EQ(NamesOf(JsonOf({"snap", "ls", "lab/new/b"})), (Names{"monday"}));
  EXPECT_TRUE(IsRefused(OnStore({"mv", "web02", "lab/new/b"}), 1, "cannot rename"));
  EXPECT_TRUE(IsRefused(OnStore({"mv", "nobody", "else/where"}), 1, "cannot rename"));
  ASSERT_TRUE(IsDone(OnStore({"mv", "lab/new", "other"})));
  EXPECT_EQ(NamesOf(JsonOf({"ls"})), (Names{"other/b", "web02"}));
}

TEST_P(VdiVerbsTest, SnapshotsAreTakenListedRenamedProtectedAndRemoved) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  for (const char* name : {"web01@c", "web01@a", "web01@b"}) {
    ASSERT_TRUE(IsDone(OnStore({"snap", "create", name})));
  }
  EXPECT_EQ(NamesOf(JsonOf({"snap", "ls", "web01"})), (Names{"c", "a", "b"})) << "oldest first";
  EXPECT_TRUE(IsRefused(OnStore({"snap", "create", "web01@a"}), 1, "cannot"));
  EXPECT_TRUE(IsRefused(OnStore({"snap", "create", "nobody@a"}), 1, "cannot take snapshot"));
  ASSERT_TRUE(IsDone(OnStore({"snap", "rename", "web01@a", "z"})));
  EXPECT_TRUE(IsRefused(OnStore({"snap", "rename", "web01@z", "b"}), 1, "cannot"));
  EXPECT_TRUE(IsRefused(OnStore({"snap", "rename", "web01@z", "x@y"}), 2, "cannot rename"));
  ASSERT_TRUE(IsDone(OnStore({"snap", "protect", "web01@z"})));
  EXPECT_TRUE(IsRefused(OnStore({"snap", "rm", "web01@z"}), 1, "protected"));
  EXPECT_NE(OnStore({"snap", "ls", "web01"}).out.find("yes"), std::string::npos);
  ASSERT_TRUE(IsDone(OnStore({"snap", "unprotect", "web01@z"})));
  ASSERT_TRUE(IsDone(OnStore({"snap", "rm", "web01@z"})));
  EXPECT_TRUE(IsRefused(OnStore({"snap", "rm", "web01@z"}), 1, "cannot remove"));
  EXPECT_EQ(NamesOf(JsonOf({"snap", "ls", "web01"})), (Names{"c", "b"}));
}

TEST_P(VdiVerbsTest, SeveralSnapshotsAreAllOrNone) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  ASSERT_TRUE(IsDone(OnStore({"create", "db02", "1M"})));
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@one", "db02@one"})));
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@two"})));
  EXPECT_TRUE(IsRefused(OnStore({"snap", "create", "db02@two", "web01@two"}), 1, "cannot"));
  EXPECT_EQ(NamesOf(JsonOf({"snap", "ls", "db02"})), (Names{"one"}));
  EXPECT_EQ(NamesOf(JsonOf({"snap", "ls", "web01"})), (Names{"one", "two"}));
}

TEST_P(VdiVerbsTest, CloneAndRollbackGiveASnapshotsContent) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@monday"})));
  ASSERT_TRUE(IsDone(OnStore({"resize", "web01", "2M"})));
  ASSERT_TRUE(IsDone(OnStore({"clone", "web01@monday", "new/copy"})));
  const nlohmann::json clone = JsonOf({"info", "new/copy"});
  EXPECT_EQ(clone["size_bytes"], 1 << 20);
  EXPECT_EQ(clone["parent"], "web01@monday");
  EXPECT_TRUE(IsRefused(OnStore({"clone", "web01@monday", "new/copy"}), 1, "cannot"));
  EXPECT_TRUE(IsRefused(OnStore({"clone", "web01@never", "other"}), 1, "cannot clone"));
  const CommandResult rollback = OnStore({"rollback", "web01@monday"});
  ASSERT_TRUE(IsDone(rollback));
  EXPECT_EQ(JsonOf({"info", "web01"})["size_bytes"], 1 << 20);
  const nlohmann::json snapshots = JsonOf({"snap", "ls", "web01"});
  ASSERT_EQ(snapshots.size(), 2u);
  EXPECT_EQ(snapshots[1]["size_bytes"], 2 << 20) << "what it held is kept";
  EXPECT_NE(rollback.out.find(snapshots[1]["name"].get<std::string>()), std::string::npos);
  EXPECT_TRUE(IsRefused(OnStore({"rollback", "web01@never"}), 1, "cannot roll"));
}

TEST_P(VdiVerbsTest, LocksOfIdleVdisAreFree) {
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  EXPECT_EQ(JsonOf({"lock", "ls"}), nlohmann::json::array());
  EXPECT_EQ(JsonOf({"lock", "ls", "--all"}).size(), 1u);
  EXPECT_EQ(JsonOf({"lock", "show", "web01"})["state"], "free");
  EXPECT_TRUE(IsDone(OnStore({"lock", "break", "web01"})));
  EXPECT_TRUE(IsRefused(OnStore({"lock", "show", "nobody"}), 1, "cannot show"));
  EXPECT_TRUE(IsRefused(OnStore({"lock", "break", "nobody"}), 1, "cannot break"));
}

}  // namespace
}  // namespace quoin

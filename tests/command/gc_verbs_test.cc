// gc, scrub and df, with the store mounted, where a daemon does the work, and not mounted.
#include <filesystem>

#include "tests/command/command_fixture.h"

namespace quoin {
namespace {

enum class Where { kNotMounted, kMounted };

class GarbageVerbsTest : public CommandTest, public ::testing::WithParamInterface<Where> {
 protected:
  static constexpr uint64_t kBytes = uint64_t{4} << 20;

  // Two VDIs with content of their own, sealed.
  void SetUp() override {
    MakeStore();
    for (const std::string name : {"a", "b"}) {
      ASSERT_TRUE(IsDone(OnStore({"create", name, "64M"})));
      Fill(name, name == "a" ? 0 : kBytes, kBytes);
      ASSERT_TRUE(IsDone(OnStore({"snap", "create", name + "@s"})));
      ASSERT_EQ(OnStore({"seal", name}).status, 0);
    }
    if (GetParam() == Where::kMounted) MountStore();
  }
  void TearDown() override {
    if (GetParam() == Where::kMounted) UnmountStore();
    const CommandResult check = OnStore({"check", "--json"});
    EXPECT_EQ(check.status, 0) << check.out;
  }
};

INSTANTIATE_TEST_SUITE_P(Everywhere, GarbageVerbsTest,
                         ::testing::Values(Where::kNotMounted, Where::kMounted),
                         [](const auto& where) {
                           return where.param == Where::kMounted ? "Mounted" : "NotMounted";
                         });

TEST_P(GarbageVerbsTest, GcFreesWhatWasRemoved) {
  EXPECT_EQ(JsonOf({"gc", "--grace", "0"})["freed_bytes"], 0);
  ASSERT_TRUE(IsDone(OnStore({"rm", "a", "--with-snapshots"})));
  const nlohmann::json planned = JsonOf({"gc", "--dry-run"});
  EXPECT_TRUE(planned["dry_run"]);
  EXPECT_GT(planned["garbage_bytes"], 0);
  EXPECT_EQ(planned["freed_bytes"], 0);
  const nlohmann::json declared = JsonOf({"gc"});
  EXPECT_EQ(declared["freed_bytes"], 0);
  EXPECT_GT(declared["waiting_bytes"], 0);
  const nlohmann::json done = JsonOf({"gc", "--grace", "0"});
  EXPECT_GT(done["freed_bytes"], 0);
  EXPECT_EQ(done["waiting_bytes"], 0);
  EXPECT_EQ(OnStore({"gc"}).status, 0);
}

TEST_P(GarbageVerbsTest, DfSaysWhatIsSharedAndWhatARemovalFrees) {
  ASSERT_TRUE(IsDone(OnStore({"clone", "a@s", "c"})));
  const nlohmann::json space = JsonOf({"df", "-l"});
  // a, b, c, and the snapshots of a and b.
  EXPECT_EQ(space["logical_bytes"], 5 * kBytes);
  EXPECT_EQ(space["reclaimable_bytes"], 0);
  EXPECT_GT(space["stored_bytes"], 0);
  EXPECT_GT(space["metadata_bytes"], 0);
  ASSERT_EQ(space["vdis"].size(), 3u);
  EXPECT_EQ(space["vdis"][0]["name"], "a");
  EXPECT_EQ(space["vdis"][0]["unique_bytes"], 0) << "the clone has it too";
  EXPECT_EQ(space["vdis"][1]["name"], "b");
  EXPECT_EQ(space["vdis"][1]["snapshots"][0]["freed_bytes"], 0) << "its VDI has it too";
  EXPECT_FALSE(JsonOf({"df"}).contains("vdis"));
  EXPECT_EQ(OnStore({"df", "-l"}).status, 0);
}

TEST_P(GarbageVerbsTest, ScrubComparesAllAndNamesWhatIsDamaged) {
  const nlohmann::json sound = JsonOf({"scrub"});
  EXPECT_FALSE(sound["damaged"]);
  EXPECT_EQ(sound["blocks"], 2 * kBytes / 4096);
  EXPECT_TRUE(IsDone(OnStore({"scrub", "a@s"})));
  // In the middle of the largest pack of all.
  std::filesystem::path pack;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(store() + "/packs")) {
    if (!entry.is_regular_file()) continue;
    if (pack.empty() || entry.file_size() > std::filesystem::file_size(pack)) pack = entry.path();
  }
  ASSERT_FALSE(pack.empty());
  Scribble(pack, std::filesystem::file_size(pack) / 2, "no block has this");
  const CommandResult found = OnStore({"scrub", "--json"});
  EXPECT_EQ(found.status, 1);
  const nlohmann::json report = nlohmann::json::parse(found.out);
  EXPECT_TRUE(report["damaged"]);
  ASSERT_FALSE(report["damaged_ranges"].empty());
  EXPECT_EQ(report["damaged_slots"][0]["pack"], pack.filename().string());
  const std::string vdi = report["damaged_ranges"][0]["vdi"];
  EXPECT_TRUE(vdi == "a" || vdi == "b");
  const CommandResult shown = OnStore({"scrub", vdi + "@s"});
  EXPECT_EQ(shown.status, 1);
  EXPECT_NE(shown.out.find(vdi + "@s: "), std::string::npos) << shown.out;
  EXPECT_EQ(OnStore({"scrub", vdi == "a" ? "b" : "a"}).status, 0);
  EXPECT_TRUE(IsRefused(OnStore({"scrub", "none"}), 1, "cannot scrub"));
  EXPECT_TRUE(IsRefused(OnStore({"scrub", "a@none"}), 1, "cannot scrub"));
}

TEST_P(GarbageVerbsTest, InitPutsAReserveBy) {
  EXPECT_EQ(ReadFile(store() + "/gc/reserve").size(), uint64_t{32} << 20);
}

}  // namespace
}  // namespace quoin

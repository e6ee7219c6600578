// doctor, and what mount says of what it found.
#include <sys/mount.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "blockstore/base/posix_file_system.h"
#include "metadata/storage_findings.h"
#include "tests/command/command_fixture.h"
#include "tests/command/passthrough_mount.h"
#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

using nlohmann::json;

class DoctorVerbTest : public CommandTest {
 protected:
  DoctorVerbTest() { boost::filesystem::create_directories(storage()); }

  std::string storage() const { return Path("storage"); }

  // Whatever its exit status is.
  json Doctor(std::vector<std::string> words, int status = 0) {
    words.insert(words.begin(), "doctor");
    words.push_back("--json");
    const CommandResult result = Quoin(words);
    EXPECT_EQ(result.status, status) << result.out << result.err;
    const json diagnosis = json::parse(result.out, nullptr, false);
    EXPECT_TRUE(diagnosis.is_object()) << result.out << result.err;
    return diagnosis;
  }
  static json ProbeOf(const json& diagnosis, const std::string& name) {
    for (const json& probe : diagnosis.value("probes", json::array())) {
      if (probe["probe"] == name) return probe;
    }
    ADD_FAILURE() << "no probe " << name << " in " << diagnosis.dump(2);
    return json{{"verdict", nullptr}, {"guarantee", nullptr}, {"found", nullptr}};
  }
  static std::vector<std::string> Bad(const json& diagnosis) {
    std::vector<std::string> bad;
    for (const json& probe : diagnosis.value("probes", json::array())) {
      if (probe["verdict"] == "bad") bad.push_back(probe["probe"]);
    }
    return bad;
  }
  Result<StorageFindings> Kept() {
    return ReadStorageFindings(file_system_, StoreLayout(store()));
  }
  void ExpectNoTrace() { EXPECT_TRUE(boost::filesystem::is_empty(storage())); }

  PosixFileSystem file_system_;
};

using Words = std::vector<std::string>;

TEST_F(DoctorVerbTest, FindsThisStorageFitInShortTimeAndLeavesNoTrace) {
  const auto begin = std::chrono::steady_clock::now();
  const json diagnosis = Doctor({storage()});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
  EXPECT_EQ(Bad(diagnosis), Words{});
  for (const char* name : {"locks", "exclusive-creation", "links", "rename", "visibility", "fsync",
                           "fdatasync", "sparse-files", "punch-hole", "database", "space"}) {
    (void)ProbeOf(diagnosis, name);
  }
  for (const char* name : {"fsync", "fdatasync", "database"}) {
    const json measured = ProbeOf(diagnosis, name)["measured"];
    EXPECT_GT(measured["p50_microseconds"], 0);
    EXPECT_GE(measured["p99_microseconds"], measured["p50_microseconds"]);
  }
  EXPECT_GE(ProbeOf(diagnosis, "locks")["measured"]["after_death_milliseconds"], 0);
  EXPECT_GE(ProbeOf(diagnosis, "visibility")["measured"]["new_name_milliseconds"], 0);
  ExpectNoTrace();
  const std::string text = Quoin({"doctor", storage()}).out;
  EXPECT_NE(text.find("locks"), std::string::npos);
  EXPECT_NE(text.find("lies in no store"), std::string::npos) << text;
}

TEST_F(DoctorVerbTest, SaysWhatOneMountCannotShow) {
  const json alone = Doctor({storage()});
  EXPECT_EQ(alone["clients"], "one");
  EXPECT_EQ(ProbeOf(alone, "clients")["verdict"], "note");
  // Two mount points of one mounted filesystem are no second host.
  boost::filesystem::create_directories(Path("bound"));
  ASSERT_EQ(::mount(storage().c_str(), Path("bound").c_str(), nullptr, MS_BIND, nullptr), 0);
  const json bound = Doctor({storage(), "--second", Path("bound")});
  umount2(Path("bound").c_str(), MNT_DETACH);
  EXPECT_EQ(bound["clients"], "same");
  EXPECT_EQ(ProbeOf(bound, "clients")["verdict"], "note");
  EXPECT_EQ(Bad(bound), Words{});
  ExpectNoTrace();
}

TEST_F(DoctorVerbTest, FindsTwoClientsFitThatHideNothingFromEachOther) {
  const PassthroughMount one(storage(), Path("one"));
  const PassthroughMount other(storage(), Path("other"));
  const json diagnosis = Doctor({one.path(), "--second", other.path()});
  EXPECT_EQ(Bad(diagnosis), Words{}) << diagnosis.dump(2);
  EXPECT_EQ(diagnosis["clients"], "two");
  EXPECT_EQ(diagnosis["filesystem"], "fuse.passthrough");
  EXPECT_EQ(ProbeOf(diagnosis, "clients")["verdict"], "ok");
  EXPECT_EQ(diagnosis["fences"], "unknown");
  ExpectNoTrace();
}

TEST_F(DoctorVerbTest, RefusesASecondFolderThatIsAnother) {
  boost::filesystem::create_directories(Path("elsewhere"));
  EXPECT_TRUE(IsRefused(Quoin({"doctor", storage(), "--second", Path("elsewhere")}), 1,
                        "does not show"));
  EXPECT_TRUE(IsRefused(Quoin({"doctor", storage(), "--second", Path("nowhere")}), 1, "cannot examine"));
  EXPECT_TRUE(IsRefused(Quoin({"doctor", Path("nowhere")}), 1, "cannot examine"));
  ExpectNoTrace();
}

TEST_F(DoctorVerbTest, SaysWhatIsBad) {
  // No lock, link or database works on /proc.
  EXPECT_TRUE(IsRefused(Quoin({"doctor", "/proc/self"}), 1, "cannot"));
}

// --- storage that lies ---------------------------------------------------------------------------

struct LieCase {
  const char* name;
  Lies lies;
  std::vector<std::string> bad;
  const char* guarantee;
};

class DoctorLiesTest : public DoctorVerbTest, public ::testing::WithParamInterface<LieCase> {};

TEST_P(DoctorLiesTest, SeesWhatIsWrongBetweenTwoClients) {
  const PassthroughMount one(storage(), Path("one"), GetParam().lies);
  const PassthroughMount other(storage(), Path("other"), GetParam().lies);
  const json diagnosis =
      Doctor({one.path(), "--second", other.path()}, GetParam().bad.empty() ? 0 : 1);
  const Words bad = Bad(diagnosis);
  for (const std::string& probe : GetParam().bad) {
    EXPECT_EQ(std::count(bad.begin(), bad.end(), probe), 1) << probe << diagnosis.dump(2);
    const std::string guarantee = ProbeOf(diagnosis, probe)["guarantee"];
    EXPECT_TRUE(guarantee.starts_with(GetParam().guarantee)) << guarantee;
  }
  EXPECT_EQ(bad.empty(), GetParam().bad.empty()) << diagnosis.dump(2);
  // What the client hides it cannot remove either.
  if (!GetParam().lies.creation_is_never_exclusive) ExpectNoTrace();
}

INSTANTIATE_TEST_SUITE_P(
    Storage, DoctorLiesTest,
    ::testing::Values(
        LieCase{"LocksAreLocal", {.locks_are_local = true}, {"locks", "database"}, "2."},
        LieCase{"CreationIsNeverExclusive",
                {.creation_is_never_exclusive = true},
                {"exclusive-creation"},
                "2."},
        LieCase{"LinksFail", {.links_fail = true}, {"links"}, "2."},
        LieCase{"SyncFails", {.sync_fails = true}, {"fsync", "fdatasync", "database"}, "1."},
        LieCase{"PunchedHolesKeepTheirData",
                {.punched_holes_keep_their_data = true},
                {"punch-hole"},
                "1."},
        LieCase{"OldNamesAreShown",
                {.remembers = std::chrono::seconds(30)},
                {"visibility"},
                "2."},
        // What quoin does without.
        LieCase{"HolesCannotBePunched", {.holes_cannot_be_punched = true}, {}, ""},
        LieCase{"HolesCannotBeFound", {.holes_cannot_be_found = true}, {}, ""}),
    [](const auto& test) { return test.param.name; });

// Only the second mount shows that they are worth nothing.
TEST_F(DoctorVerbTest, LocksOfOneMountAloneLookSoundAndThatIsSaid) {
  const PassthroughMount one(storage(), Path("one"), {.locks_are_local = true});
  const json diagnosis = Doctor({one.path()});
  EXPECT_EQ(Bad(diagnosis), Words{});
  const std::string missing = ProbeOf(diagnosis, "clients")["guarantee"];
  EXPECT_NE(missing.find("--second"), std::string::npos);
}

TEST_F(DoctorVerbTest, WhatQuoinDoesWithoutIsANote) {
  const PassthroughMount one(storage(), Path("one"),
                             {.holes_cannot_be_punched = true, .holes_cannot_be_found = true});
  const json diagnosis = Doctor({one.path()});
  for (const char* probe : {"punch-hole", "hole-queries"}) {
    EXPECT_EQ(ProbeOf(diagnosis, probe)["verdict"], "note");
  }
}

TEST_F(DoctorVerbTest, IsEndedByASignalWithoutATrace) {
  const CommandResult result = RunCommand(
      {"timeout", "--signal=INT", "0.3", QUOIN_BINARY, "doctor", storage()});
  EXPECT_NE(result.status, 0);
  ExpectNoTrace();
}

// --- what is kept --------------------------------------------------------------------------------

TEST_F(DoctorVerbTest, KeepsWhatItFindsInTheStoreThatTheFolderIsOrLiesIn) {
  MakeStore();
  EXPECT_EQ(Doctor({storage()})["kept"], nullptr);
  EXPECT_ERROR(kNotFound, Kept());
  for (const std::string& folder : {store(), store() + "/packs"}) {
    boost::filesystem::remove(store() + "/quoin.storage");
    const json diagnosis = Doctor({folder});
    EXPECT_EQ(diagnosis["kept"], store() + "/quoin.storage");
    ASSERT_OK_AND_ASSIGN(const StorageFindings kept, Kept());
    ASSERT_EQ(kept.findings.size(), diagnosis["probes"].size());
    for (size_t i = 0; i < kept.findings.size(); ++i) {
      EXPECT_EQ(kept.findings[i].probe, diagnosis["probes"][i]["probe"]);
      EXPECT_EQ(ToWord(kept.findings[i].verdict), diagnosis["probes"][i]["verdict"]);
    }
    EXPECT_EQ(kept.filesystem, diagnosis["filesystem"]);
    EXPECT_FALSE(kept.between_clients);
    EXPECT_FALSE(kept.fencing_is_stated);
  }
  EXPECT_EQ(JsonOf({"check"})["findings"].size(), 0u);
  EXPECT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
}

TEST_F(DoctorVerbTest, KeepsWhatTheAdministratorSaysOfFencingUntilItIsTakenBack) {
  MakeStore();
  const PassthroughMount mounted(store(), Path("one"));
  const auto expect = [&](const Words& options, const char* fences, bool stated) {
    Words words{mounted.path()};
    words.insert(words.end(), options.begin(), options.end());
    const json diagnosis = Doctor(words);
    EXPECT_EQ(diagnosis["fences"], fences);
    EXPECT_EQ(diagnosis["fences_stated"], stated);
    ASSERT_OK_AND_ASSIGN(const StorageFindings kept, Kept());
    EXPECT_EQ(ToWord(kept.fencing), fences);
    EXPECT_EQ(kept.fencing_is_stated, stated);
    EXPECT_EQ(StorageFences(file_system_, StoreLayout(store())), std::string(fences) == "yes");
  };
  expect({}, "unknown", false);
  expect({"--fences", "yes"}, "yes", true);
  expect({}, "yes", true);
  expect({"--fences", "no"}, "no", true);
  expect({"--fences", "unknown"}, "unknown", false);
  expect({}, "unknown", false);
  EXPECT_TRUE(IsRefused(Quoin({"doctor", store(), "--fences", "perhaps"}), 2, "--help"));
}

// --- mount ---------------------------------------------------------------------------------------

class MountAdviceTest : public DoctorVerbTest {
 protected:
  // What `mount` says on standard error; the tree is gone again.
  std::string SaidAtMount(const std::string& root) {
    const CommandResult result = Quoin({"mount", root, mount()});
    EXPECT_EQ(result.status, 0) << result.err;
    UnmountStore();
    return result.err;
  }
  std::string Log() {
    std::string text;
    for (const auto& entry : boost::filesystem::directory_iterator(Path("log"))) {
      text += ReadFile(entry.path().string());
    }
    return text;
  }
};

TEST_F(MountAdviceTest, NothingIsSaidOfAFitStorageOrOneOfThisHostAlone) {
  MakeStore();
  EXPECT_EQ(SaidAtMount(store()), "");
  (void)Doctor({store()});
  EXPECT_EQ(SaidAtMount(store()), "");
}

TEST_F(MountAdviceTest, StorageThatOthersMayMountIsToBeExamined) {
  MakeStore();
  const PassthroughMount mounted(store(), Path("one"));
  const std::string said = SaidAtMount(mounted.path());
  EXPECT_TRUE(said.starts_with("quoin: warning: ")) << said;
  EXPECT_NE(said.find("quoin doctor " + mounted.path()), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_NE(Log().find("was never examined"), std::string::npos);
  (void)Doctor({mounted.path()});
  EXPECT_EQ(SaidAtMount(mounted.path()), "");
}

TEST_F(MountAdviceTest, WhatLosesDataIsSaidAtEveryMount) {
  MakeStore();
  {
    const PassthroughMount one(store(), Path("one"), {.locks_are_local = true});
    const PassthroughMount other(store(), Path("other"), {.locks_are_local = true});
    (void)Doctor({one.path(), "--second", other.path()}, 1);
  }
  for (int i = 0; i < 2; ++i) {
    const std::string said = SaidAtMount(store());
    EXPECT_NE(said.find("locks: two processes got the same lock"), std::string::npos) << said;
    EXPECT_NE(said.find("2. one writer"), std::string::npos) << said;
  }
  EXPECT_NE(Log().find("two processes got the same lock"), std::string::npos);
  (void)Doctor({store()});
  EXPECT_EQ(SaidAtMount(store()), "") << "the last examination counts";
}

TEST_F(MountAdviceTest, WhatCannotBeReadOrIsOfOtherStorageIsToBeFoundAnew) {
  MakeStore();
  (void)Doctor({store()});
  const std::string whole = ReadFile(store() + "/quoin.storage");
  WriteFile(store() + "/quoin.storage", "rubbish");
  EXPECT_NE(SaidAtMount(store()).find("is damaged; run: quoin doctor"), std::string::npos);
  WriteFile(store() + "/quoin.storage", whole);
  EXPECT_EQ(SaidAtMount(store()), "");
  ASSERT_EQ(RunCommand({"cp", "-a", store(), Path("copy")}).status, 0);
  EXPECT_NE(SaidAtMount(Path("copy")).find("before it was copied"), std::string::npos);
}

}  // namespace
}  // namespace quoin

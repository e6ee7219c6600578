// mount, unmount and status, and how commands find and use a daemon.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/filesystem.hpp>
#include <csignal>
#include <cstring>
#include <thread>

#include "blockstore/base/posix_file_system.h"
#include "tests/command/command_fixture.h"
#include "tools/local_socket.h"
#include "tools/mount_record.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

// A daemon that has ended but that no parent has asked about yet is not running.
bool IsRunning(pid_t process) {
  const std::string stat = ReadFile("/proc/" + std::to_string(process) + "/stat");
  return !stat.empty() && stat.find(") Z ") == std::string::npos;
}

class MountVerbsTest : public CommandTest {
 protected:
  void SetUp() override { MakeStore(); }

  nlohmann::json Status(std::vector<std::string> words = {}) {
    words.insert(words.begin(), "status");
    words.push_back("--json");
    const CommandResult result = Quoin(words);
    EXPECT_TRUE(IsDone(result));
    // Trees of others may be mounted on this machine.
    nlohmann::json ours = nlohmann::json::array();
    for (const auto& tree : nlohmann::json::parse(result.out, nullptr, false)) {
      if (tree["mountpoint"].get<std::string>().starts_with(Path(""))) ours.push_back(tree);
    }
    return ours;
  }
  bool IsMounted() { return !MountedTrees().empty() && fs::exists(mount() + "/vdis"); }
  // An open file of the tree, so that the daemon owns the VDI.
  Descriptor OpenInTree(const std::string& path, int flags = O_RDWR) {
    return Descriptor(open((mount() + "/" + path).c_str(), flags | O_CLOEXEC, 0600));
  }
};

TEST_F(MountVerbsTest, MountReturnsWhenTheTreeIsUsableAndUnmountWhenTheDaemonIsGone) {
  const CommandResult mounted = Quoin({"mount", store(), mount()});
  ASSERT_TRUE(IsDone(mounted));
  EXPECT_TRUE(fs::is_directory(mount() + "/vdis"));
  const nlohmann::json status = Status();
  ASSERT_EQ(status.size(), 1u);
  const pid_t daemon = status[0]["daemon_pid"];
  EXPECT_TRUE(IsRunning(daemon));
  UnmountStore();
  EXPECT_FALSE(IsRunning(daemon));
  EXPECT_FALSE(fs::exists(mount() + "/vdis"));
  EXPECT_TRUE(fs::is_empty(run_dir())) << "nothing is left of the mount";
}

TEST_F(MountVerbsTest, StatusTellsOfEachMount) {
  EXPECT_EQ(Status(), nlohmann::json::array());
  MountStore();
  nlohmann::json status = Status();
  ASSERT_EQ(status.size(), 1u);
  EXPECT_EQ(status[0]["store"], store());
  EXPECT_EQ(status[0]["mountpoint"], mount());
  EXPECT_EQ(status[0]["state"], "mounted");
  EXPECT_EQ(status[0]["vdis_open"], 0);
  EXPECT_TRUE(status[0]["version"].is_string());
  EXPECT_EQ(status[0]["since"].get<std::string>().back(), 'Z');
  {
    ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
    const Descriptor file = OpenInTree("vdis/web01");
    ASSERT_TRUE(file) << strerror(errno);
    EXPECT_EQ(Status({mount()})[0]["vdis_open"], 1);
  }
  EXPECT_EQ(nlohmann::json::parse(ReadFile(mount() + "/.quoin/status.json"))["daemon_pid"],
            status[0]["daemon_pid"]);
  EXPECT_NE(Quoin({"status"}).out.find(mount()), std::string::npos);
  EXPECT_TRUE(IsRefused(Quoin({"status", Path("elsewhere")}), 1, "no tree is mounted"));
  UnmountStore();
}

TEST_F(MountVerbsTest, AnUnfitMountPointIsRefusedByTheCommandItself) {
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), Path("nowhere")}), 1, "cannot mount"));
  fs::create_directories(Path("full/inside"));
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), Path("full")}), 1, "cannot mount"));
  WriteFile(Path("file"), "");
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), Path("file")}), 1, "cannot mount"));
  EXPECT_TRUE(IsRefused(Quoin({"mount", Path("no-store"), mount()}), 1, "cannot mount"));
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), store() + "/tmp"}), 2, "inside its own store"));
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), mount(), "--log", "/proc/log"}), 1, "log"));
  EXPECT_EQ(Status(), nlohmann::json::array());
  MountStore();
  EXPECT_TRUE(IsRefused(Quoin({"mount", store(), mount()}), 1, "cannot mount"));
  EXPECT_TRUE(IsMounted()) << "the first mount is not disturbed";
  UnmountStore();
}

TEST_F(MountVerbsTest, UnmountRefusesATreeInUseAndSaysByWhom) {
  MountStore();
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  {
    const Descriptor file = OpenInTree("vdis/web01");
    ASSERT_TRUE(file);
    const CommandResult refused = Quoin({"unmount", mount()});
    EXPECT_TRUE(IsRefused(refused, 1, "in use by pid " + std::to_string(getpid())));
    EXPECT_TRUE(IsMounted());
  }
  UnmountStore();
  EXPECT_TRUE(IsRefused(Quoin({"unmount", mount()}), 1, "no tree is mounted there"));
}

TEST_F(MountVerbsTest, UnmountFindsTheMountPointHoweverItIsSpelled) {
  MountStore();
  EXPECT_TRUE(IsDone(Quoin({"unmount", "mount/"}, Path("."))));
  MountStore();
  fs::create_symlink(mount(), Path("link"));
  EXPECT_TRUE(IsDone(Quoin({"unmount", Path("link")})));
}

TEST_F(MountVerbsTest, TheDaemonOfAnOpenVdiDoesTheWork) {
  MountStore();
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  Descriptor file = OpenInTree("vdis/web01");
  ASSERT_TRUE(file);
  ASSERT_EQ(pwrite(file.number(), "before", 6, 0), 6);
  ASSERT_TRUE(IsDone(OnStore({"snap", "create", "web01@monday"})));
  ASSERT_EQ(pwrite(file.number(), "after!", 6, 0), 6);
  EXPECT_EQ(ReadFile(mount() + "/snapshots/web01/monday").substr(0, 6), "before");
  const nlohmann::json info = JsonOf({"info", "web01"});
  EXPECT_EQ(info["open_for_writing"], 1);
  EXPECT_EQ(info["writer"]["pid"], Status()[0]["daemon_pid"]);
  EXPECT_EQ(JsonOf({"lock", "ls"})[0]["state"], "held");
  EXPECT_TRUE(IsRefused(OnStore({"rm", "web01", "--with-snapshots"}), 1, "cannot remove"));
  EXPECT_TRUE(IsRefused(OnStore({"rollback", "web01@monday"}), 1, "cannot"));
  EXPECT_TRUE(IsRefused(OnStore({"resize", "web01", "512K", "--shrink"}), 1, "cannot"));
  EXPECT_TRUE(IsRefused(OnStore({"lock", "break", "web01"}), 1, "cannot break"));
  ASSERT_TRUE(IsDone(OnStore({"resize", "web01", "2M"})));
  struct stat facts = {};
  ASSERT_EQ(fstat(file.number(), &facts), 0);
  EXPECT_EQ(facts.st_size, 2 << 20) << "an open file grows at once";
  file.Reset();
  UnmountStore();
}

TEST_F(MountVerbsTest, ChangesByACommandAreSeenInTheTreeAtOnce) {
  MountStore();
  EXPECT_FALSE(fs::exists(mount() + "/vdis/web01"));
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  EXPECT_TRUE(fs::exists(mount() + "/vdis/web01"));
  ASSERT_TRUE(IsDone(OnStore({"resize", "web01", "2M"})));
  EXPECT_EQ(fs::file_size(mount() + "/vdis/web01"), 2u << 20);
  ASSERT_TRUE(IsDone(OnStore({"mv", "web01", "web02"})));
  EXPECT_FALSE(fs::exists(mount() + "/vdis/web01"));
  ASSERT_TRUE(IsDone(OnStore({"rm", "web02"})));
  EXPECT_FALSE(fs::exists(mount() + "/vdis/web02"));
  UnmountStore();
}

TEST_F(MountVerbsTest, AVdiMayBePointedAtInATree) {
  MountStore();
  ASSERT_TRUE(IsDone(Quoin({"create", mount() + "/vdis/lab/web01", "1M"})));
  ASSERT_TRUE(IsDone(Quoin({"snap", "create", mount() + "/vdis/lab/web01@monday"})));
  EXPECT_EQ(Quoin({"ls"}, mount() + "/vdis").out, "lab/web01\n") << "from inside the tree";
  EXPECT_TRUE(IsDone(Quoin({"info", "vdis/lab/web01"}, mount())));
  EXPECT_TRUE(IsDone(Quoin({"info", "./web01"}, mount() + "/vdis/lab")));
  const CommandResult snapshot = Quoin({"info", mount() + "/snapshots/lab/web01/monday"});
  EXPECT_NE(snapshot.out.find("lab/web01@monday"), std::string::npos) << snapshot.err;
  ASSERT_TRUE(IsDone(Quoin({"clone", mount() + "/snapshots/lab/web01/monday", "copy"})));
  EXPECT_EQ(Quoin({"--store", mount(), "ls", "copy"}).out, "copy\n");
  EXPECT_TRUE(IsRefused(Quoin({"info", "/etc/passwd"}), 2, "no tree that is mounted"));
  EXPECT_TRUE(IsRefused(Quoin({"info", mount() + "/.quoin/version"}), 2, "neither"));
  ASSERT_TRUE(IsDone(Quoin({"init", Path("other")})));
  EXPECT_TRUE(IsRefused(Quoin({"--store", Path("other"), "info", mount() + "/vdis/lab/web01"}), 2,
                        "one store"));
  UnmountStore();
}

TEST_F(MountVerbsTest, OfTwoDaemonsTheOwnerDoesTheWork) {
  MountStore();
  const std::string second = Path("second");
  fs::create_directories(second);
  ASSERT_TRUE(IsDone(Quoin({"mount", store(), second})));
  ASSERT_EQ(Status().size(), 2u);
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  for (const std::string& tree : {mount(), second}) {
    const Descriptor file(open((tree + "/vdis/web01").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(file) << tree << ": " << strerror(errno);
    const std::string name = tree == mount() ? "web01@first" : "web01@second";
    EXPECT_TRUE(IsDone(OnStore({"snap", "create", name})));
    EXPECT_EQ(JsonOf({"info", "web01"})["open_for_writing"], 1) << tree;
  }
  EXPECT_TRUE(IsDone(Quoin({"unmount", second})));
  UnmountStore();
}

TEST_F(MountVerbsTest, AKilledDaemonIsNoticedAndItsMountCanBeTakenAway) {
  MountStore();
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  const pid_t daemon = Status()[0]["daemon_pid"];
  Descriptor file = OpenInTree("vdis/web01");
  ASSERT_TRUE(file);
  ASSERT_EQ(pwrite(file.number(), "flushed", 7, 0), 7);
  ASSERT_EQ(fsync(file.number()), 0);
  ASSERT_EQ(kill(daemon, SIGKILL), 0);
  for (int i = 0; i < 200 && IsRunning(daemon); ++i) usleep(10'000);
  file.Reset();
  const nlohmann::json dead = Status();
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(dead[0]["state"], "dead");
  EXPECT_EQ(dead[0]["mountpoint"], mount());
  EXPECT_TRUE(fs::is_empty(run_dir())) << "its record is cleared away";
  const nlohmann::json report = JsonOf({"check"});
  EXPECT_EQ(report["damaged"], false) << report.dump(2);
  EXPECT_EQ(report["findings"].dump().find("\"warning\""), std::string::npos) << report.dump(2);
  EXPECT_EQ(OnStore({"ls"}).out, "web01\n") << "the command does the work itself";
  EXPECT_TRUE(IsDone(Quoin({"unmount", mount()})));
  EXPECT_EQ(Status(), nlohmann::json::array());
  MountStore();
  EXPECT_EQ(ReadFile(mount() + "/vdis/web01").substr(0, 7), "flushed");
  UnmountStore();
  EXPECT_EQ(JsonOf({"check"})["findings"].size(), 0u);
}

TEST_F(MountVerbsTest, WithoutAKeeperThereIsNoReload) {
  ASSERT_TRUE(IsDone(Quoin({"mount", store(), mount()})));
  EXPECT_TRUE(Status()[0]["keeper_pid"].is_null());
  EXPECT_NE(Quoin({"status"}).out.find("no keeper"), std::string::npos);
  EXPECT_TRUE(IsRefused(Quoin({"reload", mount()}), 1, "it has no keeper"));
  UnmountStore();
  EXPECT_TRUE(IsRefused(Quoin({"reload", mount()}), 1, "no tree is mounted there"));
}

TEST_F(MountVerbsTest, CheckFindsNoDamageBesideOwnersAtWork) {
  MountStore();
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "64M"})));
  Descriptor file = OpenInTree("vdis/web01");
  ASSERT_TRUE(file);
  std::atomic<bool> over{false};
  std::atomic<int> rounds{0};
  std::thread owner([&] {
    const std::string bytes(1 << 16, 'w');
    for (int i = 0; !over; ++i) {
      EXPECT_EQ(pwrite(file.number(), bytes.data(), bytes.size(), (i % 500) * 4096),
                static_cast<ssize_t>(bytes.size()));
      const std::string name = "web01@" + std::to_string(i);
      EXPECT_TRUE(IsDone(OnStore({"snap", "create", name})));
      EXPECT_TRUE(IsDone(OnStore({"clone", name, "clone" + std::to_string(i)})));
      EXPECT_TRUE(IsDone(OnStore({"rm", "clone" + std::to_string(i)})));
      if (i % 2 == 0) {
        EXPECT_TRUE(IsDone(OnStore({"snap", "rm", name})));
      }
      rounds = i + 1;
    }
  });
  for (int i = 0; i < 20 || (rounds < 10 && i < 500); ++i) {
    const nlohmann::json report = JsonOf({"check"});
    EXPECT_EQ(report["damaged"], false) << report.dump(2);
  }
  over = true;
  owner.join();
  EXPECT_GE(rounds, 10);
  file.Reset();
  UnmountStore();
  EXPECT_EQ(JsonOf({"check"})["findings"].size(), 0u);
}

TEST_F(MountVerbsTest, InTheForegroundASignalEndsItCleanly) {
  const pid_t child = fork();
  if (child == 0) {
    const int nothing = open("/dev/null", O_RDWR);
    for (const int standard : {0, 1, 2}) dup2(nothing, standard);
    execl(QUOIN_BINARY, "quoin", "mount", "-f", store().c_str(), mount().c_str(), nullptr);
    _exit(127);
  }
  for (int i = 0; i < 400 && Status().empty(); ++i) usleep(50'000);
  ASSERT_EQ(Status().size(), 1u);
  EXPECT_EQ(Status()[0]["daemon_pid"], child);
  EXPECT_TRUE(Status()[0]["log"].is_null());
  kill(child, SIGTERM);
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0) << state;
  EXPECT_EQ(Status(), nlohmann::json::array());
}

TEST_F(MountVerbsTest, TheLogIsWrittenWhereItIsAskedFor) {
  ASSERT_TRUE(IsDone(Quoin({"mount", store(), mount(), "--log", Path("daemon.log")})));
  EXPECT_EQ(Status()[0]["log"], Path("daemon.log"));
  UnmountStore();
  EXPECT_NE(ReadFile(Path("daemon.log")).find("mounted " + store()), std::string::npos);
  MountStore();
  const std::string log = Status()[0]["log"];
  EXPECT_EQ(log.substr(0, Path("log").size()), Path("log"));
  UnmountStore();
  EXPECT_NE(ReadFile(log).find("ended"), std::string::npos);
}

TEST_F(MountVerbsTest, OddAndLongPathsWork) {
  const std::string odd = Path("a mount \\ with\todd letters");
  fs::create_directories(odd);
  const std::string long_run_dir = Path(std::string(120, 'r'));  // more than a socket's address
  setenv("QUOIN_RUN_DIR", long_run_dir.c_str(), 1);
  ASSERT_TRUE(IsDone(Quoin({"mount", store(), odd, "--threads", "2"})));
  ASSERT_EQ(Status().size(), 1u);
  EXPECT_EQ(Status()[0]["mountpoint"], odd);
  EXPECT_EQ(Status()[0]["state"], "mounted");
  EXPECT_TRUE(IsDone(Quoin({"create", odd + "/vdis/web01", "1M"})));
  EXPECT_TRUE(IsDone(Quoin({"unmount", odd})));
  EXPECT_EQ(Status(), nlohmann::json::array());
}

TEST_F(MountVerbsTest, OnlyItsUserMayAskADaemon) {
  MountStore();
  const std::vector<MountRecord> records = ReadMountRecords(run_dir());
  ASSERT_EQ(records.size(), 1u);
  struct stat facts = {};
  ASSERT_EQ(stat(SocketPath(run_dir(), records[0].session).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  UnmountStore();
}

TEST_F(MountVerbsTest, RubbishOnTheSocketDoesNotDisturbTheDaemon) {
  MountStore();
  const std::vector<MountRecord> records = ReadMountRecords(run_dir());
  ASSERT_EQ(records.size(), 1u);
  const std::string path = SocketPath(run_dir(), records[0].session);
  std::vector<Descriptor> silent;
  for (const std::string& line :
       {std::string("rubbish"), std::string("[]"), std::string("{}"),
        std::string(R"({"protocol":1,"verb":7})"), std::string(R"({"protocol":99,"verb":"ls"})"),
        std::string(R"({"protocol":1,"verb":"format"})"), std::string(5 << 20, 'x')}) {
    Result<Descriptor> socket = ConnectTo(path);
    ASSERT_TRUE(socket);
    (void)SendLine(socket->number(), line, std::chrono::seconds(5));
    const Result<std::string> answer =
        ReceiveLine(socket->number(), 1 << 20, std::chrono::seconds(5));
    if (line.size() < 1000) {
      ASSERT_TRUE(answer) << line;
      EXPECT_NE(answer->find("\"error\""), std::string::npos) << *answer;
    }
    silent.push_back(std::move(*ConnectTo(path)));  // asks nothing
  }
  EXPECT_EQ(Status()[0]["state"], "mounted");
  UnmountStore();
}

TEST_F(MountVerbsTest, StaleAndDamagedRecordsAreNotTrusted) {
  MountRecord record;
  record.session = std::string(32, 'a');
  record.store = store();
  record.store_id = nlohmann::json::parse(ReadFile(store() + "/quoin.store"))["id"];
  record.mount_point = mount();
  record.daemon_pid = getpid();  // alive, but no daemon
  ASSERT_TRUE(WriteMountRecord(run_dir(), record));
  WriteFile(run_dir() + "/" + std::string(32, 'b') + ".json", "{\"store\": 7}");
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  EXPECT_EQ(Status(), nlohmann::json::array());
  EXPECT_FALSE(fs::exists(RecordPath(run_dir(), record.session)));
}

}  // namespace
}  // namespace quoin

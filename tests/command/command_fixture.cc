#include "tests/command/command_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/filesystem.hpp>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "blockstore/base/posix_file_system.h"
#include "snapshots/vdi.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tools/keeper_record.h"
#include "tools/mount_record.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Execute(const std::vector<std::string>& words, const std::string& folder, int out,
                          int err) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (folder.empty() || chdir(folder.c_str()) == 0) execvp(arguments[0], arguments.data());
  _exit(127);
}

// Reads both pipes until both are closed; false at the deadline.
bool ReadAll(std::array<int, 2> pipes, std::array<std::string*, 2> texts,
             Clock::time_point deadline) {
  std::array<bool, 2> open{true, true};
  while (open[0] || open[1]) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    std::array<pollfd, 2> watched;
    for (size_t i = 0; i < 2; ++i) watched[i] = {open[i] ? pipes[i] : -1, POLLIN, 0};
    poll(watched.data(), watched.size(), static_cast<int>(left));
    for (size_t i = 0; i < 2; ++i) {
      if (watched[i].revents == 0) continue;
      std::array<char, 65536> buffer;
      const ssize_t count = read(pipes[i], buffer.data(), buffer.size());
      if (count > 0) texts[i]->append(buffer.data(), static_cast<size_t>(count));
      if (count <= 0) open[i] = false;
    }
  }
  return true;
}

}  // namespace

CommandResult RunCommand(const std::vector<std::string>& words, const std::string& folder,
                         std::chrono::seconds limit) {
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (pipe2(out.data(), O_CLOEXEC) != 0 || pipe2(err.data(), O_CLOEXEC) != 0) std::abort();
  const pid_t child = fork();
  if (child == 0) Execute(words, folder, out[1], err[1]);
  close(out[1]);
  close(err[1]);
  CommandResult result;
  const bool in_time = ReadAll({out[0], err[0]}, {&result.out, &result.err}, Clock::now() + limit);
  if (!in_time) {
    result.err += "\n(killed by the test: it took too long)";
    kill(child, SIGKILL);
  }
  close(out[0]);
  close(err[0]);
  int state = 0;
  waitpid(child, &state, 0);
  result.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  return result;
}

CommandTest::CommandTest() {
  setenv("QUOIN_RUN_DIR", run_dir().c_str(), 1);
  setenv("QUOIN_STATE_DIR", Path("state").c_str(), 1);
  setenv("QUOIN_LOG_DIR", Path("log").c_str(), 1);
  unsetenv("QUOIN_STORE");
  boost::filesystem::create_directories(run_dir());
  boost::filesystem::create_directories(mount());
}

CommandTest::~CommandTest() {
  // What a failed test left: keepers, mounts below the folder, and their daemons.
  for (const KeeperRecord& keeper : ReadKeeperRecords(run_dir())) {
    const auto pid = static_cast<pid_t>(keeper.keeper_pid);
    if (ReadFile("/proc/" + std::to_string(pid) + "/comm") != "quoin-keeper\n") continue;
    kill(pid, SIGTERM);  // it takes its daemon along
    for (int i = 0; i < 100 && kill(pid, 0) == 0; ++i) usleep(50'000);
    kill(pid, SIGKILL);
  }
  const std::vector<MountRecord> records = ReadMountRecords(run_dir());
  for (const std::string& tree : MountedTrees()) {
    if (IsWithin(tree, folder_.path())) umount2(tree.c_str(), MNT_DETACH);
  }
  for (const MountRecord& record : records) {
    const pid_t daemon = static_cast<pid_t>(record.daemon_pid);
    // A record may lie; only a daemon of the command under test is ended.
    if (ReadFile("/proc/" + std::to_string(daemon) + "/comm") != "quoin\n") continue;
    for (int i = 0; i < 100 && kill(daemon, 0) == 0; ++i) usleep(50'000);
    kill(daemon, SIGKILL);
  }
}

CommandResult CommandTest::Quoin(const std::vector<std::string>& words,
                                 const std::string& folder) const {
  const char* other = std::getenv("QUOIN_BINARY");
  std::vector<std::string> all{other != nullptr ? other : QUOIN_BINARY};
  all.insert(all.end(), words.begin(), words.end());
  return RunCommand(all, folder);
}

CommandResult CommandTest::OnStore(std::vector<std::string> words) const {
  words.insert(words.begin(), {"--store", store()});
  return Quoin(words);
}

nlohmann::json CommandTest::JsonOf(std::vector<std::string> words) const {
  words.push_back("--json");
  const CommandResult result = OnStore(words);
  EXPECT_EQ(result.status, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << result.out;
  return json.is_discarded() ? nlohmann::json() : json;
}

void CommandTest::MakeStore() { ASSERT_TRUE(IsDone(Quoin({"init", store()}))); }

void CommandTest::MountStore() { ASSERT_TRUE(IsDone(Quoin({"mount", store(), mount()}))); }

void CommandTest::UnmountStore() { ASSERT_TRUE(IsDone(Quoin({"unmount", mount()}))); }

void CommandTest::WithStore(const std::function<void(Store&)>& work) {
  PosixFileSystem file_system;
  ASSERT_OK_AND_ASSIGN(HostIdentity self, LoadHostIdentity(Path("state")));
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Store> opened,
                       Store::Open(file_system, store(), self, StoreOptions{}));
  work(*opened);
}

void CommandTest::Fill(const std::string& vdi, uint64_t offset, uint64_t bytes) {
  WithStore([&](Store& opened) {
    ASSERT_OK_AND_ASSIGN(const NameFacts facts, opened.Lookup(vdi));
    ASSERT_OK_AND_ASSIGN(VdiHandle handle, opened.OpenVdi(facts.vdi, Access::kReadWrite));
    ASSERT_OK(handle->Write(offset, AsBytes(PatternOf(offset, bytes))));
    ASSERT_OK(handle.Close());
  });
}

std::string CommandTest::FolderOf(const std::string& vdi) {
  std::string folder;
  WithStore([&](Store& opened) {
    ASSERT_OK_AND_ASSIGN(const NameFacts facts, opened.Lookup(vdi));
    folder = store() + "/vdis/" + facts.vdi.ToString();
  });
  return folder;
}

::testing::AssertionResult IsRefused(const CommandResult& result, int status,
                                     const std::string& words) {
  const auto failure = [&](const char* why) {
    return ::testing::AssertionFailure()
           << why << "; status " << result.status << ", expected " << status
           << "\nerrors: " << result.err << "\noutput: " << result.out;
  };
  if (result.status != status) return failure("another exit status");
  if (!result.err.starts_with("quoin: cannot ")) return failure("errors of another form");
  if (result.err.find(words) == std::string::npos) {
    return failure("no word of what was expected") << "\nexpected: " << words;
  }
  // What next, if anything, is on indented lines of its own.
  std::istringstream lines(result.err);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    if (!line.starts_with("  ") && !line.starts_with("quoin: cannot ")) {
      return failure("a second line that is not indented");
    }
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult IsDone(const CommandResult& result) {
  if (result.status == 0 && result.err.empty()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "status " << result.status << "\nerrors: " << result.err << "\noutput: " << result.out;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void Scribble(const std::string& path, uint64_t offset, const std::string& bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(file, 0) << path;
  ASSERT_EQ(pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
  close(file);
}

}  // namespace quoin

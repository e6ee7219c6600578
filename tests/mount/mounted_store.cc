#include "tests/mount/mounted_store.h"

#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

namespace quoin {
namespace {

constexpr int kMaxForcedUnmounts = 8;  // a mount on top of a mount is possible, endless ones are not
constexpr std::chrono::seconds kDaemonLimit{10};

::testing::AssertionResult Succeeded(const Outcome& outcome, const std::string& what) {
  if (outcome.exit_status == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << what << " ended with status " << outcome.exit_status << ": " << outcome.output;
}

// A daemon is nobody's child here, so it is looked for rather than waited for. Where nobody at all
// waits for it, its state is Z for ever.
bool IsAlive(pid_t process) {
  const std::string facts = ReadWhole("/proc/" + std::to_string(process) + "/stat");
  const size_t state = facts.rfind(") ");
  return state != std::string::npos && facts[state + 2] != 'Z';
}

bool HasGone(pid_t process) {
  const auto deadline = std::chrono::steady_clock::now() + kDaemonLimit;
  while (IsAlive(process)) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace

std::string QuoinBinary() {
  const char* const other = std::getenv("QUOIN_BINARY");
  return other != nullptr ? other : QUOIN_BINARY;
}

MountedStore::~MountedStore() {
  if (::testing::Test::HasFailure()) TellOfDaemon();
  if (daemon_ != 0 && !Unmount()) UnmountByForce();
}

::testing::AssertionResult MountedStore::Start(const std::string& store) {
  const Outcome made = RunProgram(
      {QuoinBinary(), "init", store.empty() ? folder_ / "store" : store});
  if (made.exit_status != 0) return Succeeded(made, "quoin init");
  return Join(store.empty() ? folder_ / "store" : store);
}

::testing::AssertionResult MountedStore::Join(const std::string& store) {
  store_ = store;
  std::filesystem::create_directory(mount());
  return Mount();
}

// No trace outside of the test's own folder, and no meeting with other mounts of this host.
void MountedStore::BecomeItsHost() const {
  setenv("QUOIN_RUN_DIR", (folder_ / "run").c_str(), 1);
  setenv("QUOIN_STATE_DIR", (folder_ / "state").c_str(), 1);
}

::testing::AssertionResult MountedStore::Mount(const std::vector<std::string>& options) {
  BecomeItsHost();
  std::vector<std::string> words = {QuoinBinary(), "mount", store_, mount(), "--log",
                                    folder_ / "daemon.log"};
  if (uses_keeper_) words.push_back("--keeper");
  words.insert(words.end(), options.begin(), options.end());
  const Outcome mounted = RunProgram(words);
  if (mounted.exit_status != 0) return Succeeded(mounted, "quoin mount");
  const auto status = nlohmann::json::parse(ReadWhole(control("status.json")), nullptr, false);
  if (!status.is_object() || !status.contains("daemon_pid")) {
    return ::testing::AssertionFailure() << "status.json does not name the daemon";
  }
  daemon_ = status["daemon_pid"].get<pid_t>();
  keeper_ = status["keeper_pid"].is_number() ? status["keeper_pid"].get<pid_t>() : 0;
  return ::testing::AssertionSuccess();
}

pid_t MountedStore::present_daemon() const {
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "run")) {
    if (entry.path().extension() != ".json") continue;
    const auto record = nlohmann::json::parse(ReadWhole(entry.path().string()), nullptr, false);
    if (!record.is_object() || !record.contains("daemon_pid")) continue;
    const auto pid = record["daemon_pid"].get<pid_t>();
    if (IsAlive(pid)) return pid;
  }
  return 0;
}

::testing::AssertionResult MountedStore::Unmount() {
  BecomeItsHost();
  const Outcome unmounted = RunProgram({QuoinBinary(), "unmount", mount()});
  if (unmounted.exit_status != 0) return Succeeded(unmounted, "quoin unmount");
  if (!HasGone(daemon_)) {
    return ::testing::AssertionFailure() << "the daemon is still there after quoin unmount";
  }
  if (keeper_ != 0 && !HasGone(keeper_)) {
    return ::testing::AssertionFailure() << "the keeper is still there after quoin unmount";
  }
  daemon_ = keeper_ = 0;
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult MountedStore::Remount() {
  const ::testing::AssertionResult unmounted = Unmount();
  return unmounted ? Mount() : unmounted;
}

::testing::AssertionResult MountedStore::Crash() {
  // The keeper first, which would start another one.
  if (keeper_ != 0) kill(keeper_, SIGKILL);
  if (keeper_ != 0 && !HasGone(keeper_)) {
    return ::testing::AssertionFailure() << "the keeper survived SIGKILL";
  }
  kill(daemon_, SIGKILL);
  if (!HasGone(daemon_)) return ::testing::AssertionFailure() << "the daemon survived SIGKILL";
  daemon_ = keeper_ = 0;
  if (umount2(mount().c_str(), MNT_DETACH) != 0) {
    return ::testing::AssertionFailure() << "cannot take the dead mount away: errno " << errno;
  }
  return ::testing::AssertionSuccess();
}

void MountedStore::TellOfDaemon() const {
  constexpr size_t kMaxShownBytes = 16 << 10;
  const std::string log = ReadWhole(folder_ / "daemon.log");
  std::cerr << "the daemon is " << (daemon_ != 0 && IsAlive(daemon_) ? "there" : "not there")
            << "; its log ends:\n"
            << log.substr(log.size() - std::min(log.size(), kMaxShownBytes)) << '\n';
}

void MountedStore::UnmountByForce() {
  for (int i = 0; i < kMaxForcedUnmounts; ++i) {
    if (umount2(mount().c_str(), MNT_DETACH) != 0) break;
  }
  if (keeper_ != 0 && !HasGone(keeper_)) kill(keeper_, SIGKILL);
  if (daemon_ != 0 && !HasGone(daemon_)) kill(daemon_, SIGKILL);
  if (const pid_t last = present_daemon()) kill(last, SIGKILL);
}

Outcome MountedStore::Quoin(std::vector<std::string> words) const {
  BecomeItsHost();
  words.insert(words.begin(), {QuoinBinary(), "--store", store_});
  return RunProgram(words);
}

uint64_t MountedStore::StoreBytes() const {
  uint64_t blocks = 0;
  std::set<ino_t> counted;  // clones share files by hard links
  for (const auto& entry : std::filesystem::recursive_directory_iterator(store_)) {
    const struct stat facts = StatOf(entry.path().string());
    if (counted.insert(facts.st_ino).second) blocks += static_cast<uint64_t>(facts.st_blocks);
  }
  return blocks * 512;
}

}  // namespace quoin

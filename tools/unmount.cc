#include "tools/unmount.h"

#include <dirent.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <thread>

#include "blockstore/base/atomic_file.h"
#include "metadata/host.h"
#include "tools/keeper_record.h"
#include "tools/local_socket.h"
#include "tools/mount_record.h"
#include "tools/target.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLetGoPatience{600};
constexpr std::chrono::milliseconds kLookEvery{20};
constexpr size_t kMaxUsersNamed = 5;

// --- who uses it ---------------------------------------------------------------------------------

// True if the process works in the tree or has a file of it open, as far as we may see.
bool UsesTree(const fs::path& process, const std::string& mount_point) {
  boost::system::error_code error;
  const auto leads_into_tree = [&](const fs::path& link) {
    boost::system::error_code unreadable;
    const fs::path target = fs::read_symlink(link, unreadable);
    return !unreadable && IsWithin(target.string(), mount_point);
  };
  if (leads_into_tree(process / "cwd") || leads_into_tree(process / "root")) return true;
  for (const char* folder : {"fd", "map_files"}) {
    for (fs::directory_iterator link(process / folder, error), end; !error && link != end;
         link.increment(error)) {
      if (leads_into_tree(link->path())) return true;
    }
    error.clear();
  }
  return false;
}

// "pid 4711 (qemu-system-x86), pid 4712 (bash)"; "" if nobody can be seen.
std::string UsersOf(const std::string& mount_point) {
  std::string users;
  size_t named = 0;
  boost::system::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    const std::string pid = process->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (!UsesTree(process->path(), mount_point)) continue;
    if (named == kMaxUsersNamed) return users + " and others";
    std::string name;
    std::getline(std::ifstream(process->path().string() + "/comm"), name);
    users += fmt::format("{}pid {} ({})", named == 0 ? "" : ", ", pid, name);
    ++named;
  }
  return users;
}

// --- taking it down ------------------------------------------------------------------------------

Status DetachAsUser(const std::string& mount_point) {
  const pid_t child = fork();
  if (child < 0) return FailSystem(errno, "cannot start fusermount3");
  if (child == 0) {
    execlp("fusermount3", "fusermount3", "-u", "--", mount_point.c_str(), nullptr);
    _exit(127);
  }
  int state = 0;
  waitpid(child, &state, 0);
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return {};
  return Fail(ErrorCode::kAccessDenied, "fusermount3 refused, for the reason above");
}

Status Detach(const std::string& mount_point) {
  if (umount2(mount_point.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  const int error_number = errno;
  if (error_number == EPERM) return DetachAsUser(mount_point);
  if (error_number == EBUSY) {
    const std::string users = UsersOf(mount_point);
    return Fail(ErrorCode::kBusy,
                users.empty() ? std::string("it is in use") : "it is in use by " + users,
                "it can be unmounted when they have closed its files and left its folders");
  }
  return FailSystem(error_number, fmt::format("cannot unmount {}", mount_point));
}

// --- waiting for its daemon ----------------------------------------------------------------------

// A process that is waited for though it is no child of ours.
class WatchedProcess {
 public:
  explicit WatchedProcess(pid_t pid)
      : pid_(pid), descriptor_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}

  bool WaitForEnd(std::chrono::milliseconds patience) const {
    if (descriptor_) {
      pollfd watched{descriptor_.number(), POLLIN, 0};
      return poll(&watched, 1, static_cast<int>(patience.count())) > 0;
    }
    // Gone already, or a kernel before 5.3.
    const Clock::time_point deadline = Clock::now() + patience;
    while (kill(pid_, 0) == 0) {
      if (Clock::now() > deadline) return false;
      std::this_thread::sleep_for(kLookEvery);
    }
    return true;
  }

 private:
  const pid_t pid_;
  const Descriptor descriptor_;
};

std::optional<MountRecord> RecordOf(const std::string& mount_point) {
  for (MountRecord& record : ReadMountRecords(DefaultRunDir())) {
    if (record.mount_point == mount_point) return std::move(record);
  }
  return std::nullopt;
}

}  // namespace

std::string MountPointPath(const std::string& mount) {
  const std::string normal = NormalPath(mount);
  const std::vector<std::string> trees = MountedTrees();
  if (std::find(trees.begin(), trees.end(), normal) != trees.end()) return normal;
  // Symbolic links on the way are followed without a look at the mount point itself.
  const std::string parent = RealPath(ParentPath(normal));
  const std::string name = normal.substr(normal.rfind('/') + 1);
  const std::string through_links = NormalPath(parent + "/" + name);
  if (std::find(trees.begin(), trees.end(), through_links) != trees.end()) return through_links;
  return RealPath(mount);
}

Status UnmountTree(const std::string& mount) {
  const std::string mount_point = MountPointPath(mount);
  const std::vector<std::string> trees = MountedTrees();
  if (std::find(trees.begin(), trees.end(), mount_point) == trees.end()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("cannot unmount {}: no tree is mounted there", mount_point),
                "quoin status lists the mounted trees");
  }
  const std::optional<MountRecord> record = RecordOf(mount_point);
  const std::optional<KeeperRecord> kept = KeeperOfMount(DefaultRunDir(), mount_point);
  std::optional<WatchedProcess> daemon, keeper;
  if (record) daemon.emplace(static_cast<pid_t>(record->daemon_pid));
  if (kept) keeper.emplace(static_cast<pid_t>(kept->keeper_pid));
  const Status detached = Detach(mount_point);
  if (!detached) {
    Error error = detached.error();
    if (!error.what.starts_with("cannot ")) {
      error.what = fmt::format("cannot unmount {}: {}", mount_point, error.what);
    }
    return Failure(std::move(error));
  }
  const bool has_let_go = (!daemon || daemon->WaitForEnd(kLetGoPatience)) &&
                          (!keeper || keeper->WaitForEnd(kLetGoPatience));
  if (has_let_go) return {};
  if (!record) {
    return Fail(ErrorCode::kBusy,
                fmt::format("cannot see the end of the keeper (pid {}): {} is unmounted, but it has not "
                            "ended for {} seconds",
                            kept->keeper_pid, mount_point, kLetGoPatience.count()));
  }
  return Fail(ErrorCode::kBusy,
              fmt::format("cannot see the end of the daemon (pid {}): {} is unmounted, but it has "
                          "not let go of its VDIs for {} seconds",
                          record->daemon_pid, mount_point, kLetGoPatience.count()),
              record->log.empty() ? "" : "its log is " + record->log);
}

}  // namespace quoin

#include "fuse/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace quoin {
namespace {

constexpr int kReadaheadKibibytes = 1024;

Failure Unfit(ErrorCode code, const std::string& path, const std::string& why,
              const std::string& next) {
  return Fail(code, fmt::format("cannot mount on {}: {}", path, why), next);
}

bool IsEmptyFolder(const std::string& path) {
  DIR* const folder = opendir(path.c_str());
  if (folder == nullptr) return true;  // mount(2) will say more
  bool is_empty = true;
  while (const dirent* const entry = readdir(folder)) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    is_empty = false;
    break;
  }
  closedir(folder);
  return is_empty;
}

// In /proc/self/mountinfo a space, tab, newline and backslash of a path are octal escapes.
std::string EscapeForMountinfo(const std::string& path) {
  std::string escaped;
  for (const char c : path) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\') {
      escaped += fmt::format("\\{:03o}", static_cast<unsigned>(c));
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace

Status CheckMountPoint(const std::string& path) {
  struct statx facts {};
  // Forced: the kernel still remembers the attributes of a tree whose daemon has died.
  if (statx(AT_FDCWD, path.c_str(), AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &facts) != 0) {
    if (errno == ENOENT) {
      return Unfit(ErrorCode::kNotFound, path, "there is no such folder",
                   fmt::format("mkdir {}", path));
    }
    if (errno == ENOTCONN || errno == ECONNABORTED) {
      return Unfit(ErrorCode::kBusy, path, "the daemon of the tree that is mounted there has died",
                   fmt::format("umount -l {}", path));
    }
    return FailSystem(errno, fmt::format("cannot mount on {}", path));
  }
  if (!S_ISDIR(facts.stx_mode)) {
    return Unfit(ErrorCode::kNotDirectory, path, "it is not a folder", "");
  }
  if (access((path + "/.quoin/version").c_str(), F_OK) == 0) {
    return Unfit(ErrorCode::kBusy, path, "a store is mounted there already",
                 fmt::format("quoin unmount {}", path));
  }
  if (!IsEmptyFolder(path)) {
    return Unfit(ErrorCode::kNotEmpty, path, "the folder is not empty", "use an empty folder");
  }
  return {};
}

Result<int> OpenFuse(const std::string& path) {
  const int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device >= 0) return device;
  return Unfit(ErrorCode::kUnsupported, path,
               fmt::format("cannot open /dev/fuse: {}", std::strerror(errno)), "modprobe fuse");
}

// By mount(2), not by libfuse: whoever takes over the descriptor from a daemon has only that, and
// libfuse unmounts by path, which by then may show another mount.
Status MountFuse(const std::string& path, const std::string& source, int device) {
  const std::string options = fmt::format(
      "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other", device,
      geteuid(), getegid());
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOATIME;
  if (mount(source.c_str(), path.c_str(), "fuse.quoin", kFlags, options.c_str()) == 0) return {};
  const int error_number = errno;
  close(device);
  if (error_number == EPERM) {
    return Unfit(ErrorCode::kAccessDenied, path, "only root can mount", "run it as root");
  }
  return FailSystem(error_number, fmt::format("cannot mount on {}", path));
}

Result<dev_t> DeviceOf(const std::string& path) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) {
    return FailSystem(errno, fmt::format("cannot look at the mounted tree {}", path));
  }
  return facts.st_dev;
}

bool IsMounted(const std::string& path, dev_t device) {
  const std::string wanted_device = fmt::format("{}:{}", major(device), minor(device));
  const std::string wanted_path = EscapeForMountinfo(path);
  std::ifstream table("/proc/self/mountinfo");
  bool is_ours = false;
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string id, parent, its_device, root, its_path;
    words >> id >> parent >> its_device >> root >> its_path;
    if (its_path == wanted_path) is_ours = its_device == wanted_device;  // the last one is on top
  }
  return is_ours;
}

bool Detach(const std::string& path) {
  return umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0;
}

void RaiseReadahead(dev_t device) {
  const std::string path =
      fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", major(device), minor(device));
  std::ofstream setting(path);
  setting << kReadaheadKibibytes << std::endl;
  if (!setting) spdlog::debug("cannot set {}: the system's default readahead stays", path);
}

}  // namespace quoin

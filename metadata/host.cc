#include "metadata/host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/posix_file_system.h"

namespace quoin {
namespace {

constexpr const char* kBootIdPath = "/proc/sys/kernel/random/boot_id";
constexpr uint64_t kMaxHostIdBytes = 64;
constexpr size_t kMaxHostNameBytes = 256;

Status MakeFolders(FileSystem& file_system, const std::string& path) {
  QUOIN_ASSIGN(const bool exists, PathExists(file_system, path));
  if (exists) return {};
  const std::string parent = ParentPath(path);
  if (parent != path) QUOIN_TRY(MakeFolders(file_system, parent));
  const Status made = file_system.MakeDirectory(path);
  if (!made && made.error().code == ErrorCode::kExists) return {};  // another process was faster
  return made;
}

Result<Id> ReadHostId(FileSystem& file_system, const std::string& path) {
  QUOIN_ASSIGN(const std::string text, ReadWholeFile(file_system, path, kMaxHostIdBytes));
  const std::optional<Id> id = text.ends_with('\n')
                                   ? Id::Parse(std::string_view(text).substr(0, text.size() - 1))
                                   : std::nullopt;
  if (!id || id->IsNull()) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} does not hold this host's id", path),
                fmt::format("if no store is mounted on this host: rm {}", path));
  }
  return *id;
}

Result<Id> LoadOrMakeHostId(FileSystem& file_system, const std::string& state_dir) {
  const std::string path = state_dir + "/host.id";
  Result<Id> id = ReadHostId(file_system, path);
  if (id || id.error().code != ErrorCode::kNotFound) return id;
  const std::string temporary = fmt::format("{}.{}", path, Id::Random().ToString());
  const Status made = PublishNewFile(file_system, path, temporary, Id::Random().ToString() + "\n");
  if (!made && made.error().code != ErrorCode::kExists) return Failure(made.error());
  return ReadHostId(file_system, path);
}

// Files of /proc have no size, so not ReadWholeFile.
Result<std::string> ReadBootId() {
  std::ifstream file(kBootIdPath);
  std::string boot;
  if (!std::getline(file, boot) || boot.empty()) {
    return Fail(ErrorCode::kIo, fmt::format("cannot read {}", kBootIdPath));
  }
  return boot;
}

Result<std::string> ReadHostName() {
  std::array<char, kMaxHostNameBytes> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) {
    return FailSystem(errno, "cannot read the host's name");
  }
  return std::string(name.data());
}

std::string FromEnvironment(const char* variable, const char* otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

}  // namespace

Result<HostIdentity> LoadHostIdentity(const std::string& state_dir, const std::string& version) {
  PosixFileSystem file_system;
  QUOIN_TRY(MakeFolders(file_system, state_dir));
  HostIdentity self;
  QUOIN_ASSIGN(self.host, LoadOrMakeHostId(file_system, state_dir));
  QUOIN_ASSIGN(self.host_name, ReadHostName());
  QUOIN_ASSIGN(self.boot, ReadBootId());
  self.session = Id::Random();
  self.pid = ::getpid();
  self.version = version;
  return self;
}

std::string DescribeProcess(int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string facts;
  std::getline(file, facts);
  // The program's name, in parentheses, may hold anything; the state is the first word after it and the
  // time of the start the twentieth. One that is dead and that nobody has asked about yet has ended.
  const size_t name_end = facts.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream words(facts.substr(name_end + 1));
  constexpr int kStartTime = 20;
  std::string word;
  for (int i = 1; i <= kStartTime && words >> word; ++i) {
    if (i == 1 && (word == "Z" || word == "X")) return {};
  }
  return words ? fmt::format("{}-{}", pid, word) : std::string();
}

bool IsThere(const std::string& described) {
  char* end = nullptr;
  const long pid = std::strtol(described.c_str(), &end, 10);
  return pid > 0 && *end == '-' && DescribeProcess(pid) == described;
}

Status MakeLocalFolders(const std::string& path) {
  PosixFileSystem file_system;
  return MakeFolders(file_system, path);
}

std::string StoreStateDir(const std::string& state_dir, const Id& store) {
  return state_dir + "/" + store.ToString();
}

std::string DefaultStateDir() { return FromEnvironment("QUOIN_STATE_DIR", "/var/lib/quoin"); }
std::string DefaultRunDir() { return FromEnvironment("QUOIN_RUN_DIR", "/run/quoin"); }

}  // namespace quoin

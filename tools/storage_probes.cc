#include "tools/storage_probes.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "blockstore/base/id.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

constexpr std::array kProbes = {
    Probe{"locks", ProbeLocks},
    Probe{"exclusive-creation", ProbeExclusiveCreation},
    Probe{"links", ProbeLinks},
    Probe{"rename", ProbeRename},
    Probe{"visibility", ProbeVisibility},
    Probe{"names", ProbeNames},
    Probe{"fsync", ProbeSync},
    Probe{"fdatasync", ProbeDataSync},
    Probe{"sparse-files", ProbeSparseFiles},
    Probe{"hole-queries", ProbeHoleQueries},
    Probe{"punch-hole", ProbePunchHole},
    Probe{"large-files", ProbeLargeFiles},
    Probe{"database", ProbeDatabase},
    Probe{"space", ProbeSpace},
};

// How long the second mount may take to show a folder that was made through the first.
constexpr std::chrono::milliseconds kFolderPatience{10'000};

// Holds back the signals that would end the process before its traces are removed.
class SignalsHeldBack {
 public:
  SignalsHeldBack() {
    sigemptyset(&set_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, number);
    sigprocmask(SIG_BLOCK, &set_, &before_);
  }
  ~SignalsHeldBack() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeldBack(const SignalsHeldBack&) = delete;
  SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;

  bool OneCame() const {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
           sigismember(&pending, SIGHUP) == 1;
  }

 private:
  sigset_t set_;
  sigset_t before_;
};

class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  ~TemporaryFolder() {
    boost::system::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

 private:
  const std::string path_;
};

Status MakeFolder(const std::string& directory, const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0) return {};
  return FailSystem(errno, fmt::format("cannot examine {}: cannot make a folder in it", directory));
}

// The folder is there through another mount too, at once or soon.
Status AwaitFolder(const std::string& path, const std::string& directory,
                   const std::string& second) {
  const auto deadline = std::chrono::steady_clock::now() + kFolderPatience;
  struct stat facts = {};
  while (stat(path.c_str(), &facts) != 0) {
    if (std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot examine {} from two mounts: {} does not show a folder that was made "
                            "in it",
                            directory, second),
                "name the same folder twice, once through each mount of the storage");
  }
  return {};
}

Result<Clients> ClientsOf(const std::string& directory, const std::string& second) {
  if (second.empty()) return Clients::kOne;
  struct stat one = {};
  struct stat other = {};
  if (stat(directory.c_str(), &one) != 0 || stat(second.c_str(), &other) != 0) {
    return FailSystem(errno, fmt::format("cannot examine {} and {}", directory, second));
  }
  return one.st_dev == other.st_dev ? Clients::kSameClient : Clients::kTwo;
}

ProbeReport DescribeClients(Clients clients) {
  const char* const missing =
      "whether locks, names and files hold between hosts was not probed; with another mount of the same "
      "storage: quoin doctor DIR --second DIR2";
  switch (clients) {
    case Clients::kOne:
      return ProbeNote("one mount was given, so all processes were of one client of the storage", missing);
    case Clients::kSameClient:
      return ProbeNote("both folders are of one mounted filesystem, and that is one client of the storage",
                       missing);
    case Clients::kTwo:
      return ProbeOk("locks, names, files and the database were probed between two clients");
  }
  return ProbeNote("", missing);
}

}  // namespace

Result<StorageReport> ProbeStorage(const std::string& directory, const std::string& second) {
  StorageReport report;
  QUOIN_ASSIGN(report.clients, ClientsOf(directory, second));
  const std::string name = ".quoin-doctor-" + Id::Random().ToString();
  const std::string folder = directory + "/" + name;
  const std::string other = (second.empty() ? directory : second) + "/" + name;
  const SignalsHeldBack signals;
  QUOIN_TRY(MakeFolder(directory, folder));
  const TemporaryFolder traces(folder);
  QUOIN_TRY(AwaitFolder(other, directory, second));
  for (const Probe& probe : kProbes) {
    const ProbePlace place{folder + "/" + probe.name, other + "/" + probe.name};
    QUOIN_TRY(MakeFolder(directory, place.first));
    QUOIN_TRY(AwaitFolder(place.second, directory, second));
    report.probes.push_back(probe.run(place));
    report.probes.back().probe = probe.name;
    if (signals.OneCame()) {
      return Fail(ErrorCode::kIo, fmt::format("cannot go on examining {}: interrupted", directory));
    }
  }
  report.probes.push_back(DescribeClients(report.clients));
  report.probes.back().probe = "clients";
  return report;
}

ProbeReport ProbeOk(std::string found, std::vector<Measurement> measured) {
  return ProbeReport{"", ProbeVerdict::kOk, std::move(found), "", std::move(measured)};
}

ProbeReport ProbeNote(std::string found, std::string missing) {
  return ProbeReport{"", ProbeVerdict::kNote, std::move(found), std::move(missing)};
}

ProbeReport ProbeBad(std::string found, std::string guarantee) {
  return ProbeReport{"", ProbeVerdict::kBad, std::move(found), std::move(guarantee)};
}

ProbeReport ProbeFailed(const std::string& act, const std::string& guarantee) {
  return ProbeBad(fmt::format("{}: {}", act, std::strerror(errno)), guarantee);
}

}  // namespace quoin

#include "tools/storage_probes.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "blockstore/base/id.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

constexpr std::array kProbes = {
    Probe{"locks", ProbeLocks},
    Probe{"exclusive-creation", ProbeExclusiveCreation},
    Probe{"links", ProbeLinks},
    Probe{"rename", ProbeRename},
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

}  // namespace

Result<std::vector<ProbeReport>> ProbeStorage(const std::string& directory) {
  const std::string folder = fmt::format("{}/.quoin-doctor-{}", directory, Id::Random().ToString());
  const SignalsHeldBack signals;
  if (mkdir(folder.c_str(), 0700) != 0) {
    return FailSystem(errno,
                      fmt::format("cannot examine {}: cannot make a folder in it", directory));
  }
  const TemporaryFolder traces(folder);
  std::vector<ProbeReport> reports;
  for (const Probe& probe : kProbes) {
    const std::string own_folder = folder + "/" + probe.name;
    if (mkdir(own_folder.c_str(), 0700) != 0) {
      return FailSystem(errno,
                        fmt::format("cannot examine {}: cannot make a folder in it", directory));
    }
    reports.push_back(probe.run(own_folder));
    reports.back().probe = probe.name;
    if (signals.OneCame()) {
      return Fail(ErrorCode::kIo, fmt::format("cannot go on examining {}: interrupted", directory));
    }
  }
  return reports;
}

std::string_view ToWord(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kMissing:
      return "missing";
    case Verdict::kFatal:
      return "fatal";
  }
  return "fatal";
}

ProbeReport ProbeFailed(const char* probe, const std::string& act, const std::string& guarantee) {
  return ProbeReport{probe, Verdict::kFatal, fmt::format("{}: {}", act, std::strerror(errno)),
                     guarantee};
}

}  // namespace quoin

// Probes of what happens to names: locks on files, exclusive creation, links, rename.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>

#include "tools/local_socket.h"
#include "tools/probe_processes.h"
#include "tools/storage_probes.h"

namespace quoin {
namespace {

constexpr int kProcesses = 4;
constexpr int kRounds = 50;
constexpr const char* kOneWriter = "one writer: two hosts could change one VDI at the same time";
constexpr const char* kNamesAreUnique = "names: two hosts could make one name at the same time";
constexpr const char* kWholeFiles =
    "small files appear whole: a reader could find a VDI without its metadata";

Descriptor OpenFile(const std::string& path, int flags) {
  return Descriptor(open(path.c_str(), flags | O_CLOEXEC, 0600));
}

// --- locks ---------------------------------------------------------------------------------------

// As the store takes them: an open-file-description lock on the whole file. 0, or the errno.
int TryLock(int file) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(file, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

bool IsTaken(int lock_result) { return lock_result == EAGAIN || lock_result == EACCES; }

// Locks the file in a child process that tells through the pipe when it has done so, and sleeps.
int HoldLock(const std::string& path, int pipe) {
  const Descriptor file = OpenFile(path, O_RDWR);
  const char result = static_cast<char>(file ? TryLock(file.number()) : errno);
  if (write(pipe, &result, 1) != 1) return 1;
  for (;;) pause();
}

// The lock is free again soon after its holder's death; shared storage may take a moment.
bool IsReleasedAfterDeath(int file) {
  constexpr std::chrono::milliseconds kPatience{10'000};
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (TryLock(file) == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

}  // namespace

ProbeReport ProbeLocks(const std::string& folder) {
  ProbeReport report;
  report.verdict = Verdict::kFatal;
  report.guarantee = kOneWriter;
  const std::string path = folder + "/lock";
  const Descriptor file = OpenFile(path, O_RDWR | O_CREAT);
  const Descriptor other_open = OpenFile(path, O_RDWR);
  std::array<int, 2> ends{};
  if (!file || !other_open || pipe2(ends.data(), O_CLOEXEC) != 0) {
    return ProbeFailed("locks", "cannot open a file", kOneWriter);
  }
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  ChildProcess holder([&] { return HoldLock(path, writing.number()); });
  writing.Reset();
  char taken_by_holder = 0;
  if (!holder.started() || read(reading.number(), &taken_by_holder, 1) != 1) {
    return ProbeFailed("locks", "cannot lock from a second process", kOneWriter);
  }
  if (taken_by_holder != 0) {
    report.found =
        fmt::format("open-file-description locks do not work: {}", std::strerror(taken_by_holder));
    return report;
  }
  if (!IsTaken(TryLock(file.number()))) {
    report.found = "two processes got the same lock";
    return report;
  }
  holder.Kill();
  if (!IsReleasedAfterDeath(file.number())) {
    report.found = "the lock of a process that was killed is not released";
    return report;
  }
  if (!IsTaken(TryLock(other_open.number()))) {
    report.found = "two descriptors of one process got the same lock";
    return report;
  }
  return ProbeReport{"locks", Verdict::kOk,
                     "a lock excludes other processes and ends with its holder", ""};
}

// --- creation ------------------------------------------------------------------------------------

namespace {

// "" if every round had one winner, else what was seen.
std::string WinnersProblem(const std::vector<int>& winners) {
  if (winners.empty()) return "the racing processes did not end";
  const auto wrong = std::find_if(winners.begin(), winners.end(), [](int n) { return n != 1; });
  if (wrong == winners.end()) return "";
  return fmt::format("{} of {} processes made the same name", *wrong, kProcesses);
}

std::string SeenInRaces(const char* what) {
  return fmt::format("one of {} racing processes {}, in each of {} rounds", kProcesses, what,
                     kRounds);
}

}  // namespace

ProbeReport ProbeExclusiveCreation(const std::string& folder) {
  const std::vector<int> winners = RaceProcesses(kProcesses, kRounds, [&](int, int round) {
    return static_cast<bool>(
        OpenFile(fmt::format("{}/{}", folder, round), O_RDWR | O_CREAT | O_EXCL));
  });
  const std::string problem = WinnersProblem(winners);
  if (!problem.empty()) return ProbeReport{"", Verdict::kFatal, problem, kNamesAreUnique};
  return ProbeReport{"", Verdict::kOk, SeenInRaces("creates a file"), ""};
}

// Each process links a file of its own, as the store does: how many names one file may have is
// another question (GlusterFS on ext4 keeps each name in the file's attributes, and 46 fill them).
ProbeReport ProbeLinks(const std::string& folder) {
  const std::string source = folder + "/source";
  if (!OpenFile(source, O_RDWR | O_CREAT)) {
    return ProbeFailed("links", "cannot create a file", kNamesAreUnique);
  }
  if (link(source.c_str(), (source + "-linked").c_str()) != 0) {
    return ProbeFailed("links", "hard links do not work", kNamesAreUnique);
  }
  const std::vector<int> winners = RaceProcesses(kProcesses, kRounds, [&](int process, int round) {
    const std::string own = fmt::format("{}-{}-{}", source, process, round);
    return OpenFile(own, O_RDWR | O_CREAT) &&
           link(own.c_str(), fmt::format("{}/{}", folder, round).c_str()) == 0;
  });
  const std::string problem = WinnersProblem(winners);
  if (!problem.empty()) return ProbeReport{"", Verdict::kFatal, problem, kNamesAreUnique};
  constexpr nlink_t kMaxNames = 1000;
  nlink_t names = 2;
  while (names < kMaxNames &&
         link(source.c_str(), fmt::format("{}-{}", source, names).c_str()) == 0) {
    ++names;
  }
  struct stat facts = {};
  if (stat(source.c_str(), &facts) != 0 || facts.st_nlink != names) {
    return ProbeReport{"", Verdict::kMissing,
                       fmt::format("{} links are counted as {}", names, facts.st_nlink),
                       "quoin check cannot tell whether a layer's links are all known"};
  }
  if (names < kMaxNames) {
    return ProbeReport{"", Verdict::kMissing, fmt::format("a file has at most {} names", names),
                       "clones: so often at most can a snapshot be cloned before it is sealed"};
  }
  return ProbeReport{"", Verdict::kOk, SeenInRaces("links a name"), ""};
}

// --- rename --------------------------------------------------------------------------------------

namespace {

constexpr size_t kContentBytes = 4096;
constexpr int kRenames = 200;
constexpr int kMissingName = 2;  // exit status of the reader: what it has seen
constexpr int kTornContent = 3;

bool WriteContent(const std::string& path, char letter) {
  const Descriptor file = OpenFile(path, O_RDWR | O_CREAT | O_TRUNC);
  std::array<char, kContentBytes> content;
  content.fill(letter);
  return file && write(file.number(), content.data(), content.size()) ==
                     static_cast<ssize_t>(content.size());
}

// Reads the name over and over until it holds the last content; every look must find one whole.
int WatchName(const std::string& path, char last_letter) {
  std::array<char, kContentBytes> content{};
  for (;;) {
    const Descriptor file = OpenFile(path, O_RDONLY);
    if (!file && errno == ESTALE) continue;
    if (!file) return kMissingName;
    const ssize_t count = read(file.number(), content.data(), content.size());
    // A file that was replaced since it was opened may be gone on shared storage, and says so.
    if (count < 0 && errno == ESTALE) continue;
    const bool whole = count == static_cast<ssize_t>(content.size()) &&
                       std::all_of(content.begin(), content.end(),
                                   [&](char letter) { return letter == content[0]; });
    if (!whole) return kTornContent;
    if (content[0] == last_letter) return 0;
  }
}

}  // namespace

ProbeReport ProbeRename(const std::string& folder) {
  const std::string name = folder + "/name";
  const std::string temporary = folder + "/temporary";
  constexpr char kLastLetter = 'z';
  if (!WriteContent(name, 'a')) return ProbeFailed("rename", "cannot write a file", kWholeFiles);
  ChildProcess reader([&] { return WatchName(name, kLastLetter); });
  for (int i = 0; i < kRenames; ++i) {
    const char letter = i + 1 == kRenames ? kLastLetter : static_cast<char>('b' + i % 20);
    if (!WriteContent(temporary, letter) || rename(temporary.c_str(), name.c_str()) != 0) {
      return ProbeFailed("rename", "cannot rename a file over another", kWholeFiles);
    }
  }
  switch (reader.AwaitEnd()) {
    case 0:
      return ProbeReport{
          "", Verdict::kOk,
          fmt::format("a reader found one whole file at each of {} replacements", kRenames), ""};
    case kMissingName:
      return ProbeReport{"", Verdict::kFatal, "a name is missing while it is replaced",
                         kWholeFiles};
    case kTornContent:
      return ProbeReport{"", Verdict::kFatal, "a name holds part of a file while it is replaced",
                         kWholeFiles};
    default:
      return ProbeReport{"", Verdict::kFatal, "a reader never sees that a name was replaced",
                         kWholeFiles};
  }
}

ProbeReport ProbeNames(const std::string& folder) {
  const std::string longest = folder + "/" + std::string(255, 'n');
  const std::string odd = folder + "/\xc3\xa4 b\xff:\"*";
  for (const std::string& path : {longest, odd}) {
    if (!OpenFile(path, O_RDWR | O_CREAT | O_EXCL)) {
      return ProbeReport{
          "", Verdict::kMissing,
          fmt::format("cannot make a name of 255 bytes or of any bytes: {}", std::strerror(errno)),
          "names as on ext4: some names of VDIs are refused"};
    }
  }
  if (!OpenFile(folder + "/case", O_RDWR | O_CREAT | O_EXCL) ||
      !OpenFile(folder + "/CASE", O_RDWR | O_CREAT | O_EXCL)) {
    return ProbeReport{"", Verdict::kMissing, "upper and lower case are one",
                       "names as on ext4: names that differ in case only are refused"};
  }
  return ProbeReport{"", Verdict::kOk, "255 bytes, any but '/' and NUL, case matters", ""};
}

}  // namespace quoin

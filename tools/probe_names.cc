// Probes of what happens to names: exclusive creation, links, rename.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "tools/local_socket.h"
#include "tools/probe_processes.h"
#include "tools/storage_probes.h"

namespace quoin {
namespace {

constexpr int kProcesses = 4;
constexpr int kRounds = 50;
constexpr std::chrono::milliseconds kReaderPatience{10'000};

Descriptor OpenFile(const std::string& path, int flags) {
  return Descriptor(open(path.c_str(), flags | O_CLOEXEC, 0600));
}

// --- creation ------------------------------------------------------------------------------------

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

ProbeReport ProbeExclusiveCreation(const ProbePlace& place) {
  const std::vector<int> winners = RaceProcesses(kProcesses, kRounds, [&](int process, int round) {
    return static_cast<bool>(
        OpenFile(fmt::format("{}/{}", place.For(process), round), O_RDWR | O_CREAT | O_EXCL));
  });
  const std::string problem = WinnersProblem(winners);
  if (!problem.empty()) return ProbeBad(problem, kOneNameFalls);
  return ProbeOk(SeenInRaces("creates a file"));
}

// Each process links files of its own, as the store does: how many names one file may have is another
// question (GlusterFS on ext4 keeps each name in the file's attributes, and 46 fill them).
ProbeReport ProbeLinks(const ProbePlace& place) {
  const std::string source = place.first + "/source";
  if (!OpenFile(source, O_RDWR | O_CREAT)) {
    return ProbeFailed("cannot create a file", kOneNameFalls);
  }
  if (link(source.c_str(), (source + "-linked").c_str()) != 0) {
    return ProbeFailed("hard links do not work", kOneNameFalls);
  }
  const std::vector<int> winners = RaceProcesses(kProcesses, kRounds, [&](int process, int round) {
    const std::string own = fmt::format("{}/source-{}-{}", place.For(process), process, round);
    return OpenFile(own, O_RDWR | O_CREAT) &&
           link(own.c_str(), fmt::format("{}/{}", place.For(process), round).c_str()) == 0;
  });
  const std::string problem = WinnersProblem(winners);
  if (!problem.empty()) return ProbeBad(problem, kOneNameFalls);
  constexpr nlink_t kMaxNames = 1000;
  nlink_t names = 2;
  while (names < kMaxNames &&
         link(source.c_str(), fmt::format("{}-{}", source, names).c_str()) == 0) {
    ++names;
  }
  struct stat facts = {};
  if (stat(source.c_str(), &facts) != 0 || facts.st_nlink != names) {
    return ProbeNote(fmt::format("{} links are counted as {}", names, facts.st_nlink),
                     "quoin check cannot tell whether a layer's links are all known");
  }
  if (names < kMaxNames) {
    return ProbeNote(fmt::format("a file has at most {} names", names),
                     "so often at most can a snapshot be cloned before it is sealed");
  }
  return ProbeOk(SeenInRaces("links a name"));
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

// Reads the name over and over until it holds the last content; once it was seen, and that was told, every
// look must find one whole.
int WatchName(const std::string& path, char last_letter, const Channel& channel) {
  std::array<char, kContentBytes> content{};
  while (!OpenFile(path, O_RDONLY)) usleep(1000);
  if (!SendByte(channel.child, 'r')) return 1;
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

ProbeReport ProbeRename(const ProbePlace& place) {
  const std::string name = place.first + "/name";
  const std::string temporary = place.first + "/temporary";
  constexpr char kLastLetter = 'z';
  if (!WriteContent(name, 'a')) return ProbeFailed("cannot write a file", kWholeFilesFall);
  const Channel channel = Channel::Make();
  ChildProcess reader([&] { return WatchName(place.second + "/name", kLastLetter, channel); });
  if (!reader.started() || !ReceiveByte(channel.parent, kReaderPatience)) {
    return ProbeBad("a second process cannot open a file that one has made", kWholeFilesFall);
  }
  for (int i = 0; i < kRenames; ++i) {
    const char letter = i + 1 == kRenames ? kLastLetter : static_cast<char>('b' + i % 20);
    if (!WriteContent(temporary, letter) || rename(temporary.c_str(), name.c_str()) != 0) {
      return ProbeFailed("cannot rename a file over another", kWholeFilesFall);
    }
  }
  switch (reader.AwaitEnd(kReaderPatience)) {
    case 0:
      return ProbeOk(
          fmt::format("a reader found one whole file at each of {} replacements", kRenames));
    case kMissingName:
      return ProbeBad("a name is missing while it is replaced", kWholeFilesFall);
    case kTornContent:
      return ProbeBad("a name holds part of a file while it is replaced", kWholeFilesFall);
    default:
      return ProbeBad("a reader never sees that a name was replaced", kWholeFilesFall);
  }
}

ProbeReport ProbeNames(const ProbePlace& place) {
  const std::string& folder = place.first;
  const std::string longest = folder + "/" + std::string(255, 'n');
  const std::string odd = folder + "/\xc3\xa4 b\xff:\"*";
  for (const std::string& path : {longest, odd}) {
    if (!OpenFile(path, O_RDWR | O_CREAT | O_EXCL)) {
      return ProbeNote(
          fmt::format("cannot make a name of 255 bytes or of any bytes: {}", std::strerror(errno)),
          "names as on ext4: some names of VDIs are refused");
    }
  }
  if (!OpenFile(folder + "/case", O_RDWR | O_CREAT | O_EXCL) ||
      !OpenFile(folder + "/CASE", O_RDWR | O_CREAT | O_EXCL)) {
    return ProbeNote("upper and lower case are one",
                     "names as on ext4: names that differ in case only are refused");
  }
  return ProbeOk("255 bytes, any but '/' and NUL, case matters");
}

}  // namespace quoin

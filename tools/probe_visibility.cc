// The probe of visibility: how soon a fresh look through one client shows what another one has made
// durable. Who takes a VDI over relies on it: the old owner and the new one each write down that they are
// there, and look for the other a tenth of a lease later (metadata/lease.h).
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <thread>

#include "blockstore/base/block.h"
#include "metadata/session_watch.h"
#include "tools/local_socket.h"
#include "tools/probe_processes.h"
#include "tools/storage_probes.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr std::chrono::milliseconds kLimit = LeaseMargin(kDefaultLease);
constexpr std::chrono::milliseconds kPatience = 3 * kLimit;
constexpr std::chrono::milliseconds kReplyPatience = 4 * kPatience;
constexpr std::chrono::microseconds kPollInterval{500};

// What the watcher answers: the milliseconds that it took until what was written in place was seen, and a
// name that is new. More than kPatience: it was not seen.
struct Delays {
  double in_place = 0;
  double name = 0;
};

char LetterOf(int round) { return static_cast<char>('a' + round); }

std::string NameOf(const std::string& folder, int round) {
  return folder + "/" + std::to_string(round);
}

// True if a fresh open shows a whole sector of this letter.
bool Shows(const std::string& path, char letter) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, kSectorBytes> bytes{};
  return file && pread(file.number(), bytes.data(), bytes.size(), 0) ==
             static_cast<ssize_t>(bytes.size()) &&
         std::all_of(bytes.begin(), bytes.end(), [&](char byte) { return byte == letter; });
}

bool WriteSector(int file, char letter) {
  std::array<char, kSectorBytes> bytes;
  bytes.fill(letter);
  return pwrite(file, bytes.data(), bytes.size(), 0) ==
             static_cast<ssize_t>(bytes.size()) && fsync(file) == 0;
}

double MillisecondsUntil(const std::function<bool()>& seen) {
  const Clock::time_point begin = Clock::now();
  for (;;) {
    const bool is_seen = seen();
    const auto waited = Clock::now() - begin;
    if (is_seen || waited > kPatience) {
      return std::chrono::duration<double, std::milli>(waited).count();
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

// Another client's process. It has looked at everything before, so that whatever it might remember is old.
int Watch(const std::string& folder, const Channel& channel) {
  for (int round = 1; round <= kRounds; ++round) {
    struct stat facts = {};
    (void)Shows(folder + "/sector", LetterOf(round));
    (void)stat(NameOf(folder, round).c_str(), &facts);
    if (!SendByte(channel.child, 'r')) return 1;
    if (!ReceiveByte(channel.child, kReplyPatience)) return 1;
    Delays delays;
    delays.in_place =
        MillisecondsUntil([&] { return Shows(folder + "/sector", LetterOf(round)); });
    delays.name = MillisecondsUntil([&] { return Shows(NameOf(folder, round), LetterOf(round)); });
    if (send(channel.child.number(), &delays, sizeof(delays), MSG_NOSIGNAL) != sizeof(delays)) return 1;
  }
  return 0;
}

}  // namespace

ProbeReport ProbeVisibility(const ProbePlace& place) {
  const Descriptor sector(
      open((place.first + "/sector").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!sector || !WriteSector(sector.number(), LetterOf(0))) {
    return ProbeFailed("cannot write a file", kOneWriterFalls);
  }
  const Channel channel = Channel::Make();
  ChildProcess watcher([&] { return Watch(place.second, channel); });
  Delays worst;
  for (int round = 1; round <= kRounds; ++round) {
    if (!watcher.started() || !ReceiveByte(channel.parent, kReplyPatience)) {
      return ProbeBad("a second process cannot read what one has written", kOneWriterFalls);
    }
    // As small files appear in a store: written and closed under another name.
    const std::string temporary = place.first + "/temporary";
    {
      const Descriptor file(
          open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!file || !WriteSector(file.number(), LetterOf(round))) {
        return ProbeFailed("cannot write a file", kOneWriterFalls);
      }
    }
    if (link(temporary.c_str(), NameOf(place.first, round).c_str()) != 0 ||
        unlink(temporary.c_str()) != 0 || !WriteSector(sector.number(), LetterOf(round))) {
      return ProbeFailed("cannot write a file", kOneWriterFalls);
    }
    Delays delays;
    if (!SendByte(channel.parent, 'g') ||
        recv(channel.parent.number(), &delays, sizeof(delays), MSG_WAITALL) != sizeof(delays)) {
      return ProbeBad("a second process cannot read what one has written", kOneWriterFalls);
    }
    worst.in_place = std::max(worst.in_place, delays.in_place);
    worst.name = std::max(worst.name, delays.name);
    if (std::max(worst.in_place, worst.name) > static_cast<double>(kLimit.count())) break;
  }
  const auto text = [](double milliseconds) {
    return milliseconds > static_cast<double>(kPatience.count())
               ? fmt::format("not within {} ms", kPatience.count())
               : fmt::format("after {:.1f} ms", milliseconds);
  };
  ProbeReport report =
      ProbeOk(fmt::format("what one process synced is seen by a fresh look of another {}, a new name {}",
                          text(worst.in_place), text(worst.name)),
              {{"in_place_milliseconds", worst.in_place}, {"new_name_milliseconds", worst.name}});
  if (std::max(worst.in_place, worst.name) > static_cast<double>(kLimit.count())) {
    report.verdict = ProbeVerdict::kBad;
    report.guarantee = fmt::format("{}; {} ms is the most that a take-over may rely on", kOneWriterFalls,
                                   kLimit.count());
  }
  return report;
}

}  // namespace quoin

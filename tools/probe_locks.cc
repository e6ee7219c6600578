// The probe of locks, through the seam: what is asked is what the store will ask.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <thread>

#include "blockstore/base/posix_file_system.h"
#include "tools/probe_processes.h"
#include "tools/storage_probes.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

// Shared storage may take a moment; one that has lost sight of a client takes longer, but nobody here is
// lost sight of.
constexpr std::chrono::milliseconds kReleasePatience{10'000};
constexpr std::chrono::milliseconds kReplyPatience{15'000};
constexpr std::chrono::milliseconds kOpenPatience{5'000};
constexpr std::chrono::milliseconds kPollInterval{1};

// What a holder answers and is told.
constexpr char kLocked = 'L';
constexpr char kRefused = 'R';
constexpr char kFailed = 'F';
constexpr char kTry = 't';
constexpr char kClose = 'c';

// A file that another client has just made may not be shown here at once.
Result<std::unique_ptr<File>> OpenSoon(FileSystem& file_system, const std::string& path) {
  const Clock::time_point deadline = Clock::now() + kOpenPatience;
  for (;;) {
    Result<std::unique_ptr<File>> file = file_system.Open(path, {Access::kReadWrite});
    const bool may_come = !file && file.error().code == ErrorCode::kNotFound;
    if (!may_come || Clock::now() >= deadline) return file;
    std::this_thread::sleep_for(kPollInterval);
  }
}

// A process that locks when it is told to, and says what came of it.
int HoldLock(const std::string& path, const Descriptor& channel) {
  PosixFileSystem file_system;
  Result<std::unique_ptr<File>> file = OpenSoon(file_system, path);
  while (const std::optional<char> word = ReceiveByte(channel, kChildPatience)) {
    if (*word == kClose) {
      file->reset();
      return 0;
    }
    const Result<bool> locked = file ? (*file)->TryLock() : Result<bool>(Failure(file.error()));
    if (!SendByte(channel, !locked ? kFailed : *locked ? kLocked : kRefused)) return 1;
  }
  return 1;
}

// A child process with the other end of a channel to it.
class Holder {
 public:
  explicit Holder(const std::string& path)
      : channel_(Channel::Make()),
        child_([&] { return HoldLock(path, channel_.child); }) {}

  // kLocked, kRefused or kFailed; nothing if it does not answer.
  std::optional<char> Try() {
    if (!child_.started() || !SendByte(channel_.parent, kTry)) return std::nullopt;
    return ReceiveByte(channel_.parent, kReplyPatience);
  }
  void Close() { (void)SendByte(channel_.parent, kClose); }
  void Kill() { child_.Kill(); }

 private:
  const Channel channel_;
  ChildProcess child_;
};

// How long until the lock is ours; negative if that is never.
double MillisecondsUntilLocked(File& file) {
  const Clock::time_point begin = Clock::now();
  while (Clock::now() - begin < kReleasePatience) {
    if (file.TryLock().value_or(false)) {
      return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return -1;
}

ProbeReport Bad(const std::string& found) { return ProbeBad(found, kOneWriterFalls); }

// Any number share a lock, and none of them with who has it alone.
ProbeReport ProbeSharing(FileSystem& file_system, const ProbePlace& place) {
  const Result<std::unique_ptr<File>> one = OpenSoon(file_system, place.first + "/lock");
  const Result<std::unique_ptr<File>> other = OpenSoon(file_system, place.second + "/lock");
  if (!one || !other) return Bad((one ? other : one).error().what);
  if (!(*one)->TryLockShared().value_or(false) || !(*other)->TryLockShared().value_or(false)) {
    return Bad("two descriptors cannot share a lock");
  }
  if ((*one)->TryLock().value_or(true)) return Bad("a lock that is shared was had alone");
  if (!(*other)->Unlock() || !(*one)->TryLock().value_or(false)) {
    return Bad("a lock that is shared no longer cannot be had alone");
  }
  if ((*other)->TryLock().value_or(true)) {
    return Bad("two descriptors of one process got the same lock");
  }
  if (!(*other)->IsLockedElsewhere().value_or(false)) {
    return Bad("a lock that is held cannot be seen without taking it");
  }
  return ProbeOk("");
}

}  // namespace

ProbeReport ProbeLocks(const ProbePlace& place) {
  PosixFileSystem file_system;
  const std::string path = place.first + "/lock";
  if (const auto made = file_system.Open(path, {Access::kReadWrite, Creation::kExclusive, 0600});
      !made) {
    return Bad(made.error().what);
  }
  // Before this process opens the file, so that they have nothing of it.
  Holder closing(place.second + "/lock");
  Holder dying(place.second + "/lock");
  const Result<std::unique_ptr<File>> file = file_system.Open(path, {Access::kReadWrite});
  if (!file) return Bad(file.error().what);
  if (closing.Try() != kLocked) return Bad("a second process cannot lock a file");
  const Result<bool> both = (*file)->TryLock();
  if (!both) return Bad(both.error().what);
  if (*both) return Bad("two processes got the same lock");
  closing.Close();
  const double after_close = MillisecondsUntilLocked(**file);
  if (after_close < 0) return Bad("the lock of a process that closed its file is not released");

  if (dying.Try() != kRefused) return Bad("two processes got the same lock");
  if (!(*file)->Unlock()) return Bad("a lock cannot be let go of");
  const Clock::time_point deadline = Clock::now() + kReleasePatience;
  std::optional<char> taken = dying.Try();
  while (taken == kRefused && Clock::now() < deadline) taken = dying.Try();
  if (taken != kLocked) return Bad("a lock that was let go of cannot be had by another process");
  if ((*file)->TryLock().value_or(true)) return Bad("two processes got the same lock");
  dying.Kill();
  const double after_death = MillisecondsUntilLocked(**file);
  if (after_death < 0) return Bad("the lock of a process that was killed is not released");
  if (!(*file)->Unlock()) return Bad("a lock cannot be let go of");
  ProbeReport sharing = ProbeSharing(file_system, place);
  if (sharing.verdict != ProbeVerdict::kOk) return sharing;
  return ProbeOk(fmt::format("a lock excludes others, and passes on {:.1f} ms after its holder closed the "
                             "file, {:.1f} ms after it was killed",
                             after_close, after_death),
                 {{"after_close_milliseconds", after_close},
                  {"after_death_milliseconds", after_death}});
}

}  // namespace quoin

#include "metadata/writer_lock.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "blockstore/base/block.h"
#include "metadata/lock_file.h"

namespace quoin {
namespace {

using std::chrono::nanoseconds;

constexpr std::chrono::milliseconds kPollInterval{20};
// Once a holder has not let go for a second, it is not just on its way.
constexpr std::chrono::milliseconds kSlowPollInterval{100};
constexpr std::chrono::milliseconds kQuickPolling{1000};
// Most who hold it let go of it by themselves by then: a live migration's source.
constexpr std::chrono::milliseconds kToldAfter{200};
constexpr int64_t kSecondsPerDay = 86400;
constexpr uint64_t kMaxEpoch = std::numeric_limits<int64_t>::max();  // what vdi.db can hold
// After a damaged record was broken the last epoch is unknown. Those in the names of the layers are
// at most this far behind it: each owner that changes the structure names a layer by its epoch.
constexpr uint64_t kUnknownEpochJump = uint64_t{1} << 20;

int64_t NowSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

LockRecord RecordOf(const HostIdentity& self, uint64_t epoch, const Succession* succession) {
  LockRecord record;
  record.epoch = epoch;
  record.host = self.host;
  record.host_name = self.host_name;
  record.boot = self.boot;
  record.session = self.session;
  record.pid = self.pid;
  record.since_s = NowSeconds();
  if (succession != nullptr) {
    record.lease_ms = static_cast<uint32_t>(succession->lease.duration().count());
  }
  record.clean = false;
  return record;
}

std::string BreakHint(const std::string& vdi_name) { return "quoin lock break " + vdi_name; }

std::string CannotOpen(const std::string& vdi_name) {
  return fmt::format("cannot open vdis/{} for writing", vdi_name);
}

Failure HeldByAnother(const std::string& refused, const std::string& vdi_name,
                      const std::optional<LockRecord>& record, const HostIdentity& self) {
  // Between locking and writing its own record, a new owner has its predecessor's in the file.
  if (!record || record->clean) {
    return Fail(ErrorCode::kBusy, fmt::format("{}: another process is just opening it", refused),
                "try again");
  }
  std::string next = "it is released when that guest stops";
  if (record->host != self.host) {
    next += fmt::format("; if {} is dead: {}", record->host_name, BreakHint(vdi_name));
  }
  return Fail(ErrorCode::kBusy, fmt::format("{}: {}", refused, DescribeHolder(*record)), next);
}

// An owner that came after one of another host may have died before it had shut that one out, and of a
// record that was damaged nobody knows whose it was.
bool HadNobodyToShutOut(const LockRecord& last) {
  return !last.taking_over && !last.host.IsNull();
}

std::chrono::milliseconds LeaseOf(const LockRecord& record) {
  return record.lease_ms == 0 ? kDefaultLease : std::chrono::milliseconds(record.lease_ms);
}

}  // namespace

// One attempt after the other to become the owner.
class WriterLock::Acquisition {
 public:
  Acquisition(FileSystem& file_system, const std::string& vdi_folder, const std::string& vdi_name,
              const HostIdentity& self, const Succession* succession, MonotonicClock& clock)
      : file_system_(file_system),
        folder_(vdi_folder),
        name_(vdi_name),
        self_(self),
        succession_(succession),
        clock_(clock) {}

  // Null if it cannot be had yet; refusal() says why.
  Result<std::unique_ptr<WriterLock>> Try();
  const Failure& refusal() const { return *refusal_; }
  // Its owner has not been heard of since the first attempt: waiting may show that it is dead.
  bool may_be_dead() const { return silent_; }
  // Whose lock the last attempt found held.
  const std::optional<LockRecord>& holder() const { return holder_; }
  // Then: whether its lock is free, so that it will not be let go of, and how long the next attempt may
  // wait. That is a margin, because it may be let go of or heard of before it is certain to be dead.
  bool is_free() const { return is_free_; }
  std::chrono::nanoseconds patience() const {
    return std::clamp<std::chrono::nanoseconds>(until_dead_, kPollInterval, margin_);
  }

 private:
  enum class Verdict { kClean, kDiedHere, kStartsAgain, kBrokenElsewhere, kUnknown };

  Result<Verdict> Judge(const std::optional<LockRecord>& record) const;
  // Its owner died on this host and is about to be started again.
  bool StartsAgain(const LockRecord& record) const;
  // The last state of its heartbeat, once the record's session is known to be dead.
  Result<std::optional<std::string>> StateOfTheDead(const LockRecord& record);
  Result<std::unique_ptr<WriterLock>> Take(uint64_t number, std::unique_ptr<File> file,
                                           const LockRecord& last, Predecessor predecessor);
  // The owner is dead if its heartbeat is still in the state by which it was taken for that. `file` is
  // its lock file if its lock is free, else null.
  Result<std::unique_ptr<WriterLock>> Succeed(uint64_t number, std::unique_ptr<File> file,
                                              const LockRecord& last, const std::string& state);
  Result<bool> IsAlone(uint64_t number, bool was_free, const LockRecord& last);
  bool IsHeldForGood(const LockRecord& last, bool is_held);
  std::unique_ptr<WriterLock> Made(uint64_t number, std::unique_ptr<File> file,
                                   const LockRecord& record, Predecessor predecessor,
                                   bool predecessor_lost_lock) const;
  LockRecord OurRecord(const LockRecord& last, Predecessor predecessor) const;
  // This process was held up since the attempt began: the storage may have given the lock to another host
  // meanwhile, whose record ours must not replace.
  bool WasHeldUp();
  // Puts back what our claim replaced, unless another host's has replaced it since.
  static Status Withdraw(File& file, const LockRecord& ours, const LockRecord& last);

  FileSystem& file_system_;
  const std::string& folder_;
  const std::string& name_;
  const HostIdentity& self_;
  const Succession* const succession_;
  MonotonicClock& clock_;
  uint64_t lapses_ = 0;  // of our lease, when the attempt began
  std::optional<Failure> refusal_;
  std::optional<LockRecord> holder_;
  std::optional<std::string> first_state_;  // of the owner's heartbeat, with the session's name
  bool silent_ = false;
  bool is_free_ = false;
  std::chrono::nanoseconds until_dead_{0};
  std::chrono::nanoseconds margin_ = kPollInterval;
  std::optional<LockRecord> held_;  // the record in the file whose lock another handle has
  nanoseconds held_since_{0};
};

Result<WriterLock::Acquisition::Verdict> WriterLock::Acquisition::Judge(
    const std::optional<LockRecord>& record) const {
  if (!record) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: the record in its writer.lock is damaged", CannotOpen(name_)),
                fmt::format("if no host has it open: {}", BreakHint(name_)));
  }
  if (record->clean) return Verdict::kClean;
  // This host's lock is free, so the process that held it is gone, in whatever boot it ran. It may not
  // have got so far as to shut out the other host's that it succeeded.
  if (record->host == self_.host) {
    if (StartsAgain(*record)) return Verdict::kStartsAgain;
    return record->taking_over ? Verdict::kBrokenElsewhere : Verdict::kDiedHere;
  }
  return record->broken ? Verdict::kBrokenElsewhere : Verdict::kUnknown;
}

// Whoever is not of the same keeper has not got what the dead owner kept in memory, and would lose it.
bool WriterLock::Acquisition::StartsAgain(const LockRecord& record) const {
  return !record.keeper.empty() && record.keeper != self_.keeper && record.boot == self_.boot &&
         !record.broken && DescribeProcess(record.pid).empty() && IsThere(record.keeper);
}

Result<std::optional<std::string>> WriterLock::Acquisition::StateOfTheDead(
    const LockRecord& record) {
  QUOIN_ASSIGN(const SessionWatch::Sight sight,
               succession_->watch.Look(record.host, record.session));
  const std::string state = StoreLayout::SessionName(record.host, record.session) + sight.state;
  if (!first_state_) first_state_ = state;
  silent_ = *first_state_ == state;
  const std::chrono::milliseconds lease = LeaseOf(record);
  margin_ = std::max<std::chrono::nanoseconds>(LeaseMargin(lease), kPollInterval);
  until_dead_ = lease + LeaseMargin(lease) - sight.silent_for;
  if (until_dead_.count() > 0) return std::optional<std::string>();
  return std::optional<std::string>(sight.state);
}

Status WriterLock::Acquisition::Withdraw(File& file, const LockRecord& ours,
                                         const LockRecord& last) {
  QUOIN_ASSIGN(const LockFileContent content, ReadLockFile(file));
  if (content.record != ours) return {};
  return WriteLockRecord(file, last);
}

bool WriterLock::Acquisition::WasHeldUp() {
  if (succession_ == nullptr) return false;
  const Lease& lease = succession_->lease;
  if (lease.IsValid() && lease.lapses() == lapses_) return false;
  refusal_ = Fail(ErrorCode::kBusy,
                  fmt::format("{}: this host was held up for longer than its lease", CannotOpen(name_)),
                  "try again");
  return true;
}

LockRecord WriterLock::Acquisition::OurRecord(const LockRecord& last,
                                              Predecessor predecessor) const {
  LockRecord record = RecordOf(self_, last.epoch + 1, succession_);
  const bool goes_on_here = !self_.keeper.empty() && last.keeper == self_.keeper &&
                            last.boot == self_.boot && !last.broken && last.kept_since != 0;
  record.keeper = self_.keeper;
  record.kept_since = self_.keeper.empty() ? 0 : goes_on_here ? last.kept_since : record.epoch;
  record.taking_over = predecessor == Predecessor::kDiedElsewhere;
  if (record.taking_over) {
    // A process of this host may have begun to succeed it, and not come to an end.
    const bool goes_on = last.host == self_.host && !last.succeeds.IsNull();
    record.succeeds = goes_on ? last.succeeds : last.session;
  }
  return record;
}

std::unique_ptr<WriterLock> WriterLock::Acquisition::Made(uint64_t number,
                                                          std::unique_ptr<File> file,
                                                          const LockRecord& record,
                                                          Predecessor predecessor,
                                                          bool predecessor_lost_lock) const {
  std::unique_ptr<WriterLock> lock(
      new WriterLock(file_system_, folder_, number, std::move(file), record));
  lock->predecessor_ = predecessor;
  lock->predecessor_lost_lock_ = predecessor_lost_lock;
  if (succession_ != nullptr) lock->lease_ = &succession_->lease;
  return lock;
}

Result<std::unique_ptr<WriterLock>> WriterLock::Acquisition::Take(uint64_t number,
                                                                  std::unique_ptr<File> file,
                                                                  const LockRecord& last,
                                                                  Predecessor predecessor) {
  const LockRecord record = OurRecord(last, predecessor);
  // What a damaged record may have had beyond the sector.
  QUOIN_ASSIGN(const FileFacts facts, file->Facts());
  if (facts.size_bytes > kSectorBytes) QUOIN_TRY(file->Truncate(kSectorBytes));
  if (WasHeldUp()) return std::unique_ptr<WriterLock>();
  QUOIN_TRY(WriteLockRecord(*file, record));
  return Made(number, std::move(file), record, predecessor, HadNobodyToShutOut(last));
}

Result<std::unique_ptr<WriterLock>> WriterLock::Acquisition::Succeed(uint64_t number,
                                                                     std::unique_ptr<File> file,
                                                                     const LockRecord& last,
                                                                     const std::string& state) {
  const LockRecord record = OurRecord(last, Predecessor::kDiedElsewhere);
  const bool was_free = file != nullptr;
  const uint64_t ours = was_free ? number : number + 1;
  if (was_free) {
    if (WasHeldUp()) return std::unique_ptr<WriterLock>();
    QUOIN_TRY(WriteLockRecord(*file, record));
  } else {
    QUOIN_ASSIGN(file, MakeNewerLockFile(file_system_, folder_, ours, record));
    if (file == nullptr) return std::unique_ptr<WriterLock>();
  }
  clock_.SleepFor(LeaseMargin(LeaseOf(last)));
  const Result<SessionWatch::Sight> after = succession_->watch.Look(last.host, last.session);
  const Result<bool> is_alone = IsAlone(number, was_free, last);
  if (!after || after->state != state || !is_alone || !*is_alone) {
    // It is alive after all, and has seen our claim or will not have to; or another host claims it too.
    const Status withdrawn =
        was_free ? Withdraw(*file, record, last)
                 : file_system_.Remove(StoreLayout::WriterLock(folder_, ours));
    if (!withdrawn) return Failure(withdrawn.error());
    if (!after) return Failure(after.error());
    if (!is_alone) return Failure(is_alone.error());
    return std::unique_ptr<WriterLock>();
  }
  if (!was_free) {
    const auto old = file_system_.Open(StoreLayout::WriterLock(folder_, number),
                                       {Access::kReadWrite});
    if (old) QUOIN_TRY(MarkSuperseded(**old));
  }
  QUOIN_TRY(DeclareDead(file_system_, succession_->layout, last.host, last.session));
  spdlog::warn("vdis/{}: {}, and nothing was heard of it for longer than its lease: taken over",
               name_, DescribeHolder(last));
  return Made(ours, std::move(file), record, Predecessor::kDiedElsewhere,
              was_free && HadNobodyToShutOut(last));
}

// Of two that claim at once, one in the old file and one by a newer file, each sees the other.
Result<bool> WriterLock::Acquisition::IsAlone(uint64_t number, bool was_free,
                                              const LockRecord& last) {
  if (was_free) {
    QUOIN_ASSIGN(const uint64_t newest, NewestLockFile(file_system_, folder_));
    return newest == number;
  }
  QUOIN_ASSIGN(const std::unique_ptr<File> old,
               file_system_.Open(StoreLayout::WriterLock(folder_, number), {}));
  QUOIN_ASSIGN(const LockFileContent content, ReadLockFile(*old));
  return content.record == last && !content.superseded;
}

// Who has the lock only to claim it, as we would, has it no longer than a margin.
bool WriterLock::Acquisition::IsHeldForGood(const LockRecord& last, bool is_held) {
  if (!is_held || held_ != last) {
    held_ = is_held ? std::optional(last) : std::nullopt;
    held_since_ = clock_.Now();
    return false;
  }
  return clock_.Now() - held_since_ >= 2 * LeaseMargin(LeaseOf(last));
}

Result<std::unique_ptr<WriterLock>> WriterLock::Acquisition::Try() {
  silent_ = false;
  if (succession_ != nullptr) lapses_ = succession_->lease.lapses();
  QUOIN_ASSIGN(const uint64_t number, NewestLockFile(file_system_, folder_));
  QUOIN_ASSIGN(OpenedLock opened, OpenLocked(file_system_, folder_, number));
  const std::optional<LockRecord>& last = opened.content.record;
  holder_ = opened.file == nullptr ? last : std::nullopt;
  if (opened.file == nullptr) {
    refusal_ = HeldByAnother(CannotOpen(name_), name_, last, self_);
    const bool is_of_another_host = last && !last->clean && last->host != self_.host;
    if (succession_ == nullptr || !is_of_another_host || opened.content.superseded) return nullptr;
  } else {
    QUOIN_ASSIGN(const Verdict verdict, Judge(last));
    if (last->epoch >= kMaxEpoch) {
      return Fail(ErrorCode::kTooLarge, fmt::format("{}: its epochs are used up", CannotOpen(name_)));
    }
    if (verdict == Verdict::kClean) {
      return Take(number, std::move(opened.file), *last, Predecessor::kClean);
    }
    if (verdict == Verdict::kStartsAgain) {
      refusal_ = Fail(ErrorCode::kBusy,
                      fmt::format("{}: its daemon (pid {}) has died and is to be started again by its "
                                  "keeper (process {})", CannotOpen(name_), last->pid,
                                  last->keeper.substr(0, last->keeper.find('-'))),
                      "quoin status shows what became of it; quoin reload MOUNT starts it");
      return nullptr;
    }
    if (verdict == Verdict::kDiedHere) {
      return Take(number, std::move(opened.file), *last, Predecessor::kDiedHere);
    }
    if (verdict == Verdict::kBrokenElsewhere) {
      return Take(number, std::move(opened.file), *last, Predecessor::kDiedElsewhere);
    }
    refusal_ = Fail(ErrorCode::kBusy,
                    fmt::format("{}: {} and did not let go of it cleanly", CannotOpen(name_),
                                DescribeHolder(*last)),
                    fmt::format("if {} is dead: {}", last->host_name, BreakHint(name_)));
    if (succession_ == nullptr) return nullptr;
  }
  QUOIN_ASSIGN(const std::optional<std::string> state, StateOfTheDead(*last));
  const bool is_held = opened.file == nullptr;
  is_free_ = !is_held;
  const bool is_held_for_good = IsHeldForGood(*last, is_held);
  if (!state || (is_held && !is_held_for_good)) return nullptr;
  if (last->epoch >= kMaxEpoch) {
    return Fail(ErrorCode::kTooLarge, fmt::format("{}: its epochs are used up", CannotOpen(name_)));
  }
  return Succeed(number, std::move(opened.file), *last, *state);
}

WriterLock::WriterLock(FileSystem& file_system, std::string folder, uint64_t number,
                       std::shared_ptr<File> file, LockRecord record)
    : file_system_(file_system),
      number_(number),
      record_(std::move(record)),
      folder_(std::move(folder)),
      file_(std::move(file)) {}

Result<std::unique_ptr<WriterLock>> WriterLock::Acquire(FileSystem& file_system,
                                                        const std::string& vdi_folder,
                                                        const std::string& vdi_name,
                                                        const HostIdentity& self,
                                                        std::chrono::milliseconds wait,
                                                        const Succession* succession) {
  MonotonicClock& clock = succession == nullptr ? SystemClock() : succession->lease.clock();
  Acquisition acquisition(file_system, vdi_folder, vdi_name, self, succession, clock);
  auto on_held = succession == nullptr ? nullptr : succession->on_held;
  const nanoseconds begin = clock.Now();
  const nanoseconds deadline = begin + wait;
  const nanoseconds last_deadline =
      begin + std::max(wait, succession == nullptr ? wait : succession->wait);
  while (true) {
    QUOIN_ASSIGN(std::unique_ptr<WriterLock> lock, acquisition.Try());
    if (lock != nullptr) return lock;
    const nanoseconds now = clock.Now();
    if (on_held && acquisition.holder() && now - begin >= kToldAfter) {
      std::exchange(on_held, nullptr)(*acquisition.holder());
    }
    const nanoseconds end = acquisition.may_be_dead() ? last_deadline : deadline;
    if (now >= end) return acquisition.refusal();
    const bool is_quick = now - begin < kQuickPolling;
    nanoseconds pause = is_quick ? kPollInterval : kSlowPollInterval;
    if (acquisition.may_be_dead() && (acquisition.is_free() || !is_quick)) {
      pause = acquisition.patience();
    }
    clock.SleepFor(std::min(pause, end - now));
  }
}

Result<std::unique_ptr<WriterLock>> WriterLock::Create(FileSystem& file_system,
                                                       const std::string& vdi_folder,
                                                       const HostIdentity& self) {
  const std::string path = StoreLayout::WriterLock(vdi_folder);
  QUOIN_ASSIGN(std::unique_ptr<File> file,
               file_system.Open(path, {Access::kReadWrite, Creation::kExclusive, 0600}));
  QUOIN_ASSIGN(const bool locked, file->TryLock());
  if (!locked) return Fail(ErrorCode::kBusy, fmt::format("another process locked {}", path));
  const LockRecord record = RecordOf(self, 1, nullptr);
  QUOIN_TRY(WriteLockRecord(*file, record));
  QUOIN_TRY(file_system.SyncDirectory(vdi_folder));
  return std::unique_ptr<WriterLock>(
      new WriterLock(file_system, vdi_folder, 0, std::move(file), record));
}

Result<LockStatus> WriterLock::Inspect(FileSystem& file_system, const std::string& vdi_folder) {
  QUOIN_ASSIGN(const uint64_t number, NewestLockFile(file_system, vdi_folder));
  QUOIN_ASSIGN(const std::unique_ptr<File> file,
               file_system.Open(StoreLayout::WriterLock(vdi_folder, number), {}));
  LockStatus status;
  QUOIN_ASSIGN(status.held, file->IsLockedElsewhere());
  QUOIN_ASSIGN(const LockFileContent content, ReadLockFile(*file));
  status.damaged = !content.record;
  status.record = content.record.value_or(LockRecord());
  return status;
}

Status WriterLock::Break(FileSystem& file_system, const std::string& vdi_folder,
                         const std::string& vdi_name, const HostIdentity& self) {
  QUOIN_ASSIGN(const uint64_t number, NewestLockFile(file_system, vdi_folder));
  QUOIN_ASSIGN(OpenedLock opened, OpenLocked(file_system, vdi_folder, number));
  std::optional<LockRecord> record = opened.content.record;
  if (opened.file == nullptr) {
    const std::string refused = fmt::format("cannot break the lock of vdis/{}", vdi_name);
    Failure failure = HeldByAnother(refused, vdi_name, record, self);
    if (failure.value().code == ErrorCode::kBusy && record && !record->clean) {
      failure.value().next =
          "the lock itself is still held, so that process or its host's connection to the storage is "
          "alive: stop it first";
    }
    return failure;
  }
  if (record && record->clean) return {};  // nothing to break
  if (!record) {
    record.emplace();
    QUOIN_ASSIGN(const uint64_t highest, HighestLayerEpoch(file_system, vdi_folder));
    record->epoch = std::min(highest, kMaxEpoch - kUnknownEpochJump) + kUnknownEpochJump;
    record->host_name = "unknown";
    record->since_s = NowSeconds();
    QUOIN_TRY(opened.file->Truncate(0));
  }
  record->clean = false;
  record->broken = true;
  return WriteLockRecord(*opened.file, *record);
}

void WriterLock::FollowFolder(const std::string& vdi_folder) {
  MutexLock lock(mutex_);
  folder_ = vdi_folder;
}

std::string WriterLock::Path() const { return StoreLayout::WriterLock(folder_, number_); }

Status WriterLock::Verify() const {
  std::shared_ptr<File> file;
  std::string path;
  std::string folder;
  {
    MutexLock lock(mutex_);
    file = file_;
    path = Path();
    folder = folder_;
  }
  const auto lost = [&](std::string_view why) {
    return Fail(ErrorCode::kLostOwnership, fmt::format("{} is no longer ours: {}", path, why));
  };
  if (file == nullptr) return lost("it was let go");
  // A lock that we have is had again; one that the storage gave to another is not.
  const Result<bool> locked = file->TryLock();
  if (!locked) return lost(locked.error().what);
  const Result<FileFacts> named = file_system_.Facts(path);
  if (!named && named.error().code == ErrorCode::kNotFound) return lost("it has no name any more");
  if (!named) return Failure(named.error());
  QUOIN_ASSIGN(const FileFacts opened, file->Facts());
  if (named->identity != opened.identity) return lost("another file has its name");
  QUOIN_ASSIGN(const LockFileContent content, ReadLockFile(*file));
  const std::optional<LockRecord>& record = content.record;
  if (!record) return lost("its record is damaged");
  if (record->epoch != record_.epoch || record->session != record_.session || record->broken) {
    return lost(DescribeHolder(*record));
  }
  QUOIN_ASSIGN(const uint64_t newest, NewestLockFile(file_system_, folder));
  if (content.superseded || newest != number_) {
    const Result<LockStatus> next = Inspect(file_system_, folder);
    return lost(next ? DescribeHolder(next->record) : "there is a newer one");
  }
  if (!*locked) return lost("another process has locked it");
  return {};
}

Status WriterLock::ReleaseClean() {
  // Never over another owner's record: what was looked at must still be so when it is written.
  for (;;) {
    const uint64_t lapses = lease_ == nullptr ? 0 : lease_->lapses();
    if (lease_ != nullptr) QUOIN_TRY(lease_->Admit());
    QUOIN_TRY(Verify());
    if (lease_ == nullptr || (lease_->IsValid() && lease_->lapses() == lapses)) break;
  }
  std::shared_ptr<File> file;
  {
    MutexLock lock(mutex_);
    file = std::move(file_);
  }
  LockRecord last = record_;
  last.clean = true;
  last.taking_over = false;
  last.succeeds = Id();
  QUOIN_TRY(WriteLockRecord(*file, last));
  return file->Unlock();
}

std::string DescribeHolder(const LockRecord& record) {
  const std::tm since = fmt::localtime(static_cast<std::time_t>(record.since_s));
  const bool is_recent = NowSeconds() - record.since_s < kSecondsPerDay;
  const std::string when =
      is_recent ? fmt::format("{:%H:%M}", since) : fmt::format("{:%Y-%m-%d %H:%M}", since);
  return fmt::format("host {} has had it open since {} (pid {})", record.host_name, when,
                     record.pid);
}

}  // namespace quoin

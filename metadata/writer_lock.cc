#include "metadata/writer_lock.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>
#include <thread>
#include <utility>

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/block.h"
#include "metadata/store_layout.h"
#include "metadata/writer_lock_record.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPollInterval{20};
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

// The record in the file; nothing if it is damaged.
Result<std::optional<LockRecord>> ReadRecord(File& file) {
  std::array<char, kSectorBytes + 1> bytes;  // one more, to see that there is no more
  QUOIN_ASSIGN(const size_t done, file.Read(0, std::as_writable_bytes(std::span(bytes))));
  return DecodeLockRecord({bytes.data(), done});
}

Status WriteRecord(File& file, const LockRecord& record) {
  const std::string bytes = EncodeLockRecord(record);
  QUOIN_TRY(file.Write(0, std::as_bytes(std::span(bytes))));
  // What a damaged record may have had beyond the sector.
  QUOIN_ASSIGN(const FileFacts facts, file.Facts());
  if (facts.size_bytes > kSectorBytes) QUOIN_TRY(file.Truncate(kSectorBytes));
  return file.Sync(SyncKind::kData);
}

LockRecord RecordOf(const HostIdentity& self, uint64_t epoch) {
  LockRecord record;
  record.epoch = epoch;
  record.host = self.host;
  record.host_name = self.host_name;
  record.boot = self.boot;
  record.session = self.session;
  record.pid = self.pid;
  record.since_s = NowSeconds();
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

// An open, locked lock file that still has its name; null if another handle holds it or the name
// moved on meanwhile, so that the caller may try again.
Result<std::unique_ptr<File>> OpenLocked(FileSystem& file_system, const std::string& path,
                                         std::optional<LockRecord>* holder) {
  QUOIN_ASSIGN(std::unique_ptr<File> file, file_system.Open(path, {Access::kReadWrite}));
  QUOIN_ASSIGN(const bool locked, file->TryLock());
  if (!locked) {
    QUOIN_ASSIGN(*holder, ReadRecord(*file));
    return std::unique_ptr<File>();
  }
  // The VDI may have been removed, or removed and made anew, between the opening and the lock.
  QUOIN_ASSIGN(const FileFacts named, file_system.Facts(path));
  QUOIN_ASSIGN(const FileFacts opened, file->Facts());
  if (named.identity != opened.identity) return std::unique_ptr<File>();
  return file;
}

Result<std::unique_ptr<File>> WaitForLock(FileSystem& file_system, const std::string& path,
                                          const std::string& vdi_name, const HostIdentity& self,
                                          std::chrono::milliseconds wait) {
  const Clock::time_point deadline = Clock::now() + wait;
  while (true) {
    std::optional<LockRecord> holder;
    QUOIN_ASSIGN(std::unique_ptr<File> file, OpenLocked(file_system, path, &holder));
    if (file != nullptr) return file;
    const Clock::time_point now = Clock::now();
    if (now >= deadline) return HeldByAnother(CannotOpen(vdi_name), vdi_name, holder, self);
    std::this_thread::sleep_for(std::min<Clock::duration>(kPollInterval, deadline - now));
  }
}

// With the lock in hand: may we go on after the owner that the record names?
Result<WriterLock::Predecessor> Judge(const std::optional<LockRecord>& record,
                                      const std::string& vdi_name, const HostIdentity& self) {
  if (!record) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: the record in its writer.lock is damaged", CannotOpen(vdi_name)),
                fmt::format("if no host has it open: {}", BreakHint(vdi_name)));
  }
  if (record->clean) return WriterLock::Predecessor::kClean;
  // This host's lock is free, so the process that held it is gone, in whatever boot it ran. It may not
  // have got so far as to shut out the other host's that it succeeded.
  if (record->host == self.host) {
    return record->taking_over ? WriterLock::Predecessor::kDiedElsewhere
                               : WriterLock::Predecessor::kDiedHere;
  }
  if (record->broken) return WriterLock::Predecessor::kDiedElsewhere;
  return Fail(ErrorCode::kBusy,
              fmt::format("{}: {} and did not let go of it cleanly", CannotOpen(vdi_name),
                          DescribeHolder(*record)),
              fmt::format("if {} is dead: {}", record->host_name, BreakHint(vdi_name)));
}

// The highest epoch in the layers' names ("<seq>-<epoch>", "<seq>-<epoch>.owned").
Result<uint64_t> HighestLayerEpoch(FileSystem& file_system, const std::string& vdi_folder) {
  const auto entries = file_system.List(StoreLayout::Layers(vdi_folder));
  if (!entries && entries.error().code == ErrorCode::kNotFound) return 0;
  if (!entries) return Failure(entries.error());
  uint64_t highest = 0;
  for (const DirectoryEntry& entry : *entries) {
    const size_t dash = entry.name.find('-');
    if (dash == std::string::npos) continue;
    uint64_t epoch = 0;
    const char* end = entry.name.data() + entry.name.size();
    if (std::from_chars(entry.name.data() + dash + 1, end, epoch).ec == std::errc()) {
      highest = std::max(highest, epoch);
    }
  }
  return std::min(highest, kMaxEpoch - kUnknownEpochJump);
}

}  // namespace

WriterLock::WriterLock(FileSystem& file_system, std::string path, std::unique_ptr<File> file)
    : file_system_(file_system), path_(std::move(path)), file_(std::move(file)) {}

Result<std::unique_ptr<WriterLock>> WriterLock::Acquire(FileSystem& file_system,
                                                        const std::string& vdi_folder,
                                                        const std::string& vdi_name,
                                                        const HostIdentity& self,
                                                        std::chrono::milliseconds wait) {
  const std::string path = StoreLayout::WriterLock(vdi_folder);
  QUOIN_ASSIGN(std::unique_ptr<File> file, WaitForLock(file_system, path, vdi_name, self, wait));
  QUOIN_ASSIGN(const std::optional<LockRecord> last, ReadRecord(*file));
  QUOIN_ASSIGN(const Predecessor predecessor, Judge(last, vdi_name, self));
  if (last->epoch >= kMaxEpoch) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: its epochs are used up", CannotOpen(vdi_name)));
  }
  std::unique_ptr<WriterLock> lock(new WriterLock(file_system, path, std::move(file)));
  lock->record_ = RecordOf(self, last->epoch + 1);
  lock->record_.taking_over = predecessor == Predecessor::kDiedElsewhere;
  lock->predecessor_ = predecessor;
  QUOIN_TRY(WriteRecord(*lock->file_, lock->record_));
  return lock;
}

Result<std::unique_ptr<WriterLock>> WriterLock::Create(FileSystem& file_system,
                                                       const std::string& vdi_folder,
                                                       const HostIdentity& self) {
  const std::string path = StoreLayout::WriterLock(vdi_folder);
  QUOIN_ASSIGN(std::unique_ptr<File> file,
               file_system.Open(path, {Access::kReadWrite, Creation::kExclusive, 0600}));
  QUOIN_ASSIGN(const bool locked, file->TryLock());
  if (!locked) return Fail(ErrorCode::kBusy, fmt::format("another process locked {}", path));
  std::unique_ptr<WriterLock> lock(new WriterLock(file_system, path, std::move(file)));
  lock->record_ = RecordOf(self, 1);
  QUOIN_TRY(WriteRecord(*lock->file_, lock->record_));
  QUOIN_TRY(file_system.SyncDirectory(vdi_folder));
  return lock;
}

Result<LockStatus> WriterLock::Inspect(FileSystem& file_system, const std::string& vdi_folder) {
  QUOIN_ASSIGN(const std::unique_ptr<File> file,
               file_system.Open(StoreLayout::WriterLock(vdi_folder), {}));
  LockStatus status;
  QUOIN_ASSIGN(status.held, file->IsLockedElsewhere());
  QUOIN_ASSIGN(const std::optional<LockRecord> record, ReadRecord(*file));
  status.damaged = !record;
  status.record = record.value_or(LockRecord());
  return status;
}

Status WriterLock::Break(FileSystem& file_system, const std::string& vdi_folder,
                         const std::string& vdi_name, const HostIdentity& self) {
  const std::string path = StoreLayout::WriterLock(vdi_folder);
  std::optional<LockRecord> holder;
  QUOIN_ASSIGN(const std::unique_ptr<File> file, OpenLocked(file_system, path, &holder));
  if (file == nullptr) {
    const std::string refused = fmt::format("cannot break the lock of vdis/{}", vdi_name);
    Failure failure = HeldByAnother(refused, vdi_name, holder, self);
    if (failure.value().code == ErrorCode::kBusy && holder && !holder->clean) {
      failure.value().next =
          "the lock itself is still held, so that process or its host's connection to the storage "
          "is "
          "alive: stop it first";
    }
    return failure;
  }
  QUOIN_ASSIGN(std::optional<LockRecord> record, ReadRecord(*file));
  if (record && record->clean) return {};  // nothing to break
  if (!record) {
    record.emplace();
    QUOIN_ASSIGN(const uint64_t highest, HighestLayerEpoch(file_system, vdi_folder));
    record->epoch = highest + kUnknownEpochJump;
    record->host_name = "unknown";
    record->since_s = NowSeconds();
  }
  record->clean = false;
  record->broken = true;
  return WriteRecord(*file, *record);
}

void WriterLock::FollowFolder(const std::string& vdi_folder) {
  path_ = StoreLayout::WriterLock(vdi_folder);
}

Status WriterLock::Verify() {
  const auto lost = [&](std::string_view why) {
    return Fail(ErrorCode::kLostOwnership, fmt::format("{} is no longer ours: {}", path_, why));
  };
  if (file_ == nullptr) return lost("it was let go");
  const Result<FileFacts> named = file_system_.Facts(path_);
  if (!named && named.error().code == ErrorCode::kNotFound) return lost("it has no name any more");
  if (!named) return Failure(named.error());
  QUOIN_ASSIGN(const FileFacts opened, file_->Facts());
  if (named->identity != opened.identity) return lost("another file has its name");
  QUOIN_ASSIGN(const std::optional<LockRecord> record, ReadRecord(*file_));
  if (!record) return lost("its record is damaged");
  if (record->epoch != record_.epoch || record->session != record_.session || record->broken) {
    return lost(DescribeHolder(*record));
  }
  return {};
}

Status WriterLock::ReleaseClean() {
  QUOIN_TRY(Verify());  // never over another owner's record
  const std::unique_ptr<File> file = std::move(file_);
  LockRecord last = record_;
  last.clean = true;
  last.taking_over = false;
  QUOIN_TRY(WriteRecord(*file, last));
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

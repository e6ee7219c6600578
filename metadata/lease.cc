#include "metadata/lease.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>
#include <utility>

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/block.h"
#include "metadata/session_watch.h"

namespace quoin {
namespace {

constexpr int kBeatsPerLease = 5;
// Another process of this host that sweeps may take a folder that is just being made for a dead one's.
constexpr int kMakeFolderAttempts = 16;

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void RemoveSession(FileSystem& file_system, const std::string& folder) {
  const Result<std::vector<DirectoryEntry>> entries = file_system.List(folder);
  if (!entries) return;
  for (const DirectoryEntry& entry : *entries) {
    const std::string path = folder + "/" + entry.name;
    if (entry.kind == EntryKind::kDirectory) {
      RemoveSession(file_system, path);
    } else {
      (void)file_system.Remove(path);
    }
  }
  (void)file_system.RemoveDirectory(folder);
}

}  // namespace

Lease::Lease(FileSystem& file_system, const StoreLayout& layout, const HostIdentity& self,
             std::chrono::milliseconds duration, std::function<void()> after_lapse,
             MonotonicClock& clock)
    : file_system_(file_system),
      layout_(layout),
      folder_(layout.Session(self.host, self.session)),
      duration_(duration),
      after_lapse_(std::move(after_lapse)),
      clock_(clock) {
  record_.host = self.host;
  record_.host_name = self.host_name;
  record_.boot = self.boot;
  record_.session = self.session;
  record_.pid = self.pid;
  record_.version = self.version;
  record_.since_s = UnixSeconds();
  record_.lease_ms = static_cast<uint32_t>(duration.count());
}

Lease::~Lease() { End(); }

Status Lease::Begin() {
  MutexLock lock(mutex_);
  if (begun_) return {};
  QUOIN_TRY(LookForClones());
  const int64_t begin = Now();
  QUOIN_TRY(OpenFile());
  QUOIN_TRY(Beat());
  valid_until_ns_.store(begin + std::chrono::nanoseconds(duration_).count(),
                        std::memory_order_release);
  begun_ = true;
  ending_ = false;
  thread_ = std::thread([this] { Run(); });
  return {};
}

void Lease::End() {
  {
    MutexLock lock(mutex_);
    if (!begun_) return;
    ending_ = true;
    clock_.NotifyAll(changed_);
  }
  thread_.join();
  RemoveSession(file_system_, folder_);
  file_.reset();
  MutexLock lock(mutex_);
  begun_ = false;
}

// Sessions of this host's id. Of this boot those whose lock is free are dead, and what they left is
// removed; one of another boot whose lock is held runs on another machine.
Status Lease::LookForClones() {
  Result<std::vector<DirectoryEntry>> entries = file_system_.List(layout_.Hosts());
  if (!entries && entries.error().code == ErrorCode::kNotFound) {
    QUOIN_TRY(file_system_.MakeDirectory(layout_.Hosts()));
    return {};
  }
  if (!entries) return Failure(entries.error());
  for (const DirectoryEntry& entry : *entries) {
    if (!entry.name.starts_with(record_.host.ToString())) continue;
    const std::string folder = layout_.Hosts() + "/" + entry.name;
    if (folder == folder_) continue;
    const Result<std::unique_ptr<File>> file =
        file_system_.Open(StoreLayout::Heartbeat(folder), {Access::kReadWrite});
    if (!file && file.error().code != ErrorCode::kNotFound) continue;
    const Result<bool> locked = file ? (*file)->TryLock() : true;
    if (!locked) continue;
    if (*locked) {
      RemoveSession(file_system_, folder);
      continue;
    }
    const Result<std::string> bytes =
        ReadWholeFile(file_system_, StoreLayout::Heartbeat(folder), 2 * kSectorBytes);
    const std::optional<HostRecord> other = bytes ? DecodeHostRecord(*bytes) : std::nullopt;
    if (!other || other->boot == record_.boot) continue;
    return Fail(ErrorCode::kInvalid,
                fmt::format("another machine, {} (pid {}), goes by this host's id", other->host_name,
                            other->pid),
                "if this machine was cloned from it: remove host.id from the state folder (usually "
                "/var/lib/quoin) here");
  }
  return {};
}

Status Lease::OpenFile() {
  const std::string path = StoreLayout::Heartbeat(folder_);
  for (int attempt = 1;; ++attempt) {
    const Status made = file_system_.MakeDirectory(folder_);
    if (!made && made.error().code != ErrorCode::kExists) return made;
    Result<std::unique_ptr<File>> file =
        file_system_.Open(path, {Access::kReadWrite, Creation::kIfMissing, 0600});
    if (file) {
      const Result<bool> locked = (*file)->TryLock();
      const Result<FileFacts> named = file_system_.Facts(path);
      const Result<FileFacts> opened = (*file)->Facts();
      if (locked && *locked && named && opened && named->identity == opened->identity) {
        file_ = std::move(*file);
        return {};
      }
      if (!locked) return Failure(locked.error());
    } else if (file.error().code != ErrorCode::kNotFound) {
      return Failure(file.error());
    }
    if (attempt == kMakeFolderAttempts) {
      return Fail(ErrorCode::kBusy, fmt::format("{} is in use", path));
    }
  }
}

Result<bool> Lease::Beat() {
  ++record_.beat;
  const std::string path = StoreLayout::Heartbeat(folder_);
  bool was_renamed = false;
  if (file_ != nullptr) {
    const Result<FileFacts> named = file_system_.Facts(path);
    if (!named && named.error().code != ErrorCode::kNotFound) return Failure(named.error());
    const Result<FileFacts> opened = file_->Facts();
    was_renamed = !named || !opened || named->identity != opened->identity;
    if (was_renamed) file_.reset();
  }
  if (file_ == nullptr) QUOIN_TRY(OpenFile());
  const std::string bytes = EncodeHostRecord(record_);
  Status written = file_->Write(0, std::as_bytes(std::span(bytes)));
  if (written) written = file_->Sync(SyncKind::kData);
  if (!written) {
    // A storage that has cut us off answers nothing on this descriptor any more.
    file_.reset();
    return Failure(written.error());
  }
  if (was_renamed) {
    const Status removed = file_system_.Remove(StoreLayout::DeadHeartbeat(folder_));
    if (!removed && removed.error().code != ErrorCode::kNotFound) return Failure(removed.error());
  }
  return was_renamed;
}

bool Lease::Sleep(std::chrono::nanoseconds time) {
  const int64_t end = Now() + time.count();
  MutexLock lock(mutex_);
  while (!ending_) {
    const int64_t left = end - Now();
    if (left <= 0) return true;
    clock_.WaitFor(changed_, mutex_, std::chrono::nanoseconds(left));
  }
  return false;
}

void Lease::Run() {
  const int64_t lease = std::chrono::nanoseconds(duration_).count();
  bool lapsed = false;
  bool failing = false;
  while (Sleep(failing ? LeaseMargin(duration_) / 2 : duration_ / kBeatsPerLease)) {
    const int64_t begin = Now();
    const Result<bool> renewed = Beat();
    if (!renewed) {
      if (!std::exchange(failing, true)) {
        spdlog::warn("the heartbeat could not be renewed: {}", renewed.error().what);
      }
      continue;
    }
    failing = false;
    const bool in_time = Now() < valid_until_ns_.load(std::memory_order_relaxed);
    if (in_time && !*renewed && !lapsed) {
      valid_until_ns_.store(begin + lease, std::memory_order_release);
      continue;
    }
    if (!std::exchange(lapsed, true)) {
      spdlog::warn("the heartbeat was renewed too late; what is owned is looked at again");
    }
    valid_until_ns_.store(0, std::memory_order_release);
    lapses_.fetch_add(1, std::memory_order_acq_rel);
    if (!Sleep(LeaseMargin(duration_))) break;
    after_lapse_();
    // If all that took too long, somebody may have seen us silent again.
    if (Now() >= begin + lease) continue;
    lapsed = false;
    MutexLock lock(mutex_);
    valid_until_ns_.store(begin + lease, std::memory_order_release);
    clock_.NotifyAll(changed_);
  }
}

Status Lease::Wait() {
  MutexLock lock(mutex_);
  while (!IsValid()) {
    if (ending_ || !begun_) {
      return Fail(ErrorCode::kLostOwnership,
                  "the storage could not be reached for longer than the lease, and this host must "
                  "suppose that it owns nothing any more");
    }
    clock_.WaitFor(changed_, mutex_, LeaseMargin(duration_));
  }
  return {};
}

Status DeclareDead(FileSystem& file_system, const StoreLayout& layout, const Id& host,
                   const Id& session) {
  const std::string folder = layout.Session(host, session);
  const Status renamed =
      file_system.Rename(StoreLayout::Heartbeat(folder), StoreLayout::DeadHeartbeat(folder));
  if (!renamed && renamed.error().code != ErrorCode::kNotFound) return renamed;
  return {};
}

}  // namespace quoin

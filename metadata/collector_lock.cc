#include "metadata/collector_lock.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <span>
#include <string>

#include "blockstore/base/block.h"
#include "metadata/writer_lock_record.h"

namespace quoin {
namespace {

int64_t NowSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Result<LockRecord> ReadRecord(File& file) {
  std::array<char, kSectorBytes> bytes;
  QUOIN_ASSIGN(const size_t done, file.Read(0, std::as_writable_bytes(std::span(bytes))));
  return DecodeLockRecord({bytes.data(), done}).value_or(LockRecord());
}

}  // namespace

Result<std::unique_ptr<CollectorLock>> CollectorLock::Acquire(FileSystem& file_system,
                                                              const StoreLayout& layout,
                                                              const HostIdentity& self) {
  QUOIN_ASSIGN(
      std::unique_ptr<File> file,
      file_system.Open(layout.CollectorLock(), {Access::kReadWrite, Creation::kIfMissing, 0600}));
  QUOIN_ASSIGN(const bool locked, file->TryLock());
  QUOIN_ASSIGN(LockRecord record, ReadRecord(*file));
  if (!locked) {
    const std::string who = record.host.IsNull() || record.clean
                                ? std::string("another process")
                                : fmt::format("host {} (pid {})", record.host_name, record.pid);
    return Fail(ErrorCode::kBusy, fmt::format("cannot collect garbage: {} is doing so", who),
                "wait until it has finished");
  }
  record.epoch = record.epoch < INT64_MAX ? record.epoch + 1 : 1;  // counts collectors, for people
  record.host = self.host;
  record.host_name = self.host_name;
  record.boot = self.boot;
  record.session = self.session;
  record.pid = self.pid;
  record.since_s = NowSeconds();
  record.clean = false;
  record.broken = false;
  const std::string bytes = EncodeLockRecord(record);
  QUOIN_TRY(file->Write(0, std::as_bytes(std::span(bytes))));
  QUOIN_TRY(file->Truncate(kSectorBytes));
  QUOIN_TRY(file->Sync(SyncKind::kData));
  return std::unique_ptr<CollectorLock>(new CollectorLock(std::move(file)));
}

Result<std::optional<LockRecord>> CollectorLock::Holder(FileSystem& file_system,
                                                        const StoreLayout& layout) {
  const auto file = file_system.Open(layout.CollectorLock(), {});
  if (!file && file.error().code == ErrorCode::kNotFound) return std::optional<LockRecord>();
  if (!file) return Failure(file.error());
  QUOIN_ASSIGN(const bool held, (*file)->IsLockedElsewhere());
  if (!held) return std::optional<LockRecord>();
  QUOIN_ASSIGN(const LockRecord record, ReadRecord(**file));
  return std::optional<LockRecord>(record);
}

}  // namespace quoin

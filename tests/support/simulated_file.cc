#include "tests/support/simulated_file.h"

#include <fmt/format.h>

namespace quoin::simulation {

Result<size_t> SimulatedFile::Read(uint64_t offset, std::span<std::byte> buffer) {
  system_->Observe(Call::kRead, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(Admit(Call::kRead));
  return inode_->content.Read(offset, buffer);
}

namespace {

// No sector is ever half of one write and half of another.
size_t HalfOf(uint64_t offset, size_t size) {
  constexpr uint64_t kSector = 512;
  const uint64_t end = (offset + size / 2) / kSector * kSector;
  return end > offset ? end - offset : 0;
}

}  // namespace

Status SimulatedFile::Write(uint64_t offset, std::span<const std::byte> bytes) {
  system_->Observe(Call::kWrite, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(CheckWritable("write"));
  if (offset > kMaxFileBytes || bytes.size() > kMaxFileBytes - offset) return TooLarge("write");
  const bool running = !Dead() && !system_->faults.stopped();
  if (Status admitted = Admit(Call::kWrite); !admitted) {
    if (running) system_->Write(*inode_, offset, bytes.first(HalfOf(offset, bytes.size())));
    return admitted;
  }
  if (system_->Write(*inode_, offset, bytes) < bytes.size()) {
    return Refuse(ErrorCode::kNoSpace, fmt::format("cannot write {}", path_), "no space left");
  }
  return {};
}

Status SimulatedFile::Sync(SyncKind) {
  system_->Observe(Call::kSync, path_);
  const std::lock_guard lock(system_->mutex);
  const bool running = !Dead() && !system_->faults.stopped();
  if (Status admitted = Admit(Call::kSync); !admitted) {
    if (running && !system_->faults.stopped()) inode_->content.FailSync();
    return admitted;
  }
  inode_->content.Sync();
  return {};
}

Status SimulatedFile::Truncate(uint64_t size_bytes) {
  system_->Observe(Call::kTruncate, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(CheckWritable("set the size of"));
  if (size_bytes > kMaxFileBytes) return TooLarge("set the size of");
  QUOIN_TRY(Admit(Call::kTruncate));
  return system_->Account(*inode_, [size_bytes](SimulatedContent& content) -> Status {
    content.Truncate(size_bytes);
    return {};
  });
}

Status SimulatedFile::PunchHole(uint64_t offset, uint64_t length) {
  system_->Observe(Call::kPunchHole, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(CheckWritable("punch a hole in"));
  if (length == 0) {
    return Refuse(ErrorCode::kInvalid, fmt::format("cannot punch a hole in {}", path_),
                  "the length is 0");
  }
  if (offset > kMaxFileBytes || length > kMaxFileBytes - offset) {
    return TooLarge("punch a hole in");
  }
  QUOIN_TRY(Admit(Call::kPunchHole));
  if (!system_->punching_supported) {
    return Refuse(ErrorCode::kUnsupported, fmt::format("cannot punch a hole in {}", path_),
                  "not supported");
  }
  return system_->Account(*inode_, [offset, length](SimulatedContent& content) -> Status {
    content.PunchHole(offset, length);
    return {};
  });
}

Result<FileFacts> SimulatedFile::Facts() {
  system_->Observe(Call::kFacts, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(Admit(Call::kFacts));
  return inode_->Facts();
}

Result<bool> SimulatedFile::TryLock() {
  system_->Observe(Call::kLock, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(CheckWritable("lock"));
  QUOIN_TRY(Admit(Call::kLock));
  if (inode_->lock_holder == this) return true;
  if (inode_->lock_holder != nullptr || IsSharedElsewhere()) return false;
  inode_->lock_sharers.clear();
  inode_->lock_holder = this;
  return true;
}

Result<bool> SimulatedFile::TryLockShared() {
  system_->Observe(Call::kLock, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(Admit(Call::kLock));
  if (inode_->lock_holder != nullptr && inode_->lock_holder != this) return false;
  inode_->lock_holder = nullptr;
  inode_->lock_sharers.insert(this);
  return true;
}

Status SimulatedFile::Unlock() {
  system_->Observe(Call::kLock, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(Admit(Call::kLock));
  DropLock();
  return {};
}

Result<bool> SimulatedFile::IsLockedElsewhere() {
  system_->Observe(Call::kLock, path_);
  const std::lock_guard lock(system_->mutex);
  QUOIN_TRY(Admit(Call::kLock));
  return (inode_->lock_holder != nullptr && inode_->lock_holder != this) || IsSharedElsewhere();
}

Status SimulatedFile::Admit(Call call) {
  if (Dead()) return Refuse(ErrorCode::kIo, fmt::format("cannot use {}", path_), "crashed");
  return system_->faults.Admit(call, path_);
}

void SimulatedFile::DropLock() {
  if (inode_->lock_holder == this) inode_->lock_holder = nullptr;
  inode_->lock_sharers.erase(this);
}

bool SimulatedFile::IsSharedElsewhere() const {
  return inode_->lock_sharers.size() > inode_->lock_sharers.count(this);
}

Status SimulatedFile::CheckWritable(std::string_view verb) const {
  if (writable_) return {};
  return Refuse(ErrorCode::kIo, fmt::format("cannot {} {}", verb, path_), "opened for reading");
}

Failure SimulatedFile::TooLarge(std::string_view verb) const {
  return Refuse(ErrorCode::kTooLarge, fmt::format("cannot {} {}", verb, path_),
                "a file has at most 16 TiB");
}

}  // namespace quoin::simulation

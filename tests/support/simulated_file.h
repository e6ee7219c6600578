// An open file of SimulatedFileSystem. Dead once the system has started anew: every call answers
// kIo. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "tests/support/simulated_system.h"

namespace quoin::simulation {

class SimulatedFile final : public File {
 public:
  // With the system's mutex held.
  SimulatedFile(std::shared_ptr<SimulatedSystem> system, InodePointer inode, std::string path,
                bool writable)
      : system_(std::move(system)),
        inode_(std::move(inode)),
        path_(std::move(path)),
        writable_(writable),
        start_(system_->start) {
    ++inode_->open_handles;
    ++system_->open_handles;
  }

  ~SimulatedFile() override {
    const std::lock_guard lock(system_->mutex);
    if (start_ != system_->start) return;
    DropLock();
    --inode_->open_handles;
    --system_->open_handles;
    system_->GiveBackIfUnused(*inode_);
  }
  SimulatedFile(const SimulatedFile&) = delete;
  SimulatedFile& operator=(const SimulatedFile&) = delete;

  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override;
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override;
  Status Sync(SyncKind kind) override;
  Status Truncate(uint64_t size_bytes) override;
  Status PunchHole(uint64_t offset, uint64_t length) override;
  Result<FileFacts> Facts() override;
  Result<bool> TryLock() override;
  Result<bool> TryLockShared() override;
  Status Unlock() override;
  Result<bool> IsLockedElsewhere() override;

 private:
  bool Dead() const { return start_ != system_->start; }
  Status Admit(Call call);
  void DropLock();
  bool IsSharedElsewhere() const;
  Status CheckWritable(std::string_view verb) const;
  Failure TooLarge(std::string_view verb) const;

  const std::shared_ptr<SimulatedSystem> system_;
  const InodePointer inode_;
  const std::string path_;
  const bool writable_;
  const uint64_t start_;  // the handle is dead when the system has started anew
};

}  // namespace quoin::simulation

#include "blockstore/base/fenced_file_system.h"

#include <utility>

namespace quoin {
namespace {

class FencedFile final : public File {
 public:
  FencedFile(std::unique_ptr<File> below, Fence& fence) : below_(std::move(below)), fence_(fence) {}

  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override {
    return below_->Read(offset, buffer);
  }
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    QUOIN_TRY(fence_.Admit());
    return below_->Write(offset, bytes);
  }
  void BeginWriteOut(uint64_t offset, uint64_t length) override {
    below_->BeginWriteOut(offset, length);
  }
  // Changes nothing, but whoever hears that it succeeded tells a guest that its data is safe.
  Status Sync(SyncKind kind) override {
    QUOIN_TRY(fence_.Admit());
    return below_->Sync(kind);
  }
  Status Truncate(uint64_t size_bytes) override {
    QUOIN_TRY(fence_.Admit());
    return below_->Truncate(size_bytes);
  }
  Status PunchHole(uint64_t offset, uint64_t length) override {
    QUOIN_TRY(fence_.Admit());
    return below_->PunchHole(offset, length);
  }
  Result<FileFacts> Facts() override { return below_->Facts(); }
  Result<bool> TryLock() override { return below_->TryLock(); }
  Result<bool> TryLockShared() override { return below_->TryLockShared(); }
  Status Unlock() override { return below_->Unlock(); }
  Result<bool> IsLockedElsewhere() override { return below_->IsLockedElsewhere(); }

 private:
  const std::unique_ptr<File> below_;
  Fence& fence_;
};

}  // namespace

Result<std::unique_ptr<File>> FencedFileSystem::Open(const std::string& path,
                                                     OpenOptions options) {
  if (options.creation != Creation::kNever) QUOIN_TRY(fence_.Admit());
  QUOIN_ASSIGN(std::unique_ptr<File> file, below_.Open(path, options));
  if (options.access == Access::kRead) return file;
  return std::make_unique<FencedFile>(std::move(file), fence_);
}

Status FencedFileSystem::Link(const std::string& from, const std::string& to) {
  QUOIN_TRY(fence_.Admit());
  return below_.Link(from, to);
}

Status FencedFileSystem::Rename(const std::string& from, const std::string& to) {
  QUOIN_TRY(fence_.Admit());
  return below_.Rename(from, to);
}

Status FencedFileSystem::Remove(const std::string& path) {
  QUOIN_TRY(fence_.Admit());
  return below_.Remove(path);
}

Status FencedFileSystem::MakeDirectory(const std::string& path, uint32_t mode) {
  QUOIN_TRY(fence_.Admit());
  return below_.MakeDirectory(path, mode);
}

Status FencedFileSystem::RemoveDirectory(const std::string& path) {
  QUOIN_TRY(fence_.Admit());
  return below_.RemoveDirectory(path);
}

Status FencedFileSystem::SyncDirectory(const std::string& path) {
  QUOIN_TRY(fence_.Admit());
  return below_.SyncDirectory(path);
}

}  // namespace quoin

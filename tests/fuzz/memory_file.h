// One file in memory behind the seam, for fuzzers: any path opens it, it can only be read.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "blockstore/base/file_system.h"

namespace quoin {

class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override {
    if (offset >= bytes_.size()) return size_t{0};
    const size_t length = std::min<size_t>(buffer.size(), bytes_.size() - offset);
    std::memcpy(buffer.data(), bytes_.data() + offset, length);
    return length;
  }
  Result<FileFacts> Facts() override {
    FileFacts facts;
    facts.size_bytes = bytes_.size();
    return facts;
  }
  Status Write(uint64_t, std::span<const std::byte>) override { return Refuse(); }
  Status Sync(SyncKind) override { return Refuse(); }
  Status Truncate(uint64_t) override { return Refuse(); }
  Status PunchHole(uint64_t, uint64_t) override { return Refuse(); }
  Result<bool> TryLock() override { return Refuse(); }
  Result<bool> TryLockShared() override { return Refuse(); }
  Status Unlock() override { return Refuse(); }
  Result<bool> IsLockedElsewhere() override { return Refuse(); }

 private:
  static Failure Refuse() { return Fail(ErrorCode::kUnsupported, "it can only be read"); }

  const std::span<const std::byte> bytes_;
};

// `bytes` must outlive it.
class OneFileSystem final : public FileSystem {
 public:
  explicit OneFileSystem(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<std::unique_ptr<File>> Open(const std::string&, OpenOptions) override {
    return std::make_unique<MemoryFile>(bytes_);
  }
  Result<FileFacts> Facts(const std::string&) override { return MemoryFile(bytes_).Facts(); }
  Result<std::vector<DirectoryEntry>> List(const std::string&) override { return Refuse(); }
  Result<SpaceFacts> Space(const std::string&) override { return Refuse(); }
  Status Link(const std::string&, const std::string&) override { return Refuse(); }
  Status Rename(const std::string&, const std::string&) override { return Refuse(); }
  Status Remove(const std::string&) override { return Refuse(); }
  Status MakeDirectory(const std::string&, uint32_t) override { return Refuse(); }
  Status RemoveDirectory(const std::string&) override { return Refuse(); }
  Status SyncDirectory(const std::string&) override { return Refuse(); }

 private:
  static Failure Refuse() { return Fail(ErrorCode::kUnsupported, "it can only be read"); }

  const std::span<const std::byte> bytes_;
};

}  // namespace quoin

// A filesystem that changes nothing unless a Fence admits it. What a process that was stopped, or cut
// off from the storage, and comes back too late can still change is then only what each of its threads
// was already in the midst of: one call of the seam. Reading, locking and closing are never held up.
//
// As thread-safe as what is below. Borrows both, which must outlive it and the files opened through it.
#pragma once

#include "blockstore/base/fence.h"
#include "blockstore/base/file_system.h"

namespace quoin {

class FencedFileSystem final : public FileSystem {
 public:
  FencedFileSystem(FileSystem& below, Fence& fence) : below_(below), fence_(fence) {}

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override;
  Result<FileFacts> Facts(const std::string& path) override { return below_.Facts(path); }
  Result<std::vector<DirectoryEntry>> List(const std::string& path) override {
    return below_.List(path);
  }
  Result<SpaceFacts> Space(const std::string& path) override { return below_.Space(path); }
  Status Link(const std::string& from, const std::string& to) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status MakeDirectory(const std::string& path, uint32_t mode) override;
  Status RemoveDirectory(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;

 private:
  FileSystem& below_;
  Fence& fence_;
};

}  // namespace quoin

// An in-memory filesystem behind the seam, with which a test can stop the machine at any step and
// see what a disk would hold then.
//
// Bytes, sizes and holes are volatile until File::Sync, names until SyncDirectory of their folder;
// a file's bytes and its names do not wait for each other. Renames between folders: syncing the
// folder that the file left makes the new name durable too (a file is never lost), syncing the
// other one may leave both names. A failed Sync drops the pages it was to write, as Linux does:
// they are still read, but a crash loses them even if a later Sync succeeds. Files end at 16 TiB.
//
// Thread-safe, with a plain mutex that takes no part in the ranks: this stands in for system calls.
// Memory is proportional to the pages touched, those of removed files included until their folder
// is synced. The same calls and the same seed give the same result: time is a counter.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "blockstore/base/file_system.h"
#include "tests/support/simulated_faults.h"

namespace quoin {

namespace simulation {
struct SimulatedSystem;  // what open files share with the filesystem
}

enum class CrashMode {
  kLoseAll,      // nothing that was not synced survives
  kRandom,       // any sectors of what was not synced, any first names of each folder survive
  kProcessOnly,  // a killed process: its handles and locks are gone, the system goes on
};

class SimulatedFileSystem final : public FileSystem {
 public:
  // Only "/" exists, durably. Relative paths start there too.
  SimulatedFileSystem();
  ~SimulatedFileSystem() override;

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override;
  Result<FileFacts> Facts(const std::string& path) override;
  Result<std::vector<DirectoryEntry>> List(const std::string& path) override;
  Result<SpaceFacts> Space(const std::string& path) override;
  Status Link(const std::string& from, const std::string& to) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status MakeDirectory(const std::string& path, uint32_t mode = 0700) override;
  Status RemoveDirectory(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;

  // The system stops and starts again. Every open handle answers kIo ("crashed") from here on, no
  // lock is held, and planned faults are forgotten. `seed` matters for kRandom only.
  void Crash(CrashMode mode = CrashMode::kLoseAll, uint64_t seed = 0);

  // The `n`-th step from now (1: the next) fails, and with kCrash and kErrors all that follow. A
  // write that fails has written its first half, in whole sectors. One fault is planned at a time.
  void FailAfter(uint64_t n, FaultMode mode, ErrorCode code = ErrorCode::kIo);
  // The same for calls of one kind, or on some paths, only.
  void Plan(Fault fault);
  void ClearFaults();
  // True once a kCrash fault has struck, until Crash.
  bool stopped() const;

  // Steps (see IsStep) and calls since construction; those after a stop are not counted.
  uint64_t steps() const;
  uint64_t count(Call call) const;

  // Data beyond this many bytes of whole pages is refused with kNoSpace. Unlimited at first.
  void SetCapacity(uint64_t bytes);
  uint64_t used_bytes() const;
  void SetPunchingSupported(bool supported);
  // The clock by which files get their times goes on; they differ by 1,000 ns from call to call otherwise.
  void LetTimePass(std::chrono::nanoseconds time);

  // Handles of this start of the system that are not closed: for tests that look for leaks.
  uint64_t open_handles() const;

  // Called before every call, with no lock held: where a test delays or interleaves. Set before
  // other threads use the filesystem.
  void SetObserver(std::function<void(Call, const std::string& path)> observer);

 private:
  const std::shared_ptr<simulation::SimulatedSystem> system_;
};

}  // namespace quoin

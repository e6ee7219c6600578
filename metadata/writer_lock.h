// The right to change a VDI: an exclusive lock on its writer.lock, held on an open descriptor, and
// a record in that file that says who has (or last had) it.
//
// The record is one 512-byte sector, so that it is never half of one and half of another: a line of
// JSON with a checksum, padded with spaces:
//   {"epoch":7,"host":"..","host_name":"node2","boot":"..","session":"..","pid":4711,
//    "since":<unix seconds>,"clean":false,"check":"<XXH3-64 of the text before this member>"}
// and before "check" "broken":true once Break has declared that owner dead, "taking_over":true from
// when an owner succeeds one of another host until it has let go cleanly. An empty file is a lock
// that nobody ever held (epoch 0, clean).
//
// Order of taking: lock free -> the file still has this name -> record says clean, or its session
// is known dead -> write our record with epoch + 1 and clean=false, fsync -> owner.
//
// Order of letting go: all flushed and published -> record with clean=true, fsync -> unlock. A
// crash anywhere before that leaves clean=false, and the next owner recovers.
//
// Owned by the VDI that is open for writing; not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blockstore/base/file_system.h"
#include "blockstore/base/id.h"
#include "metadata/host.h"

namespace quoin {

struct LockRecord {
  uint64_t epoch = 0;
  Id host;
  std::string host_name;
  std::string boot;
  Id session;
  int64_t pid = 0;
  int64_t since_s = 0;  // Unix time, for people only
  bool clean = true;
  bool broken = false;  // declared dead by `quoin lock break`
  // Its owner came after another host's, whose head it may not have frozen yet.
  bool taking_over = false;
  bool operator==(const LockRecord&) const = default;
};

// What `quoin lock show` tells.
struct LockStatus {
  LockRecord record;
  bool held = false;     // some process holds the lock now
  bool damaged = false;  // the record is rubbish
};

class WriterLock {
 public:
  // How the last owner left the VDI.
  enum class Predecessor {
    kClean,          // nothing to recover
    kDiedHere,       // this host's process died: no one else can still be writing
    kDiedElsewhere,  // another host's: freeze the old head, a stale writer may still exist. Also one
                     // of this host's that died before it had done that.
  };

  // Tries until `wait` has passed, polling. kBusy names the holder ("host node2 has had it open
  // since 10:02 (pid 4711)"); kBusy with the hint `quoin lock break` if another host did not let go
  // cleanly; kCorrupt with the same hint if the record is rubbish. `vdi_name` is for messages.
  static Result<std::unique_ptr<WriterLock>> Acquire(FileSystem& file_system,
                                                     const std::string& vdi_folder,
                                                     const std::string& vdi_name,
                                                     const HostIdentity& self,
                                                     std::chrono::milliseconds wait);

  // For a VDI folder that is just being made: creates the lock file, durably, and takes it. The
  // record's epoch becomes 1.
  static Result<std::unique_ptr<WriterLock>> Create(FileSystem& file_system,
                                                    const std::string& vdi_folder,
                                                    const HostIdentity& self);

  static Result<LockStatus> Inspect(FileSystem& file_system, const std::string& vdi_folder);

  // `quoin lock break`: declares the last owner dead, so that the next Acquire succeeds as
  // kDiedElsewhere (or kDiedHere). kBusy if the lock is held by a living process of this host or
  // by one that the storage still protects: then it cannot be broken from here. Nothing happens if
  // the last owner let go cleanly. A damaged record gets an epoch beyond any that can have been
  // used: the highest in the layers' names plus 2^20.
  static Status Break(FileSystem& file_system, const std::string& vdi_folder,
                      const std::string& vdi_name, const HostIdentity& self);

  uint64_t epoch() const { return record_.epoch; }
  Predecessor predecessor() const { return predecessor_; }
  const LockRecord& record() const { return record_; }

  // The owner renamed the VDI's folder: the lock's file has this name now.
  void FollowFolder(const std::string& vdi_folder);

  // kLostOwnership if the file no longer has its name or holds another record than ours.
  Status Verify();

  // Writes clean=true, durably, and unlocks. kLostOwnership, with nothing written, if Verify fails.
  // Without it, destruction unlocks and leaves clean=false: what a crash does.
  Status ReleaseClean();

 private:
  WriterLock(FileSystem& file_system, std::string path, std::unique_ptr<File> file);

  FileSystem& file_system_;
  std::string path_;
  std::unique_ptr<File> file_;
  LockRecord record_;
  Predecessor predecessor_ = Predecessor::kClean;
};

// "host node2 has had it open since 10:02 (pid 4711)"
std::string DescribeHolder(const LockRecord& record);

}  // namespace quoin

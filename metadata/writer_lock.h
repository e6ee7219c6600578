// The right to change a VDI: an exclusive lock on its writer.lock, held on an open descriptor, and
// a record in that file that says who has (or last had) it.
//
// The record is one sector (sector_record.h):
//   {"epoch":7,"host":"..","host_name":"node2","boot":"..","session":"..","pid":4711,
//    "since":<unix seconds>,"lease_ms":10000,"clean":false,"check":".."}
// and before "check" "broken":true once Break has declared that owner dead, "taking_over":true from
// when an owner succeeds one of another host until it has let go cleanly, with "succeeds", that one's
// session; "keeper":"4711-123456","kept_since":7 for a session that is started again should it die. An
// empty file is a lock that nobody ever held (epoch 0, clean).
//
// Order of taking: lock free -> the file still has this name and is the newest -> record says clean, or
// its session is known dead -> write our record with epoch + 1 and clean=false, fsync -> owner.
//
// Order of letting go: all flushed and published -> record with clean=true, fsync -> unlock. A
// crash anywhere before that leaves clean=false, and the next owner recovers.
//
// Succeeding an owner of another host that did not let go: its heartbeat has been seen unchanged for its
// lease and a margin (session_watch.h) -> our claim is shown -> the margin passes -> the heartbeat is
// still the same, else we withdraw -> the session is declared dead -> owner. Where the lock is free, the
// claim is our record in the file. Where it is not, because the process that holds it is stopped or the
// storage still believes in it, the claim is a newer lock file: writer.lock.1, .2 and so on, made by
// link() with our record in it and our lock on it, so there is one winner. The newest one counts. The old
// one gets a mark behind its record, for those to whom the storage shows an old list of names.
//
// Owned by the VDI that is open for writing. Verify may be called from any thread, everything else by
// one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blockstore/base/file_system.h"
#include "blockstore/base/id.h"
#include "blockstore/base/mutex.h"
#include "metadata/host.h"
#include "metadata/lease.h"
#include "metadata/session_watch.h"
#include "metadata/store_layout.h"

namespace quoin {

struct LockRecord {
  uint64_t epoch = 0;
  Id host;
  std::string host_name;
  std::string boot;
  Id session;
  int64_t pid = 0;
  int64_t since_s = 0;    // Unix time, for people only
  uint32_t lease_ms = 0;  // of its session; 0: not said
  bool clean = true;
  bool broken = false;  // declared dead by `quoin lock break`
  // Its owner came after another host's, whose head it may not have frozen yet.
  bool taking_over = false;
  Id succeeds;  // that other host's session, while it is taken over
  // HostIdentity::keeper, and the epoch since which all owners were sessions of that keeper: what any of
  // them kept in memory when it died is still what the VDI holds.
  std::string keeper;
  uint64_t kept_since = 0;
  bool operator==(const LockRecord&) const = default;
};

// What `quoin lock show` tells.
struct LockStatus {
  LockRecord record;
  bool held = false;     // some process holds the lock now
  bool damaged = false;  // the record is rubbish
};

// What it takes to succeed an owner that died without a word, and to be succeeded.
struct Succession {
  const StoreLayout& layout;
  SessionWatch& watch;
  Lease& lease;  // our own, begun
  // How long to wait for certainty that the owner is dead; it takes its lease and two margins.
  std::chrono::milliseconds wait;
  // Told once who holds the lock, if it is held for longer than a moment; may be empty. Returns at once.
  std::function<void(const LockRecord& holder)> on_held = {};
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

  // Tries until `wait` has passed, polling. An owner of this host that died is waited for like a living one
  // while its keeper is there to start it again, unless that keeper is ours. kBusy names the holder ("host
  // node2 has had it open since 10:02 (pid 4711)"); kBusy with the hint `quoin lock break` if another host
  // did not let go
  // cleanly; kCorrupt with the same hint if the record is rubbish. `vdi_name` is for messages.
  // Without `succession` no owner of another host is succeeded that was not declared dead by Break.
  // `file_system` is the storage itself, not fenced.
  static Result<std::unique_ptr<WriterLock>> Acquire(FileSystem& file_system,
                                                     const std::string& vdi_folder,
                                                     const std::string& vdi_name,
                                                     const HostIdentity& self,
                                                     std::chrono::milliseconds wait,
                                                     const Succession* succession = nullptr);

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
  // The owner before was a session of our keeper too.
  bool continues() const { return record_.kept_since != 0 && record_.kept_since < record_.epoch; }
  // True if the storage itself had let go of the predecessor's lock, and that one had no other to shut out.
  // Storage that fences does so only once nothing of that host arrives any more. False where its lock is
  // held to this day and a newer lock file counts (its process may be stopped, on a host that the storage
  // sees alive), and where not enough is known of it. Of kDiedElsewhere only.
  bool predecessor_lost_lock() const { return predecessor_lost_lock_; }

  // The owner renamed the VDI's folder: the lock's file has this name now.
  void FollowFolder(const std::string& vdi_folder);

  // kLostOwnership if the storage has taken the lock from us, the file no longer has its name, is not the
  // newest, or holds another record than ours.
  Status Verify() const;

  // Writes clean=true, durably, and unlocks. kLostOwnership, with nothing written, if Verify fails.
  // Without it, destruction unlocks and leaves clean=false: what a crash does.
  Status ReleaseClean();

 private:
  class Acquisition;

  WriterLock(FileSystem& file_system, std::string folder, uint64_t number,
             std::shared_ptr<File> file, LockRecord record);

  std::string Path() const QUOIN_REQUIRES(mutex_);

  FileSystem& file_system_;
  const uint64_t number_;  // of the lock file: 0 is writer.lock, 1 writer.lock.1 ...
  const LockRecord record_;
  Predecessor predecessor_ = Predecessor::kClean;
  bool predecessor_lost_lock_ = false;
  Lease* lease_ = nullptr;  // ours; null if nobody may succeed us

  mutable Mutex mutex_{LockRank::kLeaf};  // held only to look at what it guards
  std::string folder_ QUOIN_GUARDED_BY(mutex_);
  std::shared_ptr<File> file_ QUOIN_GUARDED_BY(mutex_);
};

// "host node2 has had it open since 10:02 (pid 4711)"
std::string DescribeHolder(const LockRecord& record);

}  // namespace quoin

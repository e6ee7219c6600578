// This session's right to go on as the owner of whatever it owns: it lasts for a fixed time after each
// renewal of hosts/HOST-SESSION/heartbeat, and whoever has seen that file unchanged for longer may take
// over from us.
//
// Renewed in time, nothing needs to be looked at again: nobody else can have waited long enough. After a
// lapse (the process was stopped, the machine slept, the storage was out of reach) all changes wait; the
// heartbeat is renewed; a margin passes, in which whoever was about to take over sees it and withdraws,
// or has become visible to us; then `after_lapse` holds everything that is owned against the storage,
// and only then changes go on. Whoever takes over does the same the other way round (WriterLock): it
// shows its claim, waits the margin, and looks at the heartbeat again. So one of the two always sees the
// other, and gives way.
//
// A session that was declared dead finds its heartbeat's name gone, which is a lapse too, even if its own
// clock stood still meanwhile (a paused virtual machine).
//
// Cost: one small write, one sync and one look at a name every fifth of the lease, whatever is owned.
// Thread-safe. A crash leaves the folder, which this host's next session removes.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "blockstore/base/fence.h"
#include "blockstore/base/file_system.h"
#include "blockstore/base/monotonic_clock.h"
#include "blockstore/base/mutex.h"
#include "metadata/host.h"
#include "metadata/host_record.h"
#include "metadata/store_layout.h"

namespace quoin {

class Lease final : public Fence {
 public:
  // `file_system` is the storage itself, not fenced. `after_lapse` is called by the lease's own thread,
  // with no lock held.
  Lease(FileSystem& file_system, const StoreLayout& layout, const HostIdentity& self,
        std::chrono::milliseconds duration, std::function<void()> after_lapse,
        MonotonicClock& clock = SystemClock());
  ~Lease() override;
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  // Before anything is owned. Does nothing if it has begun. kInvalid if another machine goes by this
  // host's id.
  Status Begin() QUOIN_EXCLUDES(mutex_);
  // Ends it with all its files, once nothing is owned any more. Changes that wait fail from here on.
  void End() QUOIN_EXCLUDES(mutex_);

  bool IsValid() const {
    const int64_t until = valid_until_ns_.load(std::memory_order_acquire);
    return until == kNotBegun || Now() < until;
  }
  // Returns when changes are allowed. kLostOwnership once the lease has ended in a lapse.
  Status Admit() override { return IsValid() ? Status() : Wait(); }
  // How often it has lapsed. What is owned since before a lapse must be looked at (after_lapse does).
  uint64_t lapses() const { return lapses_.load(std::memory_order_acquire); }
  std::chrono::milliseconds duration() const { return duration_; }
  MonotonicClock& clock() const { return clock_; }

 private:
  static constexpr int64_t kNotBegun = INT64_MAX;
  int64_t Now() const { return clock_.Now().count(); }

  Status Wait() QUOIN_EXCLUDES(mutex_);
  void Run() QUOIN_EXCLUDES(mutex_);
  // Sleeps; false if the lease is to end.
  bool Sleep(std::chrono::nanoseconds time) QUOIN_EXCLUDES(mutex_);
  // Opens and locks the heartbeat's file, making what is missing.
  Status OpenFile();
  // One renewal; true if the file had lost its name, as that of a session that was declared dead.
  Result<bool> Beat();
  Status LookForClones();

  // Constant after construction.
  FileSystem& file_system_;
  const StoreLayout layout_;
  const std::string folder_;
  const std::chrono::milliseconds duration_;
  const std::function<void()> after_lapse_;
  MonotonicClock& clock_;

  std::atomic<int64_t> valid_until_ns_{kNotBegun};
  std::atomic<uint64_t> lapses_{0};

  // Of Begin, then of the thread.
  HostRecord record_;
  std::unique_ptr<File> file_;

  Mutex mutex_{LockRank::kLease};
  Condition changed_;
  bool begun_ QUOIN_GUARDED_BY(mutex_) = false;
  bool ending_ QUOIN_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Declares a session dead: its heartbeat loses its name, so that it notices however late it comes back,
// and so that others need not wait as long as we did. For those who have seen it silent long enough.
Status DeclareDead(FileSystem& file_system, const StoreLayout& layout, const Id& host,
                   const Id& session);

}  // namespace quoin

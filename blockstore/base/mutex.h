// Mutexes that the compiler can check. Clang's -Wthread-safety verifies the annotations; builds
// with QUOIN_DEBUG_CHECKS abort when a thread takes a mutex whose rank is not above the rank of
// every mutex that it already holds. The ranks of the whole program are listed here, once.
#pragma once

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define QUOIN_ANNOTATE(x) __attribute__((x))
#else
#define QUOIN_ANNOTATE(x)
#endif

#define QUOIN_CAPABILITY(name) QUOIN_ANNOTATE(capability(name))
#define QUOIN_SCOPED_CAPABILITY QUOIN_ANNOTATE(scoped_lockable)
#define QUOIN_GUARDED_BY(m) QUOIN_ANNOTATE(guarded_by(m))
#define QUOIN_REQUIRES(...) QUOIN_ANNOTATE(requires_capability(__VA_ARGS__))
#define QUOIN_EXCLUDES(...) QUOIN_ANNOTATE(locks_excluded(__VA_ARGS__))
#define QUOIN_ACQUIRE(...) QUOIN_ANNOTATE(acquire_capability(__VA_ARGS__))
#define QUOIN_RELEASE(...) QUOIN_ANNOTATE(release_capability(__VA_ARGS__))
#define QUOIN_NO_THREAD_SAFETY_ANALYSIS QUOIN_ANNOTATE(no_thread_safety_analysis)

namespace quoin {

// Taken in rising order. A mutex of the same rank is never taken twice by one thread, except
// kVdiState by a snapshot of several VDIs, which takes them in the order of their ids.
enum class LockRank : int {
  kControl = 10,      // tools: the control server's list of connections
  kTree = 20,         // fuse: inodes
  kSealing = 25,      // snapshots: one seal at a time
  kStoreNames = 30,   // snapshots: one change of names at a time
  kStoreTable = 40,   // snapshots: the table of open VDIs
  kVdiLifecycle = 50, // snapshots: becoming owner, letting go
  kVdiFinish = 55,    // snapshots: one finishing of frozen layers at a time
  kVdiState = 60,     // snapshots: structure changes, flush, the VDI's database
  kSealPipeline = 65, // snapshots: regions that are read and hashed ahead
  kVdiData = 70,      // snapshots: data path's rare changes
  kRangeLock = 80,    // blockstore: blocks under change
  kLayerSegments = 85,
  kCopySearch = 86,   // snapshots: one search for copies of damaged blocks at a time
  kKnownDead = 87,    // snapshots: what collectors have declared dead
  kStoreIndex = 88,   // snapshots: opening the index of digests
  kLayerCache = 90,   // snapshots: frozen layers shared by VDIs
  kPackAppend = 91,   // blockstore: one addition to an appender at a time
  kPackWork = 92,     // blockstore: an appender's frames under way
  kPackTable = 93,    // blockstore: the open packs
  kFrameCache = 94,   // blockstore: a shard of the decompressed frames
  kLeaf = 100,        // takes nothing after it
  kLease = 110,       // metadata: waiting at the fence, with whatever held
};

namespace internal {
void CheckRankOnAcquire(LockRank rank);
void CheckRankOnRelease(LockRank rank);
}  // namespace internal

class QUOIN_CAPABILITY("mutex") Mutex {
 public:
  explicit Mutex(LockRank rank) : rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() QUOIN_ACQUIRE() {
#ifdef QUOIN_DEBUG_CHECKS
    internal::CheckRankOnAcquire(rank_);
#endif
    mutex_.lock();
  }
  void unlock() QUOIN_RELEASE() {
    mutex_.unlock();
#ifdef QUOIN_DEBUG_CHECKS
    internal::CheckRankOnRelease(rank_);
#endif
  }

 private:
  std::mutex mutex_;
  [[maybe_unused]] const LockRank rank_;
};

class QUOIN_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) QUOIN_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() QUOIN_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// A condition to wait for with a Mutex held. Wait returns with the mutex held again, perhaps for
// no reason: loop on the condition.
class Condition {
 public:
  void Wait(Mutex& mutex) QUOIN_REQUIRES(mutex) { condition_.wait(mutex); }
  template <typename Duration>
  void WaitFor(Mutex& mutex, Duration duration) QUOIN_REQUIRES(mutex) {
    condition_.wait_for(mutex, duration);
  }
  void NotifyAll() { condition_.notify_all(); }
  void NotifyOne() { condition_.notify_one(); }

 private:
  std::condition_variable_any condition_;
};

}  // namespace quoin

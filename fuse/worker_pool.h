// The threads that take requests from the kernel. Owned by Session.
//
// How many are best depends on what the storage is doing. While the data is in the page cache, two
// workers on two cores are the quickest: each further one is only one more sleeping thread to wake
// (measured: 8 are slower). When reads wait for a disk, two workers are two reads at a time, however
// many the guest has under way. So a few workers take requests, and when one of them had to wait within
// a request while no other was there for the next, one more joins; they leave again when requests are
// quick. (That a request took long is not enough: on a busy machine it may only have waited for a
// processor, and a write for another write to the same file; more workers would make that worse.)
//
// Each worker has buffers of its own: one that a request is read into, placed so that the data of a
// write begins on a page, and one for the data of a read.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "blockstore/base/mutex.h"
#include "fuse/libfuse.h"

namespace quoin {

class WorkerPool {
 public:
  // `base_workers` take requests at all times.
  WorkerPool(fuse_session* session, unsigned base_workers);
  ~WorkerPool();  // Stop
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Start();
  // Until the kernel has no more requests (unmounted), or Interrupt.
  void Wait();
  void Interrupt();
  // False if the kernel has not ended in this time.
  bool WaitUntilEndedFor(std::chrono::milliseconds limit);
  // Ends waiting for requests, and joins the workers when each has finished the one that it has.
  void Stop();

 private:
  struct Worker;

  void Serve(Worker& worker);
  void ServeOne(Worker& worker);
  void Adapt(Worker& worker, bool had_to_wait);
  void AddWorker();
  bool StartWorker() QUOIN_REQUIRES(mutex_);
  bool ShouldRest() const;
  void Rest();
  void MarkEnded();

  fuse_session* const session_;
  const unsigned base_workers_;
  const unsigned max_workers_;
  std::atomic<bool> ended_{false};
  std::atomic<int> waiting_{0};       // workers that wait for a request
  std::atomic<unsigned> active_{0};   // workers that are not resting
  std::atomic<unsigned> target_{0};   // how many should be active
  Mutex mutex_{LockRank::kLeaf};
  Condition wake_;     // for resting workers
  Condition changed_;  // for those who wait for the end
  std::vector<std::unique_ptr<Worker>> workers_ QUOIN_GUARDED_BY(mutex_);
  bool interrupted_ QUOIN_GUARDED_BY(mutex_) = false;
  unsigned resting_ QUOIN_GUARDED_BY(mutex_) = 0;
};

}  // namespace quoin

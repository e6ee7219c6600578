// Threads for requests that may wait: for fsync, for another host to let go of a VDI, for a database,
// for a long copy. The threads that read from the kernel hand such requests over, so that a slow one
// never keeps the reads and writes of other guests waiting.
//
// Several of them (lanes.h), owned by Operations. Jobs run in the order of posting as far as there are threads: one is started
// whenever a job finds none idle, up to the limit; beyond it jobs queue, of which there are never more
// than the kernel has requests under way. A job must not wait for one that may still be queued.
#pragma once

#include <deque>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "blockstore/base/mutex.h"

namespace quoin {

class BlockingLane {
 public:
  explicit BlockingLane(size_t max_threads) : max_threads_(max_threads) {}
  ~BlockingLane() { Stop(); }
  BlockingLane(const BlockingLane&) = delete;
  BlockingLane& operator=(const BlockingLane&) = delete;

  // Runs what is queued and joins the threads. What is posted later runs on the thread that posts.
  void Stop();

  // `work` is called once, on a thread of the lane; it may be movable only.
  template <typename Work>
  void Post(Work work) {
    PostJob(std::make_unique<JobOf<Work>>(std::move(work)));
  }

 private:
  struct Job {
    virtual ~Job() = default;
    virtual void Run() = 0;
  };
  template <typename Work>
  struct JobOf final : Job {
    explicit JobOf(Work its_work) : work(std::move(its_work)) {}
    void Run() override { work(); }
    Work work;
  };

  void PostJob(std::unique_ptr<Job> job);
  void StartThread() QUOIN_REQUIRES(mutex_);  // unless the system has none left
  void RunJobs();
  static void RunGuarded(std::unique_ptr<Job> job);

  const size_t max_threads_;
  Mutex mutex_{LockRank::kLeaf};
  Condition work_;
  std::deque<std::unique_ptr<Job>> queue_ QUOIN_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ QUOIN_GUARDED_BY(mutex_);
  size_t idle_ QUOIN_GUARDED_BY(mutex_) = 0;
  bool stopping_ QUOIN_GUARDED_BY(mutex_) = false;
};

}  // namespace quoin

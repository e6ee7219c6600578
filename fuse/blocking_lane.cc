#include "fuse/blocking_lane.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <exception>
#include <system_error>

namespace quoin {

void BlockingLane::Stop() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  work_.NotifyAll();
  for (std::thread& thread : threads) thread.join();
}

void BlockingLane::PostJob(std::unique_ptr<Job> job) {
  {
    MutexLock lock(mutex_);
    if (!stopping_ && queue_.size() >= idle_ && threads_.size() < max_threads_) StartThread();
    if (!stopping_ && !threads_.empty()) {
      queue_.push_back(std::move(job));
      work_.NotifyOne();
      return;
    }
  }
  RunGuarded(std::move(job));  // stopped, or no thread can be had: late is better than never
}

void BlockingLane::StartThread() {
  try {
    threads_.emplace_back([this] { RunJobs(); });
  } catch (const std::system_error& error) {
    spdlog::warn("cannot start another thread: {}", error.what());
  }
}

void BlockingLane::RunGuarded(std::unique_ptr<Job> job) {
  try {
    job->Run();
  } catch (const std::exception& error) {
    spdlog::error("a request was given up: {}", error.what());
  }
}

void BlockingLane::RunJobs() {
  pthread_setname_np(pthread_self(), "quoin-lane");
  for (;;) {
    std::unique_ptr<Job> job;
    {
      MutexLock lock(mutex_);
      ++idle_;
      while (queue_.empty() && !stopping_) work_.Wait(mutex_);
      --idle_;
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    RunGuarded(std::move(job));
  }
}

}  // namespace quoin

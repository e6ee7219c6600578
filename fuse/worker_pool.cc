#include "fuse/worker_pool.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>

#include "fuse/operations.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kMaxWorkers = 32;
constexpr size_t kPageBytes = 4096;
// libfuse reads up to 1 MiB of data and a page of headers; a write's data comes behind two of them.
constexpr size_t kReceiveBytes = kMaxRequestBytes + kPageBytes;
constexpr size_t kWriteHeaderBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
// A request that took longer than this, and than copying its data would take, was held up: by the
// storage, or only by other programs that wanted the processor. After the first such request a worker
// looks more closely at its next ones, to tell the two apart.
constexpr std::chrono::microseconds kHeldUpAfter{100};
// A write waits for its turn at the file (filesystems below let one write to a file at a time) more often
// than for the storage, and another worker would only wait there too: a fifth fewer first writes a second
// at depth 16 (measured). Longer than this, and it is the storage. (That a write of part of a block waits
// for the rest of it to be read from a quick disk is not noticed.)
constexpr std::chrono::microseconds kWriteHeldUpAfter{2000};
constexpr std::chrono::nanoseconds kCopyPerKibibyte{400};
constexpr unsigned kWatchedRequests = 32;
// So many quick requests of one worker in a row, and there is one worker too many.
constexpr unsigned kQuickRequests = 256;
// Wakes a worker out of read(2). Ignored by default, and of no other use here.
constexpr int kWakeSignal = SIGURG;
constexpr std::chrono::milliseconds kWakeEvery{5};

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::byte, FreeDeleter>;

Buffer NewBuffer(size_t bytes) {
  void* const memory = std::aligned_alloc(kPageBytes, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer(static_cast<std::byte*>(memory));
}

// How often this thread gave up the processor because it had to wait.
long TimesWaited() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

bool IsWrite(const fuse_buf& request) {
  fuse_in_header header;
  if (request.size < sizeof header) return false;
  std::memcpy(&header, request.mem, sizeof header);
  return header.opcode == FUSE_WRITE;
}

void CatchWakeSignal() {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // its being delivered interrupts read(2); no SA_RESTART
  sigaction(kWakeSignal, &action, nullptr);
}

}  // namespace

struct WorkerPool::Worker {
  Buffer received = NewBuffer(kReceiveBytes + kPageBytes);
  Buffer read = NewBuffer(kMaxRequestBytes);
  WorkerBuffer shared;
  unsigned quick_requests = 0;    // in a row
  unsigned watched_requests = 0;  // still to be looked at closely
  std::atomic<bool> has_left{false};
  std::thread thread;
};

WorkerPool::WorkerPool(fuse_session* session, unsigned base_workers)
    : session_(session),
      base_workers_(std::clamp(base_workers, 1U, kMaxWorkers)),
      max_workers_(kMaxWorkers) {}

WorkerPool::~WorkerPool() { Stop(); }

void WorkerPool::Start() {
  CatchWakeSignal();
  target_ = base_workers_;
  MutexLock lock(mutex_);
  for (unsigned i = 0; i < base_workers_; ++i) StartWorker();
}

bool WorkerPool::StartWorker() {
  try {
    auto worker = std::make_unique<Worker>();
    worker->shared.read_buffer = {worker->read.get(), kMaxRequestBytes};
    worker->thread = std::thread([this, raw = worker.get()] { Serve(*raw); });
    workers_.push_back(std::move(worker));
    ++active_;
    return true;
  } catch (const std::exception& error) {  // no memory or no thread: fewer must do
    spdlog::warn("cannot start another worker: {}", error.what());
    return false;
  }
}

void WorkerPool::Serve(Worker& worker) {
  pthread_setname_np(pthread_self(), "quoin-worker");
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, kWakeSignal);
  pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
  CurrentWorkerBuffer() = &worker.shared;
  while (!ended_) {
    ServeOne(worker);
    if (ShouldRest()) Rest();
  }
  worker.has_left = true;
}

void WorkerPool::ServeOne(Worker& worker) {
  fuse_buf request{};
  request.mem = worker.received.get() + kPageBytes - kWriteHeaderBytes;
  waiting_.fetch_add(1, std::memory_order_relaxed);
  const int received = fuse_session_receive_buf(session_, &request);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  if (received == -EINTR || received == -EAGAIN) return;
  if (received <= 0) {  // unmounted, or the connection was aborted
    if (received < 0) spdlog::error("cannot read requests: errno {}", -received);
    return MarkEnded();
  }
  const bool is_write = IsWrite(request);
  worker.shared.moved_bytes = 0;
  const bool is_watched = worker.watched_requests > 0;
  const long waited_before = is_watched ? TimesWaited() : 0;
  const Clock::time_point begin = Clock::now();
  fuse_session_process_buf(session_, &request);
  const Clock::duration held_up =
      Clock::now() - begin - kCopyPerKibibyte * (worker.shared.moved_bytes / 1024);
  if (is_watched) --worker.watched_requests;
  if (held_up <= (is_write ? kWriteHeldUpAfter : kHeldUpAfter)) {
    Adapt(worker, false);
  } else if (!is_watched) {
    worker.watched_requests = kWatchedRequests;
  } else if (TimesWaited() != waited_before) {
    worker.watched_requests = kWatchedRequests;
    Adapt(worker, true);
  }
}

void WorkerPool::Adapt(Worker& worker, bool had_to_wait) {
  if (had_to_wait) {
    worker.quick_requests = 0;
    if (waiting_.load(std::memory_order_relaxed) == 0) AddWorker();
  } else if (++worker.quick_requests >= kQuickRequests) {
    worker.quick_requests = 0;
    unsigned target = target_.load(std::memory_order_relaxed);
    if (target > base_workers_) target_.compare_exchange_strong(target, target - 1);
  }
}

void WorkerPool::AddWorker() {
  unsigned target = target_.load(std::memory_order_relaxed);
  if (target >= max_workers_ || !target_.compare_exchange_strong(target, target + 1)) return;
  MutexLock lock(mutex_);
  if (resting_ > 0) {
    wake_.NotifyOne();
  } else if (active_ < target_ && !ended_) {
    StartWorker();
  }
}

bool WorkerPool::ShouldRest() const {
  return active_.load(std::memory_order_relaxed) > target_.load(std::memory_order_relaxed);
}

void WorkerPool::Rest() {
  MutexLock lock(mutex_);
  if (!ShouldRest() || ended_) return;
  --active_;
  ++resting_;
  while (active_ >= target_ && !ended_) wake_.Wait(mutex_);
  --resting_;
  ++active_;
}

void WorkerPool::MarkEnded() {
  {
    MutexLock lock(mutex_);
    ended_ = true;
  }
  wake_.NotifyAll();
  changed_.NotifyAll();
}

void WorkerPool::Wait() {
  MutexLock lock(mutex_);
  while (!ended_ && !interrupted_) changed_.Wait(mutex_);
}

void WorkerPool::Interrupt() {
  {
    MutexLock lock(mutex_);
    interrupted_ = true;
  }
  changed_.NotifyAll();
}

bool WorkerPool::WaitUntilEndedFor(std::chrono::milliseconds limit) {
  const Clock::time_point deadline = Clock::now() + limit;
  MutexLock lock(mutex_);
  while (!ended_) {
    const auto left = deadline - Clock::now();
    if (left <= left.zero()) return false;
    changed_.WaitFor(mutex_, left);
  }
  return true;
}

void WorkerPool::Stop() {
  MarkEnded();
  std::vector<std::unique_ptr<Worker>> workers;
  {
    MutexLock lock(mutex_);
    workers.swap(workers_);
  }
  for (const std::unique_ptr<Worker>& worker : workers) {
    // The signal may come just before read(2) begins, so it is sent until it has been heard.
    while (!worker->has_left) {
      pthread_kill(worker->thread.native_handle(), kWakeSignal);
      std::this_thread::sleep_for(kWakeEvery);
    }
    worker->thread.join();
  }
}

}  // namespace quoin

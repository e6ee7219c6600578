// Collecting garbage, on demand and in the background, and scrubbing.
#include <spdlog/spdlog.h>

#include "snapshots/background_collector.h"
#include "snapshots/collector.h"
#include "snapshots/scrubber.h"
#include "snapshots/store_shared.h"

namespace quoin {

Result<CollectReport> Store::Collect(const CollectOptions& options) {
  shared_->PublishAll();
  const RemovalEstimate::Seen removed = shared_->environment.removals.Now();
  Collector collector(shared_->environment, options);
  const auto start = std::chrono::steady_clock::now();
  Result<CollectReport> report = collector.Run();
  if (options.dry_run) return report;
  ActivityCounters& activity = shared_->environment.activity;
  if (report) {
    activity.CountCollection(*report, std::chrono::steady_clock::now() - start);
    shared_->environment.removals.Forget(removed);
  } else if (report.error().code != ErrorCode::kBusy) {  // another one at work does it for all
    activity.CountFailedCollection();
  }
  return report;
}

Result<ScrubReport> Store::Scrub(const ScrubOptions& options) {
  Scrubber scrubber(shared_->environment, options);
  return scrubber.Run();
}

BackgroundCollector::BackgroundCollector(Store& store, StoreEnvironment& environment)
    : store_(store), environment_(environment), thread_([this] { Run(); }) {}

BackgroundCollector::~BackgroundCollector() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

// Between half and one and a half times the interval, by chance, so that hosts that were started
// together do not collect together.
std::chrono::milliseconds BackgroundCollector::Pause() {
  const auto interval = std::chrono::duration_cast<std::chrono::milliseconds>(kCollectInterval);
  return interval / 2 +
         std::chrono::milliseconds(Id::Random().Prefix() % static_cast<uint64_t>(interval.count()));
}

// A stat for each pack: a thousandth of what a collection reads.
uint64_t BackgroundCollector::PackBytes() {
  const Result<std::vector<Id>> packs = environment_.packs.List();
  if (!packs) return 0;
  uint64_t bytes = 0;
  for (const Id& pack : *packs) {
    const Result<FileFacts> facts = environment_.file_system.Facts(environment_.packs.PathOf(pack));
    if (facts) bytes += facts->size_bytes;
  }
  return bytes;
}

bool BackgroundCollector::IsDue() {
  const RemovalEstimate::Seen removed = environment_.removals.Now();
  if (removed.removals == 0) return false;
  const Result<SpaceFacts> space = store_.Space();
  return space && IsCollectionDue(removed, PackBytes(), *space, RemovalEstimate::Clock::now());
}

void BackgroundCollector::Run() {
  bool unfinished = false;  // something was declared dead and is to be removed
  while (!stopping_) {
    {
      MutexLock lock(mutex_);
      const auto due = std::chrono::steady_clock::now() + Pause();
      while (!stopping_) {
        const auto left = due - std::chrono::steady_clock::now();
        if (left <= left.zero()) break;
        changed_.WaitFor(mutex_, left);
      }
    }
    if (stopping_ || (!unfinished && !IsDue())) continue;
    CollectOptions options;
    options.stop = &stopping_;
    const Result<CollectReport> collected = store_.Collect(options);
    if (!collected) {
      // Another host that collects does it for all.
      if (collected.error().code != ErrorCode::kBusy) {
        spdlog::warn("garbage is not collected: {}", collected.error().what);
      }
      continue;
    }
    unfinished = collected->waiting_bytes > 0 && collected->packs_without_room == 0;
    if (collected->freed_bytes > 0) {
      spdlog::info("collected garbage: {} packs removed, {} rewritten, {} bytes freed",
                   collected->removed_packs, collected->rewritten_packs, collected->freed_bytes);
    }
  }
}

}  // namespace quoin

#include "snapshots/region_pipeline.h"

#include <sched.h>
#include <sys/resource.h>

#include <cstring>

namespace quoin {
namespace {

bool IsZero(std::span<const std::byte> block) {
  // Nearly every block that is not all zeros shows it in its first bytes.
  uint64_t first = 0;
  std::memcpy(&first, block.data(), sizeof first);
  return first == 0 &&
         std::memcmp(block.data(), block.data() + sizeof first, block.size() - sizeof first) == 0;
}

}  // namespace

void HashRegion(RegionWork& work) {
  work.digests.resize(work.data_blocks);
  for (size_t n = 0; n < work.data_blocks; ++n) {
    const auto block = work.Block(n);
    work.digests[n] = IsZero(block) ? Digest() : DigestOf(block);
  }
}

void GiveWay() {
  const sched_param none{};
  (void)sched_setscheduler(0, SCHED_BATCH, &none);
  (void)setpriority(PRIO_PROCESS, 0, 19);  // of this thread alone, on Linux
}

RegionPipeline::RegionPipeline(RegionSource& source, const Map& base, size_t threads)
    : source_(source), base_(base), max_regions_(threads + 1) {
  for (size_t n = 0; n < threads; ++n) threads_.emplace_back([this] { Run(); });
}

RegionPipeline::~RegionPipeline() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<RegionPipeline::Place> RegionPipeline::Begin() {
  MutexLock lock(mutex_);
  while (places_.size() >= max_regions_ && !ended_ && !stopping_) changed_.Wait(mutex_);
  if (ended_ || stopping_) return nullptr;
  auto place = std::make_shared<Place>();
  place->work = std::make_unique<RegionWork>();
  const Result<bool> found = source_.Next(*place->work, base_);
  if (found && *found) {
    places_.push_back(place);
    return place;
  }
  ended_ = true;
  if (!found) {
    place->error = found.error();
    place->done = true;
    places_.push_back(place);
  }
  changed_.NotifyAll();
  return nullptr;
}

void RegionPipeline::Run() {
  while (const std::shared_ptr<Place> place = Begin()) {
    const Status loaded = source_.Load(*place->work);
    if (loaded) HashRegion(*place->work);
    MutexLock lock(mutex_);
    if (!loaded) {
      place->error = loaded.error();
      ended_ = true;
    }
    place->done = true;
    changed_.NotifyAll();
  }
}

Result<std::unique_ptr<RegionWork>> RegionPipeline::Take() {
  MutexLock lock(mutex_);
  while (places_.empty() ? !ended_ : !places_.front()->done) changed_.Wait(mutex_);
  if (places_.empty()) return std::unique_ptr<RegionWork>();
  const std::shared_ptr<Place> place = std::move(places_.front());
  places_.pop_front();
  changed_.NotifyAll();
  if (place->error) return Failure(*place->error);
  return std::move(place->work);
}

}  // namespace quoin

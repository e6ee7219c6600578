#include "snapshots/frozen_finisher.h"

#include <spdlog/spdlog.h>

#include "snapshots/vdi.h"

namespace quoin {
namespace {

void Finish(Vdi& vdi) {
  if (const Status finished = vdi.FinishFrozen(); !finished) {
    spdlog::warn("vdi {}: frozen layers are not published yet: {}", vdi.id().ToString(),
                 finished.error().what);
  }
}

}  // namespace

FrozenFinisher::FrozenFinisher(bool in_background) : in_background_(in_background) {
  if (in_background) thread_ = std::thread([this] { Run(); });
}

void FrozenFinisher::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void FrozenFinisher::Add(std::weak_ptr<Vdi> vdi) {
  if (!in_background_) {
    if (const std::shared_ptr<Vdi> present = vdi.lock()) Finish(*present);
    return;
  }
  MutexLock lock(mutex_);
  queue_.push_back(std::move(vdi));
  changed_.NotifyAll();
}

void FrozenFinisher::Run() {
  for (;;) {
    std::shared_ptr<Vdi> vdi;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(mutex_);
      if (stopping_) return;
      vdi = queue_.front().lock();
      queue_.pop_front();
    }
    if (vdi != nullptr) Finish(*vdi);
  }
}

}  // namespace quoin

// Letting another host have a VDI that programs here still have open for writing.
//
// They hold both ends of a migration open at once, so neither end's closing says when the right to write is
// to go. With a grant it goes when the other host opens the VDI for writing: what was written is made
// durable and published, the lock is let go, and who has it open here reads on. Their writes are refused
// from then on, until it is certain that nobody has changed anything meanwhile: then the migration has come
// to nothing, and the VDI is taken back for them.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

// Whoever asked for the VDI looks for its lock many times in this.
constexpr std::chrono::seconds kTaking{3};
constexpr std::chrono::milliseconds kLookEvery{20};

}  // namespace

Status Vdi::GrantHandOver(std::chrono::nanoseconds duration) {
  MutexLock lock(lifecycle_mutex_);
  if (writers_ < 2) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot grant a hand-over of {}: nobody has it open for writing", Title()),
                "any host can open it without a grant");
  }
  granted_until_ = environment_.options.clock->Now() + duration;
  return {};
}

// Twice: what takes long is done while writes go on, the rest once they are stopped. If anything fails they
// go on, and the owner stays the owner.
Status Vdi::HandOver() {
  MonotonicClock& clock = *environment_.options.clock;
  MutexLock lock(lifecycle_mutex_);
  if (!is_owner()) return {};
  if (clock.Now() >= granted_until_) {
    return Fail(ErrorCode::kBusy, fmt::format("{} is open for writing, and no hand-over was granted",
                                              Title()));
  }
  QUOIN_TRY(RecordAll());
  handed_over_ = true;  // before anyone is refused, so that they wait for the mutex
  {
    MutexLock state(state_mutex_);
    data_.StopWrites();
  }
  Status ready = RecordAll();
  {
    MutexLock finishing(finish_mutex_);
    MutexLock state(state_mutex_);
    if (ready) ready = MakeReadyToLetGo();
    if (!ready) {
      data_.ResumeWrites();
      handed_over_ = false;
      spdlog::warn("{}: not handed over: {}", Title(), ready.error().what);
      return ready;
    }
    granted_until_ = {};
    if (const Status ended = EndOwning({}); !ended) {
      failed_ = true;
      return ended;
    }
  }
  handed_over_at_ = clock.Now();
  const Result<FileFacts> left = files_.Facts(StoreLayout::Published(folder_));
  left_file_ = left ? left->identity : FileIdentity{};
  left_ctime_ns_ = left ? left->ctime_ns : 0;
  spdlog::info("{}: handed over; who has it open for writing here may read", Title());
  return {};
}

Failure Vdi::WasHandedOver() const {
  return Fail(ErrorCode::kLostOwnership,
              fmt::format("cannot write {}: it was handed over to another host", Title()),
              "close it here; who has it open there goes on");
}

// False if another host has it, or has left anything else than was left to it. The lock is read without
// being taken.
Result<bool> Vdi::IsStillWanted() const {
  QUOIN_ASSIGN(const LockStatus last, WriterLock::Inspect(environment_.storage, folder_));
  if (last.held || last.damaged || !last.record.clean) return false;
  QUOIN_ASSIGN(const FileFacts facts, environment_.storage.Facts(StoreLayout::Published(folder_)));
  return facts.identity == left_file_ && facts.ctime_ns == left_ctime_ns_;
}

Status Vdi::TakeBack() {
  MonotonicClock& clock = *environment_.options.clock;
  while (true) {
    {
      MutexLock lock(lifecycle_mutex_);
      const std::chrono::nanoseconds end = handed_over_at_ + kTaking;
      if (!handed_over_ || clock.Now() >= end) return TakeBackLocked();
      QUOIN_TRY(CheckWritable());
      QUOIN_ASSIGN(const bool still_wanted, IsStillWanted());
      if (!still_wanted) return WasHandedOver();
    }
    clock.SleepFor(kLookEvery);
  }
}

Status Vdi::TakeBackToOpen() {
  const bool may_be_coming = environment_.options.clock->Now() < handed_over_at_ + kTaking;
  Status back = may_be_coming ? Status(WasHandedOver()) : TakeBackLocked();
  if (back || back.error().code != ErrorCode::kLostOwnership) return back;
  return Fail(ErrorCode::kBusy,
              fmt::format("cannot open {} for writing: it was handed over to another host, and who had it "
                          "open before that still has", Title()),
              "close it here first");
}

Status Vdi::TakeBackLocked() {
  if (!handed_over_) return {};
  QUOIN_TRY(CheckWritable());
  QUOIN_ASSIGN(bool still_wanted, IsStillWanted());
  if (!still_wanted) return WasHandedOver();
  QUOIN_TRY(BecomeOwner());
  // Somebody may have come and gone before the lock was ours.
  bool was_clean = false;
  {
    MutexLock state(state_mutex_);
    was_clean = lock_->predecessor() == WriterLock::Predecessor::kClean;
  }
  const Result<FileFacts> facts = files_.Facts(StoreLayout::Published(folder_));
  still_wanted = was_clean && facts && facts->identity == left_file_ &&
                 facts->ctime_ns == left_ctime_ns_;
  if (!still_wanted) {
    QUOIN_TRY(LetGo());
    return WasHandedOver();
  }
  handed_over_ = false;
  spdlog::warn("{}: nobody has taken what was handed over; it is ours again", Title());
  return {};
}

}  // namespace quoin

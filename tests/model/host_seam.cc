#include "tests/model/host_seam.h"

#include <fmt/format.h>

#include <utility>

namespace quoin::model {
namespace {

Failure Unreachable(const std::string& path) {
  return Fail(ErrorCode::kIo, fmt::format("{}: transport endpoint is not connected", path));
}

bool IsOfHeartbeat(const std::string& path) { return path.find("/hosts/") != std::string::npos; }

// Whatever a dead process looks at in hosts/.
FileFacts PretendedFacts() {
  FileFacts facts;
  facts.identity = {1, 1};
  return facts;
}

}  // namespace

class SeamFile final : public File {
 public:
  SeamFile(HostSeam& seam, std::unique_ptr<File> below, std::string path)
      : seam_(seam), below_(std::move(below)), path_(std::move(path)) {
    seam_.files_.insert(this);
  }
  ~SeamFile() override {
    const std::lock_guard lock(seam_.call_mutex_);
    seam_.files_.erase(this);
    below_.reset();
  }
  SeamFile(const SeamFile&) = delete;
  SeamFile& operator=(const SeamFile&) = delete;

  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override {
    return Do<Result<size_t>>(size_t{0}, [&] { return below_->Read(offset, buffer); });
  }
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    return Do<Status>({}, [&] { return below_->Write(offset, bytes); });
  }
  Status Sync(SyncKind kind) override {
    return Do<Status>({}, [&] { return below_->Sync(kind); });
  }
  Status Truncate(uint64_t size_bytes) override {
    return Do<Status>({}, [&] { return below_->Truncate(size_bytes); });
  }
  Status PunchHole(uint64_t offset, uint64_t length) override {
    return Do<Status>({}, [&] { return below_->PunchHole(offset, length); });
  }
  Result<FileFacts> Facts() override {
    return Do<Result<FileFacts>>(PretendedFacts(), [&] { return below_->Facts(); });
  }
  Result<bool> TryLock() override {
    return Do<Result<bool>>(true, [&] { return below_->TryLock(); });
  }
  Result<bool> TryLockShared() override {
    return Do<Result<bool>>(true, [&] { return below_->TryLockShared(); });
  }
  Status Unlock() override {
    return Do<Status>({}, [&] { return below_->Unlock(); });
  }
  Result<bool> IsLockedElsewhere() override {
    return Do<Result<bool>>(false, [&] { return below_->IsLockedElsewhere(); });
  }

 private:
  friend class HostSeam;

  template <typename R, typename Call>
  R Do(R pretended, Call call) {
    return seam_.Run<R>(path_, std::move(pretended), [&]() -> R {
      if (below_ == nullptr) return Unreachable(path_);
      if (expelled_ && seam_.fences_) {
        return Fail(ErrorCode::kLostOwnership,
                    path_ + ": cannot send after transport endpoint shutdown");
      }
      return call();
    });
  }

  HostSeam& seam_;
  std::unique_ptr<File> below_;  // null once the process is dead
  const std::string path_;
  bool expelled_ = false;
};

Reach HostSeam::reach() const {
  const std::lock_guard lock(state_mutex_);
  return reach_;
}

uint64_t HostSeam::calls() const {
  const std::lock_guard lock(state_mutex_);
  return calls_;
}

void HostSeam::Set(Reach reach) {
  {
    const std::lock_guard lock(state_mutex_);
    reach_ = reach;
    plan_.reset();
  }
  if (reach == Reach::kDead) CloseAll();
  time_.SetFrozen(party_, reach == Reach::kStopped);
  if (reach != Reach::kStopped && reach != Reach::kHangs) time_.Unpark(party_);
}

void HostSeam::SetAfter(uint64_t calls, Reach reach, bool lost_answer) {
  const std::lock_guard lock(state_mutex_);
  plan_ = Plan{calls_ + calls, reach, lost_answer};
}

void HostSeam::ForgetPlan() {
  const std::lock_guard lock(state_mutex_);
  plan_.reset();
}

bool HostSeam::TakeStruck() {
  const std::lock_guard lock(state_mutex_);
  return std::exchange(struck_, false);
}

void HostSeam::Expel() {
  const std::lock_guard lock(call_mutex_);
  was_expelled_ = true;
  for (SeamFile* const file : files_) {
    if (file->below_ != nullptr) (void)file->below_->Unlock();
    file->expelled_ = true;
  }
}

void HostSeam::CloseAll() {
  const std::lock_guard lock(call_mutex_);
  for (SeamFile* const file : files_) file->below_.reset();
}

HostSeam::Verdict HostSeam::Admit(const std::string& path) {
  ++party_.progress;
  bool counts = true;
  for (;;) {
    bool go_and_fail = false;
    uint64_t unparked = 0;
    {
      std::unique_lock lock(state_mutex_);
      if (std::exchange(counts, false)) ++calls_;
      if (plan_ && calls_ >= plan_->at_call) {
        const Plan plan = *std::exchange(plan_, std::nullopt);
        reach_ = plan.reach;
        struck_ = true;
        go_and_fail = plan.lost_answer && plan.reach == Reach::kFails;
        if (reach_ == Reach::kDead) CloseAll();
        if (reach_ == Reach::kStopped) time_.SetFrozen(party_, true);
      }
      if (go_and_fail) return Verdict::kGoAndFail;
      switch (reach_) {
        case Reach::kReached: return Verdict::kGo;
        case Reach::kFails: return Verdict::kFail;
        case Reach::kDead: return IsOfHeartbeat(path) ? Verdict::kPretend : Verdict::kFail;
        case Reach::kHangs:
        case Reach::kStopped: break;
      }
      unparked = time_.Unparked(party_);
    }
    time_.Park(party_, unparked);
  }
}

template <typename R, typename Call>
R HostSeam::Run(const std::string& path, R pretended, Call call) {
  const Verdict verdict = Admit(path);
  if (verdict == Verdict::kFail) return Unreachable(path);
  if (verdict == Verdict::kPretend) return pretended;
  const std::lock_guard lock(call_mutex_);
  R result = call();
  if (verdict == Verdict::kGoAndFail) return Unreachable(path);
  return result;
}

Result<std::unique_ptr<File>> HostSeam::Open(const std::string& path, OpenOptions options) {
  const auto made = [&](std::unique_ptr<File> below) -> std::unique_ptr<File> {
    return std::make_unique<SeamFile>(*this, std::move(below), path);
  };
  const Verdict verdict = Admit(path);
  if (verdict == Verdict::kFail) return Unreachable(path);
  const std::lock_guard lock(call_mutex_);
  if (verdict == Verdict::kPretend) return made(nullptr);
  QUOIN_ASSIGN(std::unique_ptr<File> below, below_.Open(path, options));
  if (verdict == Verdict::kGoAndFail) return Unreachable(path);
  return made(std::move(below));
}

Result<FileFacts> HostSeam::Facts(const std::string& path) {
  return Run<Result<FileFacts>>(path, PretendedFacts(), [&] { return below_.Facts(path); });
}

Result<std::vector<DirectoryEntry>> HostSeam::List(const std::string& path) {
  using Entries = std::vector<DirectoryEntry>;
  return Run<Result<Entries>>(path, Entries(), [&] { return below_.List(path); });
}

Result<SpaceFacts> HostSeam::Space(const std::string& path) {
  return Run<Result<SpaceFacts>>(path, SpaceFacts(), [&] { return below_.Space(path); });
}

Status HostSeam::Link(const std::string& from, const std::string& to) {
  return Run<Status>(to, {}, [&] { return below_.Link(from, to); });
}

Status HostSeam::Rename(const std::string& from, const std::string& to) {
  return Run<Status>(to, {}, [&] { return below_.Rename(from, to); });
}

Status HostSeam::Remove(const std::string& path) {
  return Run<Status>(path, {}, [&] { return below_.Remove(path); });
}

Status HostSeam::MakeDirectory(const std::string& path, uint32_t mode) {
  return Run<Status>(path, {}, [&] { return below_.MakeDirectory(path, mode); });
}

Status HostSeam::RemoveDirectory(const std::string& path) {
  return Run<Status>(path, {}, [&] { return below_.RemoveDirectory(path); });
}

Status HostSeam::SyncDirectory(const std::string& path) {
  return Run<Status>(path, {}, [&] { return below_.SyncDirectory(path); });
}

}  // namespace quoin::model

#include "snapshots/sealer.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "metadata/collection_lock.h"
#include "snapshots/region_source.h"
#include "snapshots/root_record.h"
#include "snapshots/seal_pace.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

// After a failure (a full store, a collector) the VDI waits this long for its next turn.
constexpr std::chrono::seconds kRetryAfter{30};
// Where another process owns it: that one seals, unless it is a command, which does not.
constexpr std::chrono::minutes kRetryOwnedAfter{10};
// Seals that found only what a collector then declared dead, in a row.
constexpr int kMaxAttempts = 3;

SealCounts& operator+=(SealCounts& sum, const SealCounts& more) {
  sum.read_blocks += more.read_blocks;
  sum.zero_blocks += more.zero_blocks;
  sum.kept_blocks += more.kept_blocks;
  sum.shared_blocks += more.shared_blocks;
  sum.stored_blocks += more.stored_blocks;
  sum.node_bytes += more.node_bytes;
  return sum;
}

}  // namespace

Sealer::Sealer(Store& store, StoreEnvironment& environment, bool in_background,
               std::chrono::milliseconds delay)
    : store_(store), environment_(environment), delay_(delay) {
  if (in_background) thread_ = std::thread([this] { Run(); });
}

Sealer::~Sealer() {
  {
    MutexLock lock(queue_mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Sealer::NoteUnsealed(const Id& vdi, uint64_t layers) {
  if (layers == 0) {
    unsealed_.erase(vdi);
  } else {
    unsealed_[vdi] = layers;
  }
}

uint64_t Sealer::CountUnsealed() {
  MutexLock lock(queue_mutex_);
  uint64_t layers = 0;
  for (const auto& [vdi, of_vdi] : unsealed_) layers += of_vdi;
  return layers;
}

void Sealer::Consider(const Id& vdi, uint64_t unsealed_layers, bool lacks_record) {
  {
    MutexLock lock(queue_mutex_);
    NoteUnsealed(vdi, unsealed_layers);
  }
  if (!thread_.joinable() || (unsealed_layers == 0 && !lacks_record)) return;
  Clock::time_point due = Clock::now();
  if (unsealed_layers == 0) {
    due += environment_.options.record_delay;
  } else if (unsealed_layers < kMaxSealSteps) {
    due += delay_;
  }
  MutexLock lock(queue_mutex_);
  const auto entry = due_.try_emplace(vdi, due).first;
  entry->second = std::min(entry->second, due);
  changed_.NotifyAll();
}

void Sealer::ConsiderIdle(const Id& vdi, uint64_t head_blocks) {
  if (!thread_.joinable() || head_blocks < kMinIdleBlocks) return;
  MutexLock lock(queue_mutex_);
  idle_[vdi] = Clock::now() + environment_.options.idle_seal_delay;
  changed_.NotifyAll();
}

std::optional<Sealer::Turn> Sealer::NextTurn() {
  MutexLock lock(queue_mutex_);
  const auto is_earlier = [](const auto& a, const auto& b) { return a.second < b.second; };
  while (!stopping_) {
    const auto due = std::min_element(due_.begin(), due_.end(), is_earlier);
    const auto idle = std::min_element(idle_.begin(), idle_.end(), is_earlier);
    const bool is_idle =
        idle != idle_.end() && (due == due_.end() || idle->second < due->second);
    Queue& queue = is_idle ? idle_ : due_;
    const auto next = is_idle ? idle : due;
    if (next == queue.end()) {
      changed_.Wait(queue_mutex_);
      continue;
    }
    const auto left = next->second - Clock::now();
    if (left > left.zero()) {
      changed_.WaitFor(queue_mutex_, left);
      continue;
    }
    const Turn turn{next->first, is_idle};
    queue.erase(next);
    return turn;
  }
  return std::nullopt;
}

void Sealer::Run() {
  GiveWay();  // and with it the threads of every job that it runs, which inherit that
  while (const std::optional<Turn> turn = NextTurn()) SealInTurn(*turn);
}

void Sealer::SealInTurn(const Turn& turn) {
  bool with_head = turn.is_idle;
  // One that a guest has again is not idle; it will be considered when it is let go.
  if (with_head && store_.IsOpenForWriting(turn.vdi)) return;
  bool more = true;
  while (more && !stopping_) {
    MutexLock lock(seal_mutex_);
    const Result<SealCounts> sealed =
        SealOnce(turn.vdi, std::exchange(with_head, false), Mode::kInBackground, nullptr, &more);
    if (sealed) continue;
    if (stopping_ || sealed.error().code == ErrorCode::kNotFound) return;
    const Result<LockStatus> lock_status = store_.InspectLock(turn.vdi);
    const bool is_owned = lock_status && lock_status->held &&
                          lock_status->record.session != environment_.self.session;
    if (!is_owned) {
      spdlog::warn("vdi {}: its snapshots are not sealed yet: {}", turn.vdi.ToString(),
                   sealed.error().what);
    }
    MutexLock queue_lock(queue_mutex_);
    due_.try_emplace(turn.vdi, Clock::now() + (is_owned ? Clock::duration(kRetryOwnedAfter)
                                                        : Clock::duration(kRetryAfter)));
    return;
  }
}

Status Sealer::Rest(Clock::duration duration) {
  const Clock::time_point end = Clock::now() + duration;
  MutexLock lock(queue_mutex_);
  while (!stopping_) {
    const auto left = end - Clock::now();
    if (left <= left.zero()) return {};
    changed_.WaitFor(queue_mutex_, left);
  }
  return Fail(ErrorCode::kBusy, "the store is being closed");
}

std::function<Status(uint64_t)> Sealer::PaceFor(const SealPlan& plan) {
  if (plan.unsealed_layers >= kUrgentUnsealedLayers) return [this](uint64_t) { return Rest({}); };
  const auto pace = std::make_shared<SealPace>(
      [this] { return store_.shared_->CountRequests(); }, Clock::now());
  return [this, pace](uint64_t) {
    const Clock::duration rest = pace->RestAt(Clock::now());
    if (rest > rest.zero()) environment_.activity.CountSealRest();
    return Rest(rest);
  };
}

Result<SealServices> Sealer::Services() {
  QUOIN_ASSIGN(const uint64_t generation, environment_.collection->Generation());
  // Without knowing what is dead a job may only share what it stores itself.
  Result<std::shared_ptr<const DeadList>> dead = environment_.DeadUntil(generation);
  if (!dead) spdlog::warn("nothing is shared with what is stored already: {}", dead.error().what);
  if (dead) environment_.ReconcileIndex();
  return SealServices{environment_.packs,
                      environment_.nodes,
                      dead ? environment_.Index() : nullptr,
                      dead.value_or(nullptr),
                      environment_.compression,
                      environment_.options.seal_threads,
                      [this] { return environment_.layout.NewTemporary(); },
                      [this](uint64_t) -> Status {
                        if (!stopping_) return {};
                        return Fail(ErrorCode::kBusy, "the store is being closed");
                      }};
}

Result<bool> Sealer::IsAlive(const std::map<Id, std::vector<SlotRun>>& found, uint64_t generation) {
  if (found.empty()) return true;
  QUOIN_ASSIGN(const std::shared_ptr<const DeadList> dead, environment_.DeadUntil(generation));
  return !AnyDead(found, *dead);
}

Result<SealCounts> Sealer::SealNow(const Id& vdi, bool with_head, const Progress& progress) {
  MutexLock lock(seal_mutex_);
  SealCounts sum;
  for (bool more = true; more;) {
    QUOIN_ASSIGN(const SealCounts counts,
                 SealOnce(vdi, with_head, Mode::kAtOnce, progress, &more));
    sum += counts;
    with_head = false;
  }
  return sum;
}

Result<SealCounts> Sealer::SealOnce(const Id& vdi, bool with_head, Mode mode,
                                    const Progress& progress, bool* more) {
  *more = false;
  SealPlan plan;
  {
    Result<VdiHandle> opened = store_.OpenVdi(vdi, Access::kReadWrite);
    if (!opened) {
      // Removed, or another host's from now on, which counts for itself.
      MutexLock lock(queue_mutex_);
      NoteUnsealed(vdi, 0);
      return Failure(opened.error());
    }
    VdiHandle handle = std::move(*opened);
    if (with_head) QUOIN_TRY(handle->FreezeHead());
    QUOIN_TRY(handle->FinishFrozen());
    (void)store_.NameOf(vdi);  // for the records: it may have been renamed elsewhere
    QUOIN_ASSIGN(plan, handle->PlanSeal(kMaxSealSteps));
    QUOIN_TRY(handle.Close());
  }
  if (plan.IsEmpty()) return SealCounts{};
  for (int attempt = 1; attempt <= kMaxAttempts; ++attempt) {
    QUOIN_ASSIGN(SealServices services, Services());
    if (mode == Mode::kInBackground) services.pace = PaceFor(plan);
    uint64_t done_blocks = 0;
    if (progress) {
      services.pace = [&, pace = services.pace](uint64_t bytes) -> Status {
        done_blocks += bytes / kBlockBytes;
        progress(done_blocks, plan.data_blocks);
        return pace(bytes);
      };
    }
    SealJob job(std::move(services));
    QUOIN_ASSIGN(const SealedPlan sealed, Work(job, plan));
    QUOIN_ASSIGN(const bool committed, Commit(vdi, job, sealed));
    if (committed) {
      *more = true;
      return job.counts();
    }
  }
  return Fail(ErrorCode::kBusy,
              fmt::format("what VDI {} shares was collected {} times while it was sealed",
                          vdi.ToString(), kMaxAttempts));
}

Result<SealedPlan> Sealer::Work(SealJob& job, const SealPlan& plan) {
  std::map<uint32_t, MapRoot> roots(plan.bases.begin(), plan.bases.end());
  SealedPlan sealed;
  sealed.records = plan.missing_records;
  for (const SealStep& step : plan.steps) {
    if (!sealed.steps.empty() && job.is_full()) break;
    SealedStep done;
    done.top_seq = step.top_seq;
    done.seqs = step.seqs;
    done.base_seq = step.base_seq;
    if (step.base_seq != 0) done.base = roots.at(step.base_seq);
    LayerSource source(step.layers);
    QUOIN_ASSIGN(SealedContent content, job.Add(source, done.base));
    done.root = content.root;
    done.turned_holes = std::move(content.turned_holes);
    roots[step.top_seq] = done.root;
    for (RootRecord record : step.records) {
      record.map = done.root;
      sealed.records.push_back(std::move(record));
    }
    sealed.steps.push_back(std::move(done));
  }
  for (const RootRecord& record : sealed.records) {
    QUOIN_TRY(job.AddRootRecord(EncodeRootRecord(record)));
  }
  return sealed;
}

Result<bool> Sealer::Commit(const Id& vdi, SealJob& job, const SealedPlan& sealed) {
  QUOIN_ASSIGN(const CollectionLock::SharedHold hold,
               environment_.collection->HoldShared(environment_.options.collector_wait));
  QUOIN_ASSIGN(const bool alive, IsAlive(job.found(), hold.generation()));
  if (!alive) return false;
  QUOIN_ASSIGN(const std::vector<PublishedPack> packs, job.Finish());
  QUOIN_ASSIGN(VdiHandle handle, store_.OpenVdi(vdi, Access::kReadWrite));
  const Status committed = handle->CommitSealed(sealed);
  const Status closed = handle.Close();
  QUOIN_TRY(committed);
  environment_.activity.CountSeal(job.counts(), FileBytes(packs));
  QUOIN_TRY(closed);
  return true;
}

}  // namespace quoin

#include "snapshots/collector.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "metadata/collector_lock.h"
#include "snapshots/root_record.h"
#include "snapshots/store_environment.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

// With less than so many times the reserve available, it is freed before anything is written.
constexpr uint64_t kReserveUse = 4;

}  // namespace

Collector::Collector(StoreEnvironment& environment, const CollectOptions& options)
    : environment_(environment),
      options_(options),
      packs_(environment.file_system, environment.layout.Packs(), frames_),
      roots_(environment.file_system, environment.layout) {}

uint64_t Collector::Garbage::DeadBytes() const {
  uint64_t bytes = IsWhole() ? file_bytes - frame_bytes : 0;
  for (const DeadFrame& frame : dead) bytes += frame.bytes;
  return bytes;
}

Status Collector::CheckStopped() const {
  if (options_.stop == nullptr || !options_.stop->load()) return {};
  return Fail(ErrorCode::kBusy, "the store is being closed");
}

Result<CollectReport> Collector::Run() {
  FileSystem& fs = environment_.file_system;
  const StoreLayout& layout = environment_.layout;
  if (!options_.dry_run && options_.reserve_bytes > 0) {
    QUOIN_ASSIGN(const SpaceFacts space, fs.Space(layout.root()));
    if (space.available_bytes / kReserveUse < options_.reserve_bytes) {
      QUOIN_TRY(RemoveReserve(fs, layout));
    }
  }
  std::unique_ptr<CollectorLock> lock;
  if (!options_.dry_run) {
    QUOIN_ASSIGN(lock, CollectorLock::Acquire(fs, layout, environment_.self));
    // Its record has just been written.
    QUOIN_ASSIGN(const FileFacts facts, fs.Facts(layout.CollectorLock()));
    now_ns_ = facts.mtime_ns;
  }
  QUOIN_ASSIGN(CollectReport report, RunAlone());
  if (!options_.dry_run) {
    const Status made = MakeReserve(fs, layout, options_.reserve_bytes);
    if (!made && made.error().code != ErrorCode::kNoSpace) return Failure(made.error());
  }
  return report;
}

Result<CollectReport> Collector::RunAlone() {
  QUOIN_TRY(ListCandidates());
  const Clock::time_point mark_start = Clock::now();
  QUOIN_ASSIGN(const std::vector<StoreRoots::Root> roots, roots_.Read());
  if (!options_.dry_run) QUOIN_TRY(roots_.CheckNames());
  QUOIN_TRY(MarkFrom(roots));
  report_.mark_time = Clock::now() - mark_start;
  QUOIN_TRY(FindGarbage());
  if (!options_.dry_run && !garbage_.empty()) {
    QUOIN_TRY(roots_.MakeDurable());
    QUOIN_TRY(Declare());
    // Our own index hears of it at once, the other hosts when they next seal.
    (void)environment_.DeadUntil(generation_);
  }
  Count();
  if (!options_.dry_run) QUOIN_TRY(Sweep());
  report_.nodes = marks_.nodes();
  report_.blocks = marks_.blocks();
  return report_;
}

// Whoever publishes packs commits references to them before letting go of the lock. So what is
// there while nobody holds it is referred to by now, or is garbage of a crash.
Status Collector::ListCandidates() {
  if (options_.dry_run) {
    QUOIN_ASSIGN(candidates_, packs_.List());
    return {};
  }
  QUOIN_ASSIGN(CollectionLock::ExclusiveHold hold,
               environment_.collection->HoldExclusive(options_.patience));
  const Clock::time_point start = Clock::now();
  QUOIN_ASSIGN(candidates_, environment_.packs.List());
  QUOIN_TRY(hold.Verify());
  report_.hold_time = Clock::now() - start;
  return {};
}

Status Collector::MarkFrom(const std::vector<StoreRoots::Root>& roots) {
  for (const StoreRoots::Root& root : roots) {
    QUOIN_TRY(CheckStopped());
    const Status marked = VisitReachable(packs_, root.map, marks_, &nodes_);
    if (marked) continue;
    return Fail(marked.error().code,
                fmt::format("{}: what it refers to is not known, so nothing is collected: {}",
                            roots_.TitleOf(root.vdi), marked.error().what),
                "quoin check shows what is damaged");
  }
  report_.maps += roots.size();
  return {};
}

Status Collector::FindGarbage() {
  for (const Id& id : candidates_) {
    QUOIN_TRY(CheckStopped());
    QUOIN_TRY(LookInto(id));
  }
  return {};
}

// Past the store's open packs: one look at every pack there is would only push out those in use.
Status Collector::LookInto(const Id& id) {
  const Result<std::shared_ptr<const Pack>> pack =
      Pack::Open(environment_.file_system, id, environment_.packs.PathOf(id));
  if (!pack && pack.error().code == ErrorCode::kNotFound) return {};
  ++report_.packs;
  // What cannot be seen is not thrown away.
  if (!pack || !(*pack)->is_complete()) {
    ++report_.unreadable_packs;
    return {};
  }
  Garbage garbage;
  garbage.pack = id;
  garbage.file_bytes = (*pack)->file_bytes();
  garbage.frames = (*pack)->frames().size();
  for (const FrameEntry& frame : (*pack)->frames()) {
    const auto bytes = static_cast<uint32_t>(kFrameHeaderBytes + frame.stored_bytes());
    garbage.frame_bytes += bytes;
    if (frame.kind() == FrameKindOf(RecordKind::kRoot) && IsLiveRecord(id, frame.first_slot())) {
      marks_.Mark({id, frame.first_slot()});
    }
    const uint32_t live = marks_.CountOf(id, frame.first_slot(), frame.end_slot());
    if (live > 0) {
      report_.unique_blocks += frame.holds_blocks() ? live : 0;
      (frame.holds_blocks() ? report_.block_bytes : report_.record_bytes) += bytes;
      continue;
    }
    garbage.dead.push_back({frame.first_slot(), frame.end_slot(), bytes});
  }
  report_.pack_bytes += garbage.file_bytes;
  report_.garbage_bytes += garbage.DeadBytes();
  if (!garbage.IsWhole()) report_.table_bytes += garbage.file_bytes - garbage.frame_bytes;
  if (IsWorthIt(garbage)) garbage_.push_back(std::move(garbage));
  return {};
}

// A root record lives as long as what it names; one that cannot be read may be any.
bool Collector::IsLiveRecord(const Id& pack, uint32_t slot) {
  const auto bytes = packs_.ReadRecord(RecordKind::kRoot, {pack, slot});
  if (!bytes) return true;
  const Result<RootRecord> record = DecodeRootRecord(**bytes);
  return !record || roots_.IsThere(*record);
}

bool Collector::IsWorthIt(const Garbage& garbage) const {
  if (garbage.IsWhole()) return true;
  uint64_t dead_bytes = 0;
  for (const DeadFrame& frame : garbage.dead) dead_bytes += frame.bytes;
  if (dead_bytes == 0) return false;
  const uint64_t live_bytes = garbage.frame_bytes - dead_bytes;
  return dead_bytes > options_.max_dead_pack_bytes ||
         live_bytes * 100 < garbage.frame_bytes * options_.min_live_percent;
}

void Collector::DropRevived() {
  for (Garbage& garbage : garbage_) {
    std::erase_if(garbage.dead, [&](const DeadFrame& frame) {
      return marks_.AnyOf(garbage.pack, frame.first_slot, frame.end_slot);
    });
  }
  std::erase_if(garbage_, [this](const Garbage& garbage) { return !IsWorthIt(garbage); });
}

void Collector::AddTo(const Garbage& garbage, DeadList& list) {
  if (garbage.IsWhole()) return list.AddPack(garbage.pack);
  std::vector<SlotRun> runs;
  for (const DeadFrame& frame : garbage.dead) {
    runs.push_back({frame.first_slot, frame.end_slot - frame.first_slot});
  }
  list.AddSlots(garbage.pack, runs);
}

bool Collector::Covers(const DeadList& list, const Garbage& garbage) {
  const DeadPack* const known = list.Find(garbage.pack);
  if (known == nullptr) return false;
  if (known->IsWhole()) return true;
  if (garbage.IsWhole()) return false;
  return std::all_of(garbage.dead.begin(), garbage.dead.end(), [&](const DeadFrame& frame) {
    for (uint32_t slot = frame.first_slot; slot < frame.end_slot; ++slot) {
      if (!known->Contains(slot)) return false;
    }
    return true;
  });
}

Collector::Garbage Collector::Removable(const Garbage& garbage) const {
  if (all_removable_) return garbage;
  Garbage removable = garbage;
  const DeadPack* const known = old_.Find(garbage.pack);
  std::erase_if(removable.dead, [&](const DeadFrame& frame) {
    if (known == nullptr) return true;
    for (uint32_t slot = frame.first_slot; slot < frame.end_slot; ++slot) {
      if (!known->Contains(slot)) return true;
    }
    return false;
  });
  return removable;
}

// Under the exclusive lock, in which no host refers to anything new: what has been referred to
// since the marking is marked, and all garbage that is left is declared dead. A list of this run
// names whatever this run may remove, so it is known as long as that takes, whatever becomes of
// older lists.
Status Collector::Declare() {
  QUOIN_ASSIGN(CollectionLock::ExclusiveHold hold,
               environment_.collection->HoldExclusive(options_.patience));
  const Clock::time_point start = Clock::now();
  QUOIN_ASSIGN(const std::vector<StoreRoots::Root> roots, roots_.Read());
  QUOIN_TRY(MarkFrom(roots));
  DropRevived();
  QUOIN_TRY(roots_.MakeDurable());
  const auto grace_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(options_.grace).count();
  all_removable_ = grace_ns <= 0;
  // A list that is damaged says nothing of what may be removed; what it said is declared again.
  const Result<DeadList> known = environment_.collection->KnownDead();
  if (known && !all_removable_) {
    QUOIN_ASSIGN(old_, environment_.collection->KnownDead(now_ns_ - grace_ns));
  }
  DeadList dead;
  for (const Garbage& garbage : garbage_) {
    const Garbage removable = Removable(garbage);
    if (IsWorthIt(removable) || !known || !Covers(*known, garbage)) AddTo(garbage, dead);
  }
  if (!dead.packs().empty()) {
    Result<uint64_t> advanced = hold.Advance(dead);
    if (!advanced && advanced.error().code == ErrorCode::kNoSpace) {
      QUOIN_ASSIGN(const bool freed, RemoveReserve(environment_.file_system, environment_.layout));
      if (freed) advanced = hold.Advance(dead);
    }
    if (!advanced) return Failure(advanced.error());
  }
  for (const Id& vdi : roots_.LostPins()) {
    (void)environment_.file_system.Remove(environment_.layout.Pin(vdi));
  }
  if (const Result<uint64_t> removed = hold.RemoveOldLists(now_ns_); !removed) {
    spdlog::warn("old lists in gc/dead stay for now: {}", removed.error().what);
  }
  generation_ = hold.generation();
  report_.hold_time += Clock::now() - start;
  return {};
}

void Collector::Count() {
  report_.vdis = roots_.vdis().size();
  for (const Garbage& garbage : garbage_) {
    if (garbage.IsWhole()) {
      ++report_.dead_packs;
      report_.dead_pack_bytes += garbage.file_bytes;
    } else {
      ++report_.sparse_packs;
      report_.sparse_pack_dead_bytes += garbage.DeadBytes();
    }
  }
}

// Whole packs first: that needs no space, and makes some for the others.
Status Collector::Sweep() {
  for (const Garbage& garbage : garbage_) {
    QUOIN_TRY(CheckStopped());
    if (!garbage.IsWhole()) continue;
    if (!Removable(garbage).IsWhole()) {
      report_.waiting_bytes += garbage.file_bytes;
      continue;
    }
    const Status removed = environment_.packs.Remove(garbage.pack);
    if (!removed && removed.error().code == ErrorCode::kNotFound) continue;
    QUOIN_TRY(removed);
    ++report_.removed_packs;
    report_.freed_bytes += garbage.file_bytes;
  }
  for (const Garbage& garbage : garbage_) {
    QUOIN_TRY(CheckStopped());
    if (garbage.IsWhole()) continue;
    const Garbage removable = Removable(garbage);
    if (!IsWorthIt(removable)) {
      report_.waiting_bytes += garbage.DeadBytes();
      continue;
    }
    DeadList list;
    AddTo(removable, list);
    const DeadPack& dead = list.packs().front();
    const Result<PackStore::Rewritten> rewritten = environment_.packs.Rewrite(
        garbage.pack, [&dead](uint32_t slot) { return !dead.Contains(slot); },
        environment_.layout.NewTemporary());
    if (!rewritten && rewritten.error().code == ErrorCode::kNoSpace) {
      ++report_.packs_without_room;
      report_.waiting_bytes += removable.DeadBytes();
      continue;
    }
    if (!rewritten) {
      spdlog::warn("a pack stays as it is: {}", rewritten.error().what);
      continue;
    }
    ++report_.rewritten_packs;
    report_.freed_bytes += rewritten->bytes_before - rewritten->bytes_after;
  }
  return {};
}

}  // namespace quoin

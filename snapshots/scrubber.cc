#include "snapshots/scrubber.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <thread>

#include "metadata/collector_lock.h"
#include "snapshots/store_environment.h"

namespace quoin {
namespace {

// Between two calls of the progress function.
constexpr uint64_t kProgressBytes = uint64_t{16} << 20;
constexpr size_t kMaxRanges = 100'000;

void AddSlot(std::vector<SlotRun>& runs, uint32_t slot, uint32_t count = 1) {
  if (!runs.empty() && runs.back().first + runs.back().count == slot) {
    runs.back().count += count;
  } else {
    runs.push_back({slot, count});
  }
}

// Calls call(first, count, is_inside) for the parts of [first, first + count) inside and outside of
// the runs.
template <typename Call>
void Split(const std::vector<SlotRun>& runs, uint32_t first, uint32_t count, Call call) {
  const uint64_t end = uint64_t{first} + count;
  auto run = std::partition_point(runs.begin(), runs.end(), [first](const SlotRun& r) {
    return uint64_t{r.first} + r.count <= first;
  });
  uint64_t at = first;
  while (at < end) {
    const bool is_inside = run != runs.end() && run->first <= at;
    uint64_t next = end;
    if (run != runs.end()) {
      next = std::min(end, is_inside ? uint64_t{run->first} + run->count : uint64_t{run->first});
    }
    call(static_cast<uint32_t>(at), static_cast<uint32_t>(next - at), is_inside);
    if (is_inside) ++run;
    at = next;
  }
}

bool Contains(const std::vector<SlotRun>& runs, uint32_t first, uint32_t count) {
  bool all = true;
  Split(runs, first, count, [&](uint32_t, uint32_t, bool is_inside) { all &= is_inside; });
  return all;
}

// Marks what is reached, as far as that can be read.
class Marking final : public PlaceVisitor {
 public:
  explicit Marking(PackMarks& marks) : marks_(marks) {}
  bool EnterNode(const SlotLocation& at) override { return marks_.VisitNode(at).value_or(false); }
  void VisitBase(const SlotLocation& at) override { (void)marks_.VisitBase(at); }
  void LeaveNode(const SlotLocation&) override {}
  void VisitExtent(uint64_t, const SlotLocation& slot, uint64_t count) override {
    (void)marks_.VisitExtent(slot, count);  // one that no pack can have is found by the attribution
  }
  void VisitDamage(uint64_t, uint64_t, const SlotLocation&, const Error&) override {}

 private:
  PackMarks& marks_;
};

// The map at the bottom of the layers from `top` on down.
MapRoot MapUnder(const VdiState& state, uint32_t top) {
  for (size_t steps = 0; top != 0 && steps <= state.layers.size(); ++steps) {
    const auto layer = std::find_if(state.layers.begin(), state.layers.end(),
                                    [top](const LayerRecord& l) { return l.seq == top; });
    if (layer == state.layers.end()) break;
    if (layer->state == LayerState::kSealed) return layer->map;
    top = layer->parent_seq;
  }
  return {};
}

}  // namespace

Scrubber::Scrubber(StoreEnvironment& environment, const ScrubOptions& options)
    : environment_(environment),
      options_(options),
      packs_(environment.file_system, environment.layout.Packs(), frames_),
      roots_(environment.file_system, environment.layout) {}

Status Scrubber::CheckStopped() const {
  if (options_.stop == nullptr || !options_.stop->load()) return {};
  return Fail(ErrorCode::kBusy, "the store is being closed");
}

Result<ScrubReport> Scrubber::Run() {
  QUOIN_TRY(ChooseUnits());
  QUOIN_TRY(ChoosePacks());
  QUOIN_TRY(VerifyAll());
  if (!options_.dry_run) QUOIN_TRY(Mend());
  ReportPacks();
  Attribute();
  return std::move(report_);
}

Status Scrubber::ChooseUnits() {
  if (const Result<std::vector<StoreRoots::Root>> roots = roots_.Read(); !roots) {
    if (!IsWhole() && roots_.vdis().count(options_.vdi) == 0) return Failure(roots.error());
    report_.notes.push_back(
        fmt::format("not all that damage may show in is known: {}", roots.error().what));
  }
  for (const auto& [id, vdi] : roots_.vdis()) {
    if (!vdi.in_place || (!IsWhole() && id != options_.vdi)) continue;
    const VdiState& state = vdi.state;
    if (options_.snapshot.IsNull()) {
      units_.push_back({id, "", MapUnder(state, state.vdi.head_seq), state.vdi.size_bytes});
    }
    for (const SnapshotRecord& snapshot : state.snapshots) {
      if (!options_.snapshot.IsNull() && snapshot.id != options_.snapshot) continue;
      units_.push_back(
          {id, snapshot.name, MapUnder(state, snapshot.layer_seq), snapshot.size_bytes});
    }
    report_.unsealed_layers += static_cast<uint64_t>(
        std::count_if(state.layers.begin(), state.layers.end(),
                      [](const LayerRecord& l) { return l.state == LayerState::kFrozen; }));
  }
  if (!IsWhole() && units_.empty()) {
    return Fail(ErrorCode::kNotFound, options_.snapshot.IsNull()
                                          ? "the VDI is not there"
                                          : "the snapshot is not there or not published yet");
  }
  return {};
}

Status Scrubber::ChoosePacks() {
  if (!IsWhole()) {
    Marking marking(marks_);
    for (const Unit& unit : units_) {
      QUOIN_TRY(CheckStopped());
      VisitPlaces(packs_, unit.map, marking);
    }
  }
  QUOIN_ASSIGN(const std::vector<Id> present, packs_.List());
  for (const Id& id : present) {
    if (!IsWhole() && !marks_.Knows(id)) continue;
    const Result<FileFacts> facts = environment_.file_system.Facts(packs_.PathOf(id));
    if (!facts && facts.error().code == ErrorCode::kNotFound) continue;  // collected meanwhile
    chosen_.emplace_back(id, facts ? facts->size_bytes : 0);
    all_bytes_ += chosen_.back().second;
  }
  return {};
}

void Scrubber::CountDone(uint64_t bytes) {
  MutexLock lock(mutex_);
  const uint64_t before = done_bytes_;
  done_bytes_ += bytes;
  const bool is_due = before / kProgressBytes != done_bytes_ / kProgressBytes;
  if (options_.progress && is_due) options_.progress(std::min(done_bytes_, all_bytes_), all_bytes_);
}

Status Scrubber::VerifyAll() {
  std::atomic<size_t> next{0};
  Status failed;  // the first error, which ends them all
  const auto work = [&] {
    for (size_t i = next++; i < chosen_.size(); i = next++) {
      Result<PackState> state = Verify(chosen_[i].first);
      MutexLock lock(mutex_);
      if (state) {
        before_.emplace(chosen_[i].first, std::move(*state));
      } else if (state.error().code != ErrorCode::kNotFound) {
        if (failed) failed = Failure(state.error());
        next = chosen_.size();
      }
    }
  };
  std::vector<std::thread> helpers;
  for (size_t n = 1; n < std::min(options_.threads, chosen_.size()); ++n) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  return failed;
}

// kNotFound if it has been collected meanwhile; other errors are the scrub's.
Result<Scrubber::PackState> Scrubber::Verify(const Id& id) {
  PackState state;
  const Result<std::shared_ptr<const Pack>> opened =
      Pack::Open(environment_.file_system, id, packs_.PathOf(id));
  if (!opened) {
    if (opened.error().code == ErrorCode::kNotFound) return Failure(opened.error());
    state.why = opened.error().what;
    return state;
  }
  const Pack& pack = **opened;
  state.is_readable = true;
  state.is_complete = pack.is_complete();
  QUOIN_ASSIGN(const bool digests_are_right, pack.AreDigestsRight());
  state.tables_are_right = pack.is_intact() && digests_are_right;
  for (const FrameEntry& frame : pack.frames()) {
    if (frame.holds_blocks()) AddSlot(state.blocks, frame.first_slot(), frame.slots());
  }
  state.bytes = pack.file_bytes();
  QUOIN_TRY(VerifyFrames(pack, state));
  return state;
}

Status Scrubber::VerifyFrames(const Pack& pack, PackState& state) {
  QUOIN_ASSIGN(const std::shared_ptr<const SlotDigests> digests, pack.Digests());
  std::vector<std::byte> buffer(kMaxRecordBytes);
  for (size_t i = 0; i < pack.frames().size(); ++i) {
    const FrameEntry& frame = pack.frames()[i];
    if (!IsWhole() && !marks_.AnyOf(pack.id(), frame.first_slot(), frame.end_slot())) continue;
    QUOIN_TRY(CheckStopped());
    if (const Result<bool> header = pack.IsFrameHeaderRight(i); !header.value_or(false)) {
      state.tables_are_right = false;
    }
    const Result<SlotMask> verified =
        pack.VerifyFrame(i, *digests, std::span(buffer).first(frame.raw_bytes()));
    // What the disk cannot read is as damaged as what it reads wrong.
    SlotMask damaged = verified.value_or((SlotMask{1} << frame.slots()) - 1);
    ++state.frames;
    for (; damaged != 0; damaged &= damaged - 1) {
      const auto index = static_cast<uint32_t>(std::countr_zero(damaged));
      const SlotLocation at{pack.id(), frame.first_slot() + index};
      if (!IsWhole() && !marks_.AnyOf(at.pack, at.slot, at.slot + 1)) continue;
      AddSlot(frame.holds_blocks() ? state.damaged_blocks : state.damaged_records, at.slot);
      if (frame.holds_blocks()) state.lost.emplace_back(digests->OfFrame(i)[index], at);
    }
    if (frame.holds_blocks()) state.verified_blocks += frame.slots();
    CountDone(kFrameHeaderBytes + frame.stored_bytes());
  }
  return {};
}

// ------------------------------------------------------------------------------- mending

Status Scrubber::Mend() {
  std::vector<std::pair<Digest, SlotLocation>> lost;
  std::vector<Id> damaged;
  for (const auto& [id, state] : before_) {
    // What has lost frames is left as it is: they may be found by better means than ours.
    if (!state.IsDamaged() || !state.is_readable || !state.is_complete) continue;
    damaged.push_back(id);
    lost.insert(lost.end(), state.lost.begin(), state.lost.end());
  }
  if (damaged.empty()) return {};
  Result<std::unique_ptr<CollectorLock>> lock = CollectorLock::Acquire(
      environment_.file_system, environment_.layout, environment_.self);
  if (!lock) {
    report_.notes.push_back(fmt::format("nothing is mended: {}", lock.error().what));
    return {};
  }
  if (!lost.empty()) environment_.copies.SearchAll(lost);
  for (const Id& id : damaged) {
    QUOIN_TRY(CheckStopped());
    const Status mended = MendPack(id);
    if (mended) continue;
    report_.notes.push_back(
        fmt::format("pack {} is not mended: {}", id.ToString(), mended.error().what));
  }
  return {};
}

Status Scrubber::MendPack(const Id& id) {
  QUOIN_ASSIGN(const PackStore::Rewritten mended,
               environment_.packs.Mend(id, environment_.layout.NewTemporary()));
  if (!mended.written) return {};
  spdlog::info("pack {} is mended: {} frames were read from copies elsewhere", id.ToString(),
               mended.frames_mended);
  QUOIN_ASSIGN(PackState state, Verify(id));
  after_.emplace(id, std::move(state));
  return {};
}

// ------------------------------------------------------------------------------- what to say

void Scrubber::ReportPacks() {
  for (const auto& [id, state] : before_) {
    const auto mended = after_.find(id);
    const PackState& now = mended == after_.end() ? state : mended->second;
    ++report_.packs;
    report_.bytes += state.bytes;
    report_.frames += state.frames;
    report_.blocks += state.verified_blocks;
    if (!state.is_readable) {
      report_.damaged_packs.push_back({id, state.why, false});
    } else if (!state.is_complete) {
      report_.damaged_packs.push_back(
          {id, "its table is damaged and not all of its frames were found", false});
    } else if (!state.tables_are_right) {
      report_.damaged_packs.push_back({id, "its tables or headers are damaged", now.tables_are_right});
    }
    const auto add = [&, &pack = id](const std::vector<SlotRun>& found,
                                     const std::vector<SlotRun>& left,
                                     bool are_records) {
      for (const SlotRun& run : found) {
        Split(left, run.first, run.count, [&](uint32_t first, uint32_t count, bool is_left) {
          report_.slots.push_back({pack, first, count, are_records, !is_left});
        });
      }
    };
    add(state.damaged_blocks, now.damaged_blocks, false);
    add(state.damaged_records, now.damaged_records, true);
  }
}

// Walks the units' maps for what is damaged. A node under which nothing is is not looked at again,
// however many maps share it.
class Scrubber::Attribution final : public PlaceVisitor {
 public:
  explicit Attribution(Scrubber& scrubber) : scrubber_(scrubber) {}

  void Walk(const Unit& unit) {
    unit_ = &unit;
    VisitPlaces(scrubber_.packs_, unit.map, *this);
  }
  const std::set<Id>& missing() const { return missing_; }

  bool EnterNode(const SlotLocation& at) override {
    if (clean_.count(at) > 0) return false;
    found_at_entry_.push_back(found_);
    return true;
  }
  // A node that is built on what cannot be read is itself damage; one that could be read is not harmed
  // by what else is built on the same.
  void VisitBase(const SlotLocation&) override {}
  void LeaveNode(const SlotLocation& at) override {
    if (found_at_entry_.back() == found_) clean_.insert(at);
    found_at_entry_.pop_back();
  }
  void VisitExtent(uint64_t first, const SlotLocation& slot, uint64_t count) override {
    const auto known = scrubber_.before_.find(slot.pack);
    const auto slots = static_cast<uint32_t>(count);  // of one region
    if (known == scrubber_.before_.end() || !known->second.is_readable) {
      if (known == scrubber_.before_.end() && !IsThere(slot.pack)) missing_.insert(slot.pack);
      if (known != scrubber_.before_.end() || missing_.count(slot.pack) > 0) Add(first, count, false);
      return;
    }
    const PackState& before = known->second;
    const auto mended = scrubber_.after_.find(slot.pack);
    const PackState& now = mended == scrubber_.after_.end() ? before : mended->second;
    const auto at = [&](uint32_t of_slot) { return first + (of_slot - slot.slot); };
    Split(before.blocks, slot.slot, slots, [&](uint32_t s, uint32_t n, bool is_held) {
      if (!is_held) Add(at(s), n, Contains(now.blocks, s, n));
    });
    Split(before.damaged_blocks, slot.slot, slots, [&](uint32_t s, uint32_t n, bool is_damaged) {
      if (!is_damaged) return;
      Split(now.damaged_blocks, s, n,
            [&](uint32_t left, uint32_t m, bool is_left) { Add(at(left), m, !is_left); });
    });
  }
  void VisitDamage(uint64_t first, uint64_t count, const SlotLocation&, const Error&) override {
    Add(first, count, false);
  }

 private:
  // A pack that a sealer has published, or a collector replaced, since the packs were listed.
  bool IsThere(const Id& pack) {
    const Result<bool> exists =
        PathExists(scrubber_.environment_.file_system, scrubber_.packs_.PathOf(pack));
    return !exists || *exists;
  }

  void Add(uint64_t first, uint64_t count, bool is_mended) {
    ++found_;
    const uint64_t offset = first * kBlockBytes;
    if (offset >= unit_->size_bytes) return;
    const uint64_t length = std::min(count * kBlockBytes, unit_->size_bytes - offset);
    std::vector<DamagedRange>& ranges = scrubber_.report_.ranges;
    if (!ranges.empty()) {
      DamagedRange& last = ranges.back();
      if (last.vdi == unit_->vdi && last.snapshot == unit_->snapshot &&
          last.is_mended == is_mended && last.offset_bytes + last.length_bytes == offset) {
        last.length_bytes += length;
        return;
      }
    }
    if (ranges.size() < kMaxRanges) {
      ranges.push_back({unit_->vdi, unit_->snapshot, offset, length, is_mended});
    }
  }

  Scrubber& scrubber_;
  const Unit* unit_ = nullptr;
  std::set<SlotLocation> clean_;
  std::vector<uint64_t> found_at_entry_;
  uint64_t found_ = 0;
  std::set<Id> missing_;
};

void Scrubber::Attribute() {
  Attribution attribution(*this);
  for (const Unit& unit : units_) attribution.Walk(unit);
  for (const Id& id : attribution.missing()) {
    report_.damaged_packs.push_back({id, "it is missing, and referred to", false});
  }
  if (report_.ranges.size() >= kMaxRanges) {
    report_.notes.push_back(fmt::format("only the first {} damaged ranges are listed", kMaxRanges));
  }
  if (options_.progress) options_.progress(all_bytes_, all_bytes_);
}

}  // namespace quoin

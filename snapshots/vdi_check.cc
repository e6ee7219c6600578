#include "snapshots/vdi_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "metadata/published.h"
#include "snapshots/layer_cache.h"

namespace quoin {
namespace {

constexpr int kAttempts = 5;  // at a VDI that changes while it is looked at
constexpr size_t kCopyPieceBytes = 1 << 20;
constexpr const char* kCopyName = "vdi.db";
constexpr std::string_view kWalSuffix = "-wal";
constexpr std::string_view kHeadOwnershipMark = ".owned-";
constexpr const char* kRestoreNext = "restore the VDI from a backup, or remove it";

// Copies a file from one filesystem to another, as far as it is there.
Status CopyFile(FileSystem& from, const std::string& source, FileSystem& to,
                const std::string& target) {
  Result<std::unique_ptr<File>> input = from.Open(source, {});
  if (!input && input.error().code == ErrorCode::kNotFound) return {};
  if (!input) return Failure(input.error());
  QUOIN_ASSIGN(const std::unique_ptr<File> output,
               to.Open(target, {Access::kReadWrite, Creation::kExclusive, 0600}));
  std::vector<std::byte> piece(kCopyPieceBytes);
  for (uint64_t offset = 0;;) {
    QUOIN_ASSIGN(const size_t count, (*input)->Read(offset, piece));
    if (count == 0) return {};
    QUOIN_TRY(output->Write(offset, std::span(piece).first(count)));
    offset += count;
  }
}

const LayerRecord* FindLayer(const VdiState& state, uint32_t seq) {
  const auto found = std::find_if(state.layers.begin(), state.layers.end(),
                                  [seq](const LayerRecord& layer) { return layer.seq == seq; });
  return found == state.layers.end() ? nullptr : &*found;
}

}  // namespace

VdiCheck::VdiCheck(FileSystem& file_system, const StoreLayout& layout, PackStore& packs,
                   NodeCache& nodes, FileSystem& scratch, std::string scratch_folder,
                   const Id& id)
    : file_system_(file_system),
      packs_(packs),
      nodes_(nodes),
      folder_(layout.Vdi(id)),
      scratch_(scratch),
      scratch_folder_(std::move(scratch_folder)),
      id_(id) {}

Result<VdiCheckReport> VdiCheck::Run(const std::string& object, const std::string& name) {
  object_ = object;
  name_ = name;
  for (int attempt = 1;; ++attempt) {
    const Stamp before = TakeStamp();
    report_ = {};
    layers_.clear();
    sealed_.clear();
    QUOIN_TRY(RunOnce());
    if (report_.findings.empty() || attempt == kAttempts) break;
    if (TakeStamp() == before) break;  // what was found is not due to a change meanwhile
  }
  const Result<bool> there = PathExists(file_system_, folder_);
  report_.is_gone = there && !*there;
  return report_;
}

Status VdiCheck::RunOnce() {
  CheckLock();
  const std::optional<VdiState> published = CheckPublished();
  if (report_.is_owned) {
    if (published) CheckState(*published, Source{nullptr, "published.db"});
    return {};
  }
  QUOIN_ASSIGN(const std::optional<VdiState> owned, CheckDatabase());
  if (owned && published && lock_.record.clean) CompareStates(*owned, *published);
  return {};
}

void VdiCheck::Add(Severity severity, std::string what, std::string next) {
  report_.findings.push_back(Finding{severity, object_, std::move(what), std::move(next)});
}

VdiCheck::Stamp VdiCheck::TakeStamp() const {
  Stamp stamp;
  if (const Result<LockStatus> lock = WriterLock::Inspect(file_system_, folder_)) {
    stamp.epoch = lock->record.epoch;
    stamp.held = lock->held;
  }
  if (const Result<FileFacts> facts = file_system_.Facts(StoreLayout::Published(folder_))) {
    stamp.published = facts->identity;
    stamp.published_ctime_ns = facts->ctime_ns;
  }
  return stamp;
}

void VdiCheck::CheckLock() {
  Result<LockStatus> lock = WriterLock::Inspect(file_system_, folder_);
  if (!lock) {
    lock_ = LockStatus();
    Add(Severity::kDamage, "its writer.lock cannot be read: " + lock.error().what, kRestoreNext);
    return;
  }
  lock_ = *lock;
  report_.is_owned = lock_.held;
  if (lock_.held) {
    Add(Severity::kNote,
        fmt::format("{}: only what is published was checked",
                    lock_.damaged ? "someone owns it" : DescribeHolder(lock_.record)));
  } else if (lock_.damaged) {
    Add(Severity::kDamage, "the record in its writer.lock is damaged, so nobody can write it",
        name_.empty() ? "" : "if no host has it open: quoin lock break " + name_);
  } else if (!lock_.record.clean) {
    Add(Severity::kNote,
        fmt::format("{} (pid {}) did not let go of it cleanly", lock_.record.host_name,
                    lock_.record.pid),
        "its next owner recovers it");
  }
}

// ------------------------------------------------------------------------------- the two states

std::optional<VdiState> VdiCheck::CheckPublished() {
  Result<VdiState> state = ReadPublished(file_system_, folder_);
  if (!state) {
    Add(Severity::kDamage, state.error().what, state.error().next);
    return std::nullopt;
  }
  if (state->vdi.id != id_) {
    Add(Severity::kDamage,
        fmt::format("its published.db is of another VDI, {}", state->vdi.id.ToString()),
        "open the VDI for writing once: that publishes it again");
    return std::nullopt;
  }
  return std::move(*state);
}

// vdi.db and its WAL as one moment has them; false if an owner appeared meanwhile.
Result<bool> VdiCheck::CopyDatabase() {
  const std::string source = StoreLayout::Database(folder_);
  const std::string copy = scratch_folder_ + "/" + kCopyName;
  for (const std::string_view suffix : {std::string_view(), kWalSuffix}) {
    const std::string target = copy + std::string(suffix);
    const Status removed = scratch_.Remove(target);
    if (!removed && removed.error().code != ErrorCode::kNotFound) {
      return Failure(removed.error());
    }
    QUOIN_TRY(CopyFile(file_system_, source + std::string(suffix), scratch_, target));
  }
  const Result<LockStatus> lock = WriterLock::Inspect(file_system_, folder_);
  return lock && !lock->held && lock->record.epoch == lock_.record.epoch;
}

Result<std::optional<VdiState>> VdiCheck::CheckDatabase() {
  const std::optional<VdiState> none;
  if (const Result<bool> there = PathExists(file_system_, StoreLayout::Database(folder_));
      there && !*there) {
    Add(Severity::kDamage, "its vdi.db is missing", kRestoreNext);
    return none;
  }
  const Result<bool> copied = CopyDatabase();
  if (!copied) {
    return Fail(copied.error().code,
                fmt::format("cannot copy the database of {}: {}", object_, copied.error().what),
                "name a folder with more room by TMPDIR");
  }
  if (!*copied) return none;  // its stamp has changed, so it is looked at again
  Result<std::unique_ptr<VdiDatabase>> database =
      VdiDatabase::Open(scratch_, scratch_folder_ + "/" + kCopyName);
  Result<VdiState> state =
      database ? (*database)->Load() : Result<VdiState>(Failure(database.error()));
  if (!state) {
    Add(Severity::kDamage, "its vdi.db cannot be read: " + state.error().what, kRestoreNext);
    return none;
  }
  if (state->vdi.id != id_) {
    Add(Severity::kDamage,
        fmt::format("its vdi.db is of another VDI, {}", state->vdi.id.ToString()), kRestoreNext);
    return none;
  }
  CheckState(*state, Source{database->get(), "vdi.db"});
  CheckFiles(*state);
  return std::optional<VdiState>(std::move(*state));
}

void VdiCheck::CompareStates(const VdiState& owned, const VdiState& published) {
  const auto differs = [&](const std::string& what) {
    Add(Severity::kDamage, what + " differs between its vdi.db and its published.db",
        "open the VDI for writing once: that publishes it again");
  };
  if (owned.vdi.size_bytes != published.vdi.size_bytes) differs("its size");
  if (owned.vdi.head_seq != published.vdi.head_seq) differs("its head");
  const auto same = [](const SnapshotRecord& a, const SnapshotRecord& b) {
    return a.id == b.id && a.name == b.name && a.layer_seq == b.layer_seq &&
           a.size_bytes == b.size_bytes && a.data_blocks == b.data_blocks;
  };
  if (!std::equal(owned.snapshots.begin(), owned.snapshots.end(), published.snapshots.begin(),
                  published.snapshots.end(), same)) {
    differs("its list of snapshots");
  }
}

// ------------------------------------------------------------------------------- one state

void VdiCheck::CheckState(const VdiState& state, const Source& source) {
  report_.layers = state.layers.size();
  report_.snapshots = state.snapshots.size();
  for (const LayerRecord& layer : state.layers) CheckLayer(layer, state, source);
  for (const SnapshotRecord& snapshot : state.snapshots) CheckSnapshot(snapshot, state, source);
  CheckRecord(state, source);
  CheckReachable(state);
}

Result<std::unique_ptr<OwnershipSet>> VdiCheck::LoadOwned(const LayerRecord& record,
                                                          const VdiState& state,
                                                          const Source& source) {
  const std::string layers = StoreLayout::Layers(folder_);
  if (record.state == LayerState::kFrozen && record.has_ownership_file) {
    return LoadOwnershipFile(file_system_, Layer::OwnershipPath({layers, record.name}));
  }
  if (source.database == nullptr) {
    if (record.seq != state.vdi.head_seq || state.vdi.head_ownership_file.empty()) {
      return std::make_unique<OwnershipSet>();
    }
    return LoadOwnershipFile(file_system_, layers + "/" + state.vdi.head_ownership_file);
  }
  auto owned = std::make_unique<OwnershipSet>();
  QUOIN_TRY(source.database->LoadOwnership(record.seq, [&](uint32_t region, std::string_view runs) {
    return owned->LoadRegion(region, runs);
  }));
  return owned;
}

void VdiCheck::CheckLayer(const LayerRecord& record, const VdiState& state, const Source& source) {
  if (record.state == LayerState::kSealed) {
    if (const Status sealed = CheckSealed(record); !sealed) {
      Add(Severity::kDamage,
          fmt::format("layer {}, which is sealed: {}", record.name, sealed.error().what),
          "quoin scrub shows what is damaged in the packs");
    }
    return;
  }
  const bool published_without_set = source.database == nullptr &&
                                     record.state == LayerState::kFrozen &&
                                     !record.has_ownership_file;
  if (published_without_set) {
    Add(Severity::kDamage,
        fmt::format("its published.db names layer {} without a list of its blocks", record.name));
    return;
  }
  if (record.state == LayerState::kHead) CheckHeadIsOurs(record);
  Result<std::unique_ptr<OwnershipSet>> owned = LoadOwned(record, state, source);
  if (!owned) {
    Add(Severity::kDamage,
        fmt::format("the blocks of layer {} are not known: {}", record.name, owned.error().what),
        kRestoreNext);
    return;
  }
  const uint64_t size = record.seq == state.vdi.head_seq ? state.vdi.size_bytes : record.size_bytes;
  Result<std::unique_ptr<Layer>> layer =
      Layer::Open(file_system_, {StoreLayout::Layers(folder_), record.name}, size,
                  std::move(*owned),
                  record.seq == state.vdi.head_seq ? Layer::Role::kHeadForReading
                                                   : Layer::Role::kFrozen);
  if (!layer) {
    Add(Severity::kDamage, fmt::format("layer {}: {}", record.name, layer.error().what),
        kRestoreNext);
    return;
  }
  layers_[record.seq] = std::move(*layer);
}

// Every node of its map is read, and every slot that it names must be in its pack. The bytes there are
// for scrub.
Status VdiCheck::CheckSealed(const LayerRecord& record) {
  QUOIN_ASSIGN(const std::shared_ptr<const SealedLayer> sealed,
               SealedLayer::Open(packs_, nodes_, record.map));
  QUOIN_TRY(sealed->map().ForEachExtent(
      0, sealed->map().span_blocks(),
      [&](uint64_t, uint64_t count, const SlotLocation& first) -> Status {
        QUOIN_ASSIGN(const std::shared_ptr<const Pack> pack, packs_.Get(first.pack));
        for (uint32_t slot = first.slot; slot < first.slot + count;) {
          const std::optional<size_t> frame = pack->FrameOf(slot);
          if (!frame || !pack->frames()[*frame].holds_blocks()) {
            return Fail(ErrorCode::kCorrupt,
                        fmt::format("{} holds no block in slot {}", pack->Title(), slot));
          }
          slot = pack->frames()[*frame].end_slot();
        }
        return {};
      }));
  sealed_[record.seq] = sealed;
  return {};
}

// What is written must be nobody else's.
void VdiCheck::CheckHeadIsOurs(const LayerRecord& record) {
  const Result<FileFacts> facts =
      file_system_.Facts(StoreLayout::Layers(folder_) + "/" + record.name);
  if (!facts || facts->link_count <= 1) return;
  Add(Severity::kDamage,
      fmt::format("the file of its head, layer {}, has {} names", record.name, facts->link_count),
      "remove its other names before the VDI is written");
}

std::optional<LayerStack> VdiCheck::StackFrom(uint32_t top_seq, const VdiState& state) const {
  std::vector<std::shared_ptr<const Layer>> stack;
  for (uint32_t seq = top_seq; seq != 0;) {
    const LayerRecord* record = FindLayer(state, seq);
    if (const auto sealed = sealed_.find(seq); sealed != sealed_.end()) {
      return LayerStack(std::move(stack), sealed->second);
    }
    const auto layer = layers_.find(seq);
    if (record == nullptr || layer == layers_.end()) return std::nullopt;
    stack.push_back(layer->second);
    seq = record->parent_seq;
  }
  return LayerStack(std::move(stack));
}

void VdiCheck::CheckSnapshot(const SnapshotRecord& snapshot, const VdiState& state,
                             const Source& source) {
  if (!snapshot.pending_group.IsNull() && !report_.is_owned && lock_.record.clean) {
    Add(Severity::kDamage,
        fmt::format("whether its snapshot {} was taken is undecided in {}", snapshot.name,
                    source.file),
        "open the VDI for writing once: that decides it");
  }
  const std::optional<LayerStack> stack = StackFrom(snapshot.layer_seq, state);
  if (!stack) {
    Add(Severity::kDamage,
        fmt::format("its snapshot {} cannot be read: a layer of it is damaged or missing",
                    snapshot.name),
        kRestoreNext);
    return;
  }
  const uint64_t data = stack->CountData(0, BlocksOf(snapshot.size_bytes)).value_or(0);
  if (data == snapshot.data_blocks) return;
  Add(Severity::kDamage,
      fmt::format("its snapshot {} has {} blocks of data where {} says {}", snapshot.name, data,
                  source.file, snapshot.data_blocks),
      kRestoreNext);
}

void VdiCheck::CheckRecord(const VdiState& state, const Source& source) {
  const bool settled = !report_.is_owned && lock_.record.clean && state.vdi.head_published &&
                       state.vdi.copy_origin.IsNull();
  const std::optional<LayerStack> stack = StackFrom(state.vdi.head_seq, state);
  if (!settled || !stack) return;  // what is missing was told
  const uint64_t data = stack->CountData(0, BlocksOf(state.vdi.size_bytes)).value_or(0);
  if (data == state.vdi.data_blocks) return;
  Add(Severity::kDamage,
      fmt::format("it has {} blocks of data where {} says {}", data, source.file,
                  state.vdi.data_blocks),
      "open the VDI for writing once: that counts them again");
}

// ------------------------------------------------------------------------------- leftovers

// Layers that neither the head nor a snapshot needs.
void VdiCheck::CheckReachable(const VdiState& state) {
  std::set<uint32_t> needed;
  const auto mark = [&](uint32_t seq) {
    while (seq != 0 && needed.insert(seq).second) {
      const LayerRecord* layer = FindLayer(state, seq);
      seq = layer == nullptr ? 0 : layer->parent_seq;
    }
  };
  mark(state.vdi.head_seq);
  for (const SnapshotRecord& snapshot : state.snapshots) mark(snapshot.layer_seq);
  for (const LayerRecord& layer : state.layers) {
    if (needed.count(layer.seq) > 0) continue;
    Add(lock_.record.clean ? Severity::kWarning : Severity::kNote,
        fmt::format("no snapshot needs its layer {}", layer.name));
  }
}

// Files that the database does not know.
void VdiCheck::CheckFiles(const VdiState& state) {
  const Result<std::vector<DirectoryEntry>> entries =
      file_system_.List(StoreLayout::Layers(folder_));
  if (!entries) {
    Add(Severity::kDamage, entries.error().what, kRestoreNext);
    return;
  }
  std::set<std::string> known;
  for (const LayerRecord& layer : state.layers) {
    if (layer.state != LayerState::kSealed) known.insert(layer.name);
  }
  for (const DirectoryEntry& entry : *entries) {
    const bool is_head_set = entry.name.find(kHeadOwnershipMark) != std::string::npos;
    const bool needed = is_head_set ? entry.name == state.vdi.head_ownership_file
                                    : known.count(Layer::NameOfFile(entry.name)) > 0;
    if (needed) continue;
    Add(lock_.record.clean ? Severity::kWarning : Severity::kNote,
        fmt::format("nothing refers to its file layers/{}", entry.name),
        lock_.record.clean ? "" : "its next owner removes it");
  }
}

}  // namespace quoin

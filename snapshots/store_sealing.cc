// Sealing and importing, and what a store has for it.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "metadata/collection_lock.h"
#include "snapshots/region_source.h"
#include "snapshots/root_record.h"
#include "snapshots/sealer.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

// Packs whose digests are read into the index before a seal or an import goes on: enough for 256 GiB,
// and more come with the next one.
constexpr size_t kPacksToReconcile = 1024;

Result<DigestIndex::PackDigests> LoadDigests(PackStore& packs, const Id& id) {
  QUOIN_ASSIGN(const std::shared_ptr<const Pack> pack, packs.Get(id));
  QUOIN_ASSIGN(const std::shared_ptr<const SlotDigests> digests, pack->Digests());
  pack->DropDigests();
  DigestIndex::PackDigests loaded;
  for (size_t frame = 0; frame < pack->frames().size(); ++frame) {
    if (!pack->frames()[frame].holds_blocks()) continue;
    uint32_t slot = pack->frames()[frame].first_slot();
    for (const Digest& digest : digests->OfFrame(frame)) {
      loaded.digests.push_back(digest);
      loaded.slots.push_back(slot++);
    }
  }
  return loaded;
}

}  // namespace

DigestIndex* StoreEnvironment::Index() {
  MutexLock lock(index_mutex);
  if (!index_tried && !options.state_dir.empty()) {
    index_tried = true;
    Result<std::unique_ptr<DigestIndex>> opened =
        DigestIndex::Open(options.state_dir + "/" + store_id.ToString(), store_id,
                          options.index_entries);
    if (opened) {
      index = std::move(*opened);
    } else {
      spdlog::warn("no index of digests, so fewer blocks are shared: {}", opened.error().what);
    }
  }
  return index.get();
}

void StoreEnvironment::ReconcileIndex() {
  DigestIndex* const sharing = Index();
  if (sharing == nullptr) return;
  const Result<std::vector<Id>> present = packs.List();
  if (!present) return;
  (void)sharing->Reconcile(
      *present, [this](const Id& pack) { return LoadDigests(packs, pack); }, kPacksToReconcile);
}

Result<std::shared_ptr<const DeadList>> StoreEnvironment::DeadUntil(uint64_t generation) {
  MutexLock lock(dead_mutex);
  if (known_dead != nullptr && known_generation == generation) return known_dead;
  // The first time, and when lists went that this process has not seen: all there are. What it knew
  // before stays: a slot that is dead is never used again.
  Result<DeadList> added = Fail(ErrorCode::kNotFound, "");
  if (known_dead != nullptr) added = collection->DeadSince(known_generation);
  if (!added) {
    QUOIN_ASSIGN(added, collection->KnownDead());
  }
  if (DigestIndex* const sharing = Index()) {
    for (const DeadPack& pack : added->packs()) {
      if (pack.IsWhole()) {
        sharing->RemovePack(pack.pack);
      } else {
        sharing->RemoveSlots(pack.pack, [&](uint32_t slot) { return pack.Contains(slot); });
      }
    }
  }
  if (known_dead != nullptr) added->Add(*known_dead);
  // Nothing of it may be forgotten: what is dead may lie in a pack for as long as the pack is there,
  // or in a file that is open here though it was replaced. So it only becomes less exact.
  if (added->CountRuns() > options.known_dead_runs) added->LimitRuns(options.known_dead_runs / 2);
  if (added->packs().size() > options.known_dead_packs) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{} packs were declared dead while the store is open, more than are "
                            "remembered", added->packs().size()),
                "open the store anew");
  }
  known_dead = std::make_shared<const DeadList>(std::move(*added));
  known_generation = generation;
  return known_dead;
}

Result<SealCounts> Store::SealVdi(const Id& vdi, bool with_head,
                                  const std::function<void(uint64_t, uint64_t)>& progress) {
  OwnerRequest request{.verb = OwnerVerb::kSeal, .vdi = vdi};
  request.flag = with_head;
  if (const std::optional<OwnerAnswer> answer = shared_->AskOwner(request)) {
    QUOIN_TRY(answer->status);
    return answer->counts;
  }
  return shared_->sealer->SealNow(vdi, with_head, progress);
}

Status Store::Shared::WaitForSealing(Vdi& vdi) {
  uint64_t unsealed = 0;
  {
    MutexLock lock(vdi.state_mutex_);
    unsealed = vdi.CountUnsealed();
  }
  if (unsealed < kMaxUnsealedLayers) return {};
  const Result<SealCounts> sealed = sealer->SealNow(vdi.id(), /*with_head=*/false);
  if (sealed) return {};
  Error error = sealed.error();
  error.what = fmt::format("cannot take a snapshot of {}: {} of its layers wait to be sealed, and {}",
                           vdi.Title(), unsealed, error.what);
  return Failure(std::move(error));
}

// The order: packs are filled with nothing referring to them → the collection lock is taken shared
// → the VDI's folder is begun, so that its id is known and recorded → the packs are published → the
// VDI is made over the new map and gets its name.
Result<Id> Store::ImportVdi(const std::string& name, uint64_t size_bytes,
                            const Attributes& attributes,
                            const std::function<Result<size_t>(std::span<std::byte>)>& read,
                            const std::function<void(uint64_t)>& progress) {
  StoreEnvironment& environment = shared_->environment;
  QUOIN_TRY(ValidateVdiName(name));
  if (environment.names.Lookup(name)) {
    return Fail(ErrorCode::kExists, fmt::format("cannot import vdis/{}: the name is taken", name));
  }
  uint64_t bytes_read = 0;
  StreamSource source([&](std::span<std::byte> buffer) -> Result<size_t> {
    QUOIN_ASSIGN(const size_t n, read(buffer));
    bytes_read += n;
    if (bytes_read > kMaxVdiBytes) {
      return Fail(ErrorCode::kTooLarge, fmt::format("cannot import vdis/{}: there are more than "
                                                    "256 TiB of it",
                                                    name));
    }
    return n;
  });
  QUOIN_ASSIGN(SealServices services, shared_->sealer->Services());
  uint64_t done_bytes = 0;
  if (progress) {
    services.pace = [&, pace = services.pace](uint64_t bytes) -> Status {
      progress(done_bytes += bytes);
      return pace(bytes);
    };
  }
  SealJob job(std::move(services));
  QUOIN_ASSIGN(const SealedContent content, job.Add(source, {}));
  QUOIN_ASSIGN(const CollectionLock::SharedHold hold,
               environment.collection->HoldShared(environment.options.collector_wait));
  QUOIN_ASSIGN(const bool alive, shared_->sealer->IsAlive(job.found(), hold.generation()));
  if (!alive) {
    return Fail(ErrorCode::kBusy,
                fmt::format("cannot import vdis/{}: what it shares with others was collected "
                            "meanwhile", name), "import it again");
  }
  const uint64_t size =
      std::max(size_bytes, (bytes_read + kSectorBytes - 1) / kSectorBytes * kSectorBytes);
  uint64_t pack_bytes = 0;
  const auto add_layer = [&](Shared::NewVdi& made) -> Status {
    LayerRecord layer;
    layer.seq = made.top_seq = made.state.vdi.next_seq++;
    layer.state = LayerState::kSealed;
    layer.name = fmt::format("{}-{}", layer.seq, made.state.vdi.epoch);
    layer.size_bytes = size;
    layer.map = content.root;
    layer.is_recorded = true;
    made.state.layers.push_back(layer);
    const VdiRecord& vdi = made.state.vdi;
    QUOIN_TRY(job.AddRootRecord(EncodeRootRecord(
        {vdi.id, name, Id(), "", 0, size, vdi.created_ns, vdi.attributes.mode, vdi.attributes.uid,
         vdi.attributes.gid, content.root})));
    QUOIN_ASSIGN(const std::vector<PublishedPack> packs, job.Finish());
    pack_bytes = FileBytes(packs);
    made.state.vdi.data_blocks = content.root.data_blocks;
    return {};
  };
  Result<Id> imported = shared_->MakeVdi(name, size, attributes, add_layer);
  if (imported) environment.activity.CountImport(job.counts(), pack_bytes);
  return imported;
}

}  // namespace quoin

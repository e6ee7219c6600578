// The packs of a store: `<folder>/<xx>/<32 hex digits>`, xx being the first two of them.
//
// Thread-safe. Packs are opened when they are first needed and kept open, the least recently used
// are closed. A pack appears whole (Publish), is replaced whole by itself without its dead frames
// (Rewrite), and disappears (Remove); any host may do so at any time. Readers that hold a Pack finish
// on the file that they opened.
#pragma once

#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "blockstore/packs/frame_cache.h"
#include "blockstore/packs/pack.h"
#include "blockstore/packs/slot.h"

namespace quoin {

inline constexpr size_t kDefaultOpenPacks = 512;  // about 200 KiB each, and a descriptor

class PackStore final : public RecordReader {
 public:
  // Where else a block with this digest may be read; the location given is damaged. Called by
  // readers, from any thread, with nothing of the store's held. What it names is checked.
  using Healer = std::function<std::vector<SlotLocation>(const Digest& digest,
                                                         const SlotLocation& damaged)>;
  using LiveSlots = std::function<bool(uint32_t slot)>;

  // `cache` is shared by all who read packs, of other stores too, and outlives this.
  PackStore(FileSystem& file_system, std::string folder, FrameCache& cache,
            size_t max_open_packs = kDefaultOpenPacks);
  ~PackStore() override;

  // kNotFound, kCorrupt, kNewerFormat.
  Result<std::shared_ptr<const Pack>> Get(const Id& id) QUOIN_EXCLUDES(table_mutex_);

  // Reads out.size() bytes from `byte_offset` on of the `count` blocks that begin at `first`. kInvalid
  // if they end before. kCorrupt, after a line in the log, if a block is damaged or missing, its
  // pack included; what `out` holds then means nothing.
  Status ReadBlocks(const SlotLocation& first, uint32_t count, uint64_t byte_offset,
                    std::span<std::byte> out);

  // Not cached.
  Result<std::shared_ptr<const std::string>> ReadRecord(RecordKind kind,
                                                        const SlotLocation& at) override;

  // SHA-256 of what the `count` slots from `first` on hold; null where there is no such slot or
  // the digest is lost. The digests of the packs asked for last stay in memory.
  Result<std::vector<Digest>> DigestsOf(const Id& pack, uint32_t first, uint32_t count)
      QUOIN_EXCLUDES(table_mutex_);

  // Every pack there is, in the order of the ids. Names that are no pack's are passed over.
  Result<std::vector<Id>> List();

  // Makes a pack of the finished and synced file `temporary`, durably, and removes that name.
  // kExists. A crash leaves the temporary, the pack, or both; the pack is whole.
  Status Publish(const Id& id, const std::string& temporary);

  // Durably; kNotFound.
  Status Remove(const Id& id) QUOIN_EXCLUDES(table_mutex_);

  struct Rewritten {
    uint64_t bytes_before = 0;
    uint64_t bytes_after = 0;
    size_t frames_removed = 0;
    size_t frames_mended = 0;
    bool written = false;
  };
  // Replaces the pack by one without the frames of which no slot is live; slots keep their numbers.
  // Durable when it returns; a crash before leaves the old pack or the new one, and perhaps
  // `temporary`. If nothing is dead and the file is intact, nothing is written; a damaged table is
  // mended by it. kCorrupt if frames were lost with the table: what cannot be seen is not thrown
  // away.
  Result<Rewritten> Rewrite(const Id& id, const LiveSlots& live, const std::string& temporary)
      QUOIN_EXCLUDES(table_mutex_);
  // Replaces a damaged pack by one in which the table, the digests, and all damaged frames whose
  // blocks can be read elsewhere are right again; frames that cannot be mended whole stay as damaged as
  // they were. Nothing is written if nothing can be mended. As Rewrite otherwise; no other Rewrite or
  // Mend of the pack may run at the same time, on any host.
  Result<Rewritten> Mend(const Id& id, const std::string& temporary) QUOIN_EXCLUDES(table_mutex_);

  void SetHealer(Healer healer) QUOIN_EXCLUDES(healer_mutex_);

  FileSystem& file_system() { return file_system_; }
  FrameCache& cache() { return cache_; }

  // Blocks that readers asked for whose stored bytes were wrong, each time that they were read.
  struct DamageCounters {
    uint64_t healed_blocks = 0;  // another copy was read
    uint64_t lost_blocks = 0;    // there was none
  };
  DamageCounters damage_counters() const { return {healed_blocks_, lost_blocks_}; }
  std::string PathOf(const Id& id) const;

 private:
  using PackPointer = std::shared_ptr<const Pack>;
  struct OpenPack {
    PackPointer pack;
    uint64_t last_used = 0;
  };

  Status EnsureFolder(const Id& id) QUOIN_EXCLUDES(table_mutex_);
  PackPointer Find(const Id& id) QUOIN_EXCLUDES(table_mutex_);
  void Close(const Id& id) QUOIN_EXCLUDES(table_mutex_);
  void CloseLeastUsed() QUOIN_REQUIRES(table_mutex_);
  // Keeps the digests of the few packs used last.
  void DigestsUsed(const PackPointer& pack) QUOIN_EXCLUDES(table_mutex_);

  template <typename Read>
  auto WithPack(const Id& id, Read read) -> decltype(read(std::declval<const PackPointer&>()));
  Status ReadFrom(const Pack& pack, uint32_t slot, uint64_t in_slot, std::span<std::byte> out);
  Result<SlotMask> ReadPart(const Pack& pack, size_t frame, uint64_t offset,
                                  std::span<std::byte> part, bool in_place);
  Status Heal(const Pack& pack, size_t frame, SlotMask damaged, uint64_t offset,
              std::span<std::byte> part);
  Result<std::vector<std::byte>> ReadCopy(const Pack& pack, const SlotLocation& damaged);
  Result<std::vector<std::byte>> ReadSlot(const SlotLocation& at);
  Result<Rewritten> Replace(const Id& id, const LiveSlots& live, bool mends,
                            const std::string& temporary) QUOIN_EXCLUDES(table_mutex_);
  Result<Rewritten> WriteLive(const Pack& pack, const LiveSlots& live, bool mends,
                              const std::string& temporary);
  // The frame's raw bytes as they should be, behind room for a frame's header; nothing if not all of
  // its slots can be read elsewhere.
  std::optional<std::vector<std::byte>> MendedFrame(const Pack& pack, size_t frame);

  // Constant after construction.
  FileSystem& file_system_;
  const std::string folder_;
  FrameCache& cache_;
  const size_t max_open_packs_;

  Mutex table_mutex_{LockRank::kPackTable};
  std::unordered_map<Id, OpenPack, IdHash> open_ QUOIN_GUARDED_BY(table_mutex_);
  uint64_t uses_ QUOIN_GUARDED_BY(table_mutex_) = 0;
  uint64_t changes_ QUOIN_GUARDED_BY(table_mutex_) = 0;  // a pack opened before one may be old
  std::list<PackPointer> with_digests_ QUOIN_GUARDED_BY(table_mutex_);  // last used first
  std::bitset<256> durable_folders_ QUOIN_GUARDED_BY(table_mutex_);

  std::atomic<uint64_t> healed_blocks_{0};
  std::atomic<uint64_t> lost_blocks_{0};

  Mutex healer_mutex_{LockRank::kLeaf};
  std::shared_ptr<const Healer> healer_ QUOIN_GUARDED_BY(healer_mutex_);
};

}  // namespace quoin

// Turns the content of sources into packs and maps. One job fills packs one after the other for one
// or more sources (a batch of snapshots shares its packs); nothing of it exists for anyone until
// Finish has published them, and nothing counts until a caller has recorded the roots.
//
// One thread calls; regions are read and hashed, and frames compressed, by threads of the job's own.
// An error ends the job: destroy it. A crash, or a job that is not finished, leaves temporaries only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "blockstore/maps/map_builder.h"
#include "blockstore/maps/region_edit.h"
#include "blockstore/packs/pack_appender.h"
#include "snapshots/block_matcher.h"
#include "snapshots/region_pipeline.h"
#include "snapshots/seal_counts.h"

namespace quoin {

struct SealServices {
  PackStore& packs;
  NodeCache& nodes;
  DigestIndex* index;  // may be null
  std::shared_ptr<const DeadList> dead;  // is not shared; null: nothing is dead
  Compression compression = Compression::kLz4;
  size_t threads = 2;
  std::function<std::string()> make_temporary;
  // Called before each region with the bytes of the one before; may wait. An error ends the job.
  std::function<Status(uint64_t bytes)> pace;
};

struct SealedContent {
  MapRoot root;
  std::vector<BlockRange> turned_holes;  // blocks that were data of zeros; in the map they are holes
};

class SealJob {
 public:
  explicit SealJob(SealServices services);

  // `source` over `base`, a map that is published, or one that this job has made.
  Result<SealedContent> Add(RegionSource& source, const MapRoot& base);
  // What a sealed snapshot was called, for those who have nothing but the packs.
  Status AddRootRecord(const std::string& bytes);
  // No source should be added after this one: what the job remembers has become too much.
  bool is_full() const;

  // Makes the packs part of the store, durably, and tells the index.
  Result<std::vector<PublishedPack>> Finish();

  const SealCounts& counts() const { return counts_; }
  // Slots of packs that were there before and that the new maps refer to.
  const std::map<Id, std::vector<SlotRun>>& found() const { return matcher_.found(); }

 private:
  // Nodes on their way to the packs: readable at once, for the maps that are built on them.
  class JobRecords final : public RecordReader, public RecordWriter {
   public:
    JobRecords(PackStore& packs, PackAppender& appender) : packs_(packs), appender_(appender) {}
    Result<SlotLocation> AddRecord(RecordKind kind, std::string_view bytes) override;
    Result<std::shared_ptr<const std::string>> ReadRecord(RecordKind kind,
                                                          const SlotLocation& at) override;
    uint64_t bytes() const QUOIN_EXCLUDES(mutex_) {
      MutexLock lock(mutex_);
      return bytes_;
    }

   private:
    PackStore& packs_;
    PackAppender& appender_;
    mutable Mutex mutex_{LockRank::kLeaf};
    std::unordered_map<SlotLocation, std::shared_ptr<const std::string>, SlotLocationHash> records_
        QUOIN_GUARDED_BY(mutex_);
    uint64_t bytes_ QUOIN_GUARDED_BY(mutex_) = 0;
  };
  // A region's new node, held back so that records do not cut the frames of blocks.
  struct SealedRegion {
    uint64_t region = 0;
    RegionNode node;
  };
  using RegionDigests = std::array<Digest, kRegionBlocks>;

  Result<RegionNode> SealRegion(const RegionWork& work, const Map& base, SealedContent& content);
  Status LoadBase(const Map& base, uint64_t region, RegionEdit& edit);
  Status StoreSequence(const RegionWork& work, const std::vector<uint32_t>& order,
                       RegionEdit& edit);
  Status Append(const RegionWork& work, const std::vector<uint32_t>& order, size_t begin, size_t end,
                RegionEdit& edit);

  const SealServices services_;
  PackAppender appender_;
  JobRecords records_;
  BlockMatcher matcher_;
  SealCounts counts_;
  // Of the region at hand, by block: its digest, and which of the work's blocks it is.
  std::unique_ptr<RegionDigests> digests_ = std::make_unique<RegionDigests>();
  std::vector<uint32_t> block_numbers_;  // by the work's order
  std::vector<Digest> sequence_;
};

}  // namespace quoin

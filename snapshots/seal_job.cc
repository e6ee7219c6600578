#include "snapshots/seal_job.h"

#include <fmt/format.h>

#include <algorithm>

namespace quoin {
namespace {

// Regions whose nodes are held back: 1 GiB of a disk.
constexpr size_t kHeldBackRegions = 64;
// Of nodes that a job keeps in memory for the maps it builds on them.
constexpr uint64_t kMaxJobNodeBytes = uint64_t{64} << 20;

}  // namespace

Result<SlotLocation> SealJob::JobRecords::AddRecord(RecordKind kind, std::string_view bytes) {
  QUOIN_ASSIGN(const SlotLocation at, appender_.AddRecord(kind, bytes));
  MutexLock lock(mutex_);
  records_.emplace(at, std::make_shared<const std::string>(bytes));
  bytes_ += bytes.size();
  return at;
}

Result<std::shared_ptr<const std::string>> SealJob::JobRecords::ReadRecord(RecordKind kind,
                                                                           const SlotLocation& at) {
  {
    MutexLock lock(mutex_);
    const auto found = records_.find(at);
    if (found != records_.end()) return found->second;
  }
  return packs_.ReadRecord(kind, at);
}

SealJob::SealJob(SealServices services)
    : services_(std::move(services)),
      appender_(services_.packs, {services_.compression, services_.threads, kMaxPackBytes,
                                  services_.make_temporary}),
      records_(services_.packs, appender_),
      matcher_(services_.packs, services_.index, services_.dead) {}

bool SealJob::is_full() const {
  return matcher_.has_forgotten() || records_.bytes() > kMaxJobNodeBytes;
}

Status SealJob::AddRootRecord(const std::string& bytes) {
  QUOIN_TRY(records_.AddRecord(RecordKind::kRoot, bytes));
  return {};
}

Result<SealedContent> SealJob::Add(RegionSource& source, const MapRoot& base_root) {
  QUOIN_ASSIGN(const std::unique_ptr<const Map> base,
               Map::Open(records_, services_.nodes, base_root));
  MapBuilder builder(*base, records_);
  RegionPipeline pipeline(source, *base, services_.threads);
  SealedContent content;
  std::vector<SealedRegion> held_back;
  const auto let_go = [&]() -> Status {
    for (const SealedRegion& sealed : held_back) {
      QUOIN_TRY(builder.SetRegion(sealed.region, sealed.node));
    }
    held_back.clear();
    return {};
  };
  uint64_t bytes = 0;
  for (;;) {
    if (services_.pace) QUOIN_TRY(services_.pace(bytes));
    QUOIN_ASSIGN(const std::unique_ptr<RegionWork> work, pipeline.Take());
    if (work == nullptr) break;
    bytes = work->data_blocks * kBlockBytes;
    QUOIN_ASSIGN(RegionNode node, SealRegion(*work, *base, content));
    held_back.push_back({work->region, std::move(node)});
    if (held_back.size() >= kHeldBackRegions) QUOIN_TRY(let_go());
  }
  QUOIN_TRY(let_go());
  QUOIN_ASSIGN(content.root, builder.Finish());
  counts_.node_bytes += builder.bytes_written();
  return content;
}

// The region as it is below: its extents, and the digests of its blocks.
Status SealJob::LoadBase(const Map& base, uint64_t region, RegionEdit& edit) {
  digests_->fill(Digest());
  QUOIN_ASSIGN(const std::shared_ptr<const RegionNode> below, base.ReadRegion(region));
  if (below == nullptr) return {};
  edit = RegionEdit(below->extents);
  for (const MapExtent& extent : below->extents) {
    for (uint32_t n = 0; n < extent.count; ++n) {
      const SlotLocation at{extent.slot.pack, extent.slot.slot + n};
      Digest& digest = (*digests_)[extent.first + n];
      digest = matcher_.DigestAt(at);
      if (digest.IsNull()) {
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("slot {} of pack {} has no digest", at.slot, at.pack.ToString()),
                    "quoin scrub shows what is damaged");
      }
    }
  }
  return {};
}

// What is the same as below stays where it is; zeros become holes; everything else, in order, is
// looked for and then stored.
Result<RegionNode> SealJob::SealRegion(const RegionWork& work, const Map& base,
                                       SealedContent& content) {
  RegionEdit edit;
  QUOIN_TRY(LoadBase(base, work.region, edit));
  const uint64_t region_start = work.region * kRegionBlocks;
  block_numbers_.clear();
  std::vector<uint32_t> order;  // the work's blocks that are to be stored
  for (const RegionWork::Run& run : work.runs) {
    if (!run.data) {
      edit.SetHole(run.first, run.count);
      std::fill_n(digests_->begin() + run.first, run.count, Digest());
      continue;
    }
    for (uint32_t block = run.first; block < run.first + run.count; ++block) {
      const auto n = static_cast<uint32_t>(block_numbers_.size());
      block_numbers_.push_back(block);
      const Digest& digest = work.digests[n];
      Digest& below = (*digests_)[block];
      if (digest.IsNull()) {
        edit.SetHole(block, 1);
        ++counts_.zero_blocks;
        std::vector<BlockRange>& turned = content.turned_holes;
        if (!turned.empty() && turned.back().first + turned.back().count == region_start + block) {
          ++turned.back().count;
        } else {
          turned.push_back({region_start + block, 1});
        }
      } else if (below == digest) {
        ++counts_.kept_blocks;
      } else {
        order.push_back(n);
      }
      below = digest;
    }
  }
  counts_.read_blocks += block_numbers_.size();
  QUOIN_TRY(StoreSequence(work, order, edit));
  return edit.Build(std::span<const Digest, kRegionBlocks>(*digests_));
}

Status SealJob::StoreSequence(const RegionWork& work, const std::vector<uint32_t>& order,
                              RegionEdit& edit) {
  sequence_.clear();
  for (const uint32_t n : order) sequence_.push_back(work.digests[n]);
  size_t begin = 0;  // of what is neither found nor stored yet
  for (size_t at = 0; at < order.size();) {
    const std::optional<BlockMatcher::Match> match = matcher_.Find(sequence_, begin, at);
    if (!match) {
      ++at;
      continue;
    }
    QUOIN_TRY(Append(work, order, begin, match->begin, edit));
    SlotLocation slot = match->slot;
    for (size_t n = match->begin; n < match->end; ++n, ++slot.slot) {
      edit.SetData(block_numbers_[order[n]], 1, slot);
    }
    matcher_.Use(*match);
    counts_.shared_blocks += match->end - match->begin;
    at = begin = match->end;
  }
  return Append(work, order, begin, order.size(), edit);
}

// Stores blocks; those that lie one after the other in the work are handed over in one piece.
Status SealJob::Append(const RegionWork& work, const std::vector<uint32_t>& order, size_t begin,
                       size_t end, RegionEdit& edit) {
  while (begin < end) {
    size_t piece_end = begin + 1;
    while (piece_end < end && order[piece_end] == order[piece_end - 1] + 1) ++piece_end;
    const size_t count = piece_end - begin;
    const std::span<const Digest> digests = std::span(sequence_).subspan(begin, count);
    const std::span<const std::byte> bytes(work.bytes.get() + order[begin] * kBlockBytes,
                                           count * kBlockBytes);
    QUOIN_ASSIGN(const SlotLocation first, appender_.AddBlocks(bytes, digests));
    matcher_.Remember(first, digests);
    for (size_t n = 0; n < count; ++n) {
      edit.SetData(block_numbers_[order[begin + n]], 1,
                   {first.pack, first.slot + static_cast<uint32_t>(n)});
    }
    counts_.stored_blocks += count;
    begin = piece_end;
  }
  return {};
}

Result<std::vector<PublishedPack>> SealJob::Finish() {
  if (services_.index == nullptr) return appender_.Finish();
  // The index takes a pack at once; what it is told comes run by run.
  Id pack;
  std::vector<Digest> digests;
  std::vector<uint32_t> slots;
  const auto tell_index = [&] {
    if (!pack.IsNull()) services_.index->AddPack(pack, digests, slots);
    digests.clear();
    slots.clear();
  };
  Result<std::vector<PublishedPack>> published = appender_.Finish(
      [&](const SlotLocation& first, std::span<const Digest> run) {
        if (first.pack != pack) {
          tell_index();
          pack = first.pack;
        }
        digests.insert(digests.end(), run.begin(), run.end());
        for (uint32_t n = 0; n < run.size(); ++n) slots.push_back(first.slot + n);
      });
  tell_index();
  return published;
}

}  // namespace quoin

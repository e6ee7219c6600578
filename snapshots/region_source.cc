#include "snapshots/region_source.h"

#include <algorithm>
#include <cstring>

namespace quoin {

Result<bool> LayerSource::Next(RegionWork& work, const Map& base) {
  work.runs.clear();
  work.data_blocks = 0;
  uint64_t region_end = kMaxVdiBlocks;
  while (at_ < region_end) {
    QUOIN_ASSIGN(const VisibleRun run, stack_.Resolve(at_, region_end - at_));
    const bool data = run.state == BlockState::kData;
    if (run.state == BlockState::kZero) {
      // A discard of a whole disk may be 16 million regions, of which few ever held anything.
      QUOIN_ASSIGN(const std::optional<uint64_t> hidden, base.FindData(at_, at_ + run.count));
      const uint64_t says_nothing = hidden ? *hidden - at_ : run.count;
      if (says_nothing > 0) {
        at_ += says_nothing;
        continue;
      }
    }
    if (run.state != BlockState::kAbsent) {
      if (work.runs.empty()) {
        work.region = at_ / kRegionBlocks;
        region_end = (work.region + 1) * kRegionBlocks;
      }
      const uint64_t count = std::min(run.count, region_end - at_);
      work.runs.push_back({static_cast<uint32_t>(at_ % kRegionBlocks), static_cast<uint32_t>(count),
                           data, data ? run.layer : nullptr});
      if (data) work.data_blocks += static_cast<uint32_t>(count);
      at_ += count;
    } else {
      at_ += run.count;
    }
  }
  return !work.runs.empty();
}

Status LayerSource::Load(RegionWork& work) {
  work.bytes = std::make_unique_for_overwrite<std::byte[]>(work.data_blocks * kBlockBytes);
  std::byte* to = work.bytes.get();
  for (RegionWork::Run& run : work.runs) {
    if (!run.data) continue;
    const uint64_t bytes = run.count * kBlockBytes;
    QUOIN_TRY(run.layer->Read((work.region * kRegionBlocks + run.first) * kBlockBytes,
                              std::span(to, bytes)));
    run.layer = nullptr;
    to += bytes;
  }
  return {};
}

Result<bool> StreamSource::Next(RegionWork& work, const Map&) {
  if (ended_) return false;
  work.region = bytes_read_ / kRegionBytes;
  work.bytes = std::make_unique_for_overwrite<std::byte[]>(kRegionBytes);
  size_t filled = 0;
  while (filled < kRegionBytes) {
    QUOIN_ASSIGN(const size_t n,
                 read_(std::span(work.bytes.get() + filled, kRegionBytes - filled)));
    if (n == 0) break;
    filled += n;
  }
  bytes_read_ += filled;
  ended_ = filled < kRegionBytes;
  work.data_blocks = static_cast<uint32_t>(BlocksOf(filled));
  std::memset(work.bytes.get() + filled, 0, work.data_blocks * kBlockBytes - filled);
  work.runs.clear();
  if (filled > 0) work.runs.push_back({0, work.data_blocks, true, nullptr});
  return filled > 0;
}

}  // namespace quoin

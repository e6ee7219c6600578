// Reading what another owner published, and what this process let go of.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "metadata/published.h"
#include "snapshots/published_patience.h"
#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {

// Takes over what is published, unless that is what we have already. If the last owner died on this
// host, the VDI is recovered and published first, so that a reader misses nothing that was flushed.
Status Vdi::LoadPublished() {
  const Result<LockStatus> last = WriterLock::Inspect(environment_.storage, folder_);
  if (last && !last->damaged && !last->held && !last->record.clean &&
      last->record.host == environment_.self.host) {
    if (BecomeOwner()) {
      const Status published = LetGo();
      if (!published && published.error().code == ErrorCode::kNoSpace) return ReadUnpublished();
      QUOIN_TRY(published);
    }
  }
  return LoadPublishedFiles(Wanted::kNewest);
}

Status Vdi::LoadPublishedFiles(Wanted wanted) {
  PublishedPatience patience(*environment_.options.clock);
  while (true) {
    bool is_published = false;
    const Status loaded = LoadPublishedOnce(wanted, is_published);
    if (loaded || !is_published || !patience.GoOn(loaded.error())) return loaded;
  }
}

Status Vdi::LoadPublishedOnce(Wanted wanted, bool& is_published) {
  FileSystem& fs = files_;
  QUOIN_ASSIGN(const FileFacts facts, fs.Facts(StoreLayout::Published(folder_)));
  if (facts.identity == published_file_ && facts.ctime_ns == published_ctime_ns_) return {};
  QUOIN_ASSIGN(VdiState state, ReadPublished(fs, folder_));
  is_published = true;
  if (state.vdi.id != id_) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} is of another VDI, {}",
                                                 StoreLayout::Published(folder_),
                                                 state.vdi.id.ToString()));
  }
  if (wanted == Wanted::kWithHead && !state.vdi.head_published) return {};
  MutexLock lock(state_mutex_);
  const auto head = std::find_if(state.layers.begin(), state.layers.end(),
                                 [&](const auto& l) { return l.seq == state.vdi.head_seq; });
  if (head == state.layers.end()) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} names no head", StoreLayout::Published(folder_)));
  }
  QUOIN_ASSIGN(LayerStack stack, OpenStack(head->parent_seq, state));
  if (state.vdi.head_published && !state.vdi.head_ownership_file.empty()) {
    // Not through the cache: a head may change once an owner has it again.
    QUOIN_ASSIGN(std::unique_ptr<OwnershipSet> owned,
                 LoadOwnershipFile(fs, LayerLocation("").folder + "/" +
                                           state.vdi.head_ownership_file));
    QUOIN_ASSIGN(std::unique_ptr<Layer> layer,
                 Layer::Open(environment_.file_system, LayerLocation(head->name),
                             state.vdi.size_bytes, std::move(owned),
                             Layer::Role::kHeadForReading));
    stack = stack.WithOnTop(std::move(layer));
  }
  const uint64_t size = state.vdi.size_bytes;
  QUOIN_ASSIGN(const uint64_t data, stack.CountData(0, BlocksOf(size)));
  data_.Replace({nullptr, std::move(stack), size, data});
  state_ = std::move(state);
  unpublished_head_blocks_.reset();
  mtime_ns_ = state_.vdi.attributes.mtime_ns;
  published_file_ = facts.identity;
  published_ctime_ns_ = facts.ctime_ns;
  if (readers_ + writers_ > 0) new_content_ = true;
  return {};
}

uint64_t Vdi::ShownEpoch() const {
  MutexLock lock(state_mutex_);
  return state_.vdi.epoch;
}

void Vdi::FollowPublished() {
  if (becoming_owner_) return;  // which may wait for another host, with the mutex held
  MutexLock lock(lifecycle_mutex_);
  const Status looked = LookForNewer();
  if (!looked && !std::exchange(cannot_follow_, true)) {
    spdlog::warn("{}: what its last owner left cannot be read yet: {}", Title(),
                 looked.error().what);
  }
  if (looked) cannot_follow_ = false;
}

Status Vdi::LookForNewer() {
  if (readers_ + writers_ == 0 || is_owner() || !data_.has_contents()) return {};
  {
    MutexLock lock(state_mutex_);
    if (unpublished_head_blocks_) return {};  // newer than what is published
  }
  QUOIN_ASSIGN(const FileFacts facts,
               files_.Facts(StoreLayout::Published(folder_)));
  if (facts.identity == looked_at_file_ && facts.ctime_ns == looked_at_ctime_ns_) return {};
  QUOIN_TRY(LoadPublishedFiles(Wanted::kWithHead));
  looked_at_file_ = facts.identity;
  looked_at_ctime_ns_ = facts.ctime_ns;
  return {};
}

// The store is too full to publish what was recovered: read it as the database has it. The lock
// stays unclean, so whoever opens the VDI next recovers and publishes again.
Status Vdi::ReadUnpublished() {
  QUOIN_TRY(BecomeOwner());
  MutexLock lock(state_mutex_);
  const uint64_t head_blocks = data_.head()->ownership().data_blocks();
  DropKeptHeads();
  const Status reading = KeepForReading();
  if (reading) {
    unpublished_head_blocks_ = head_blocks;
  } else {
    Abandon();
  }
  (void)LetLockGo();
  return reading;
}

std::optional<PublishedVdi> Vdi::UnpublishedState() const {
  MutexLock lock(state_mutex_);
  if (!unpublished_head_blocks_) return std::nullopt;
  PublishedVdi vdi;
  vdi.state = state_;
  vdi.head_data_blocks = *unpublished_head_blocks_;
  return vdi;
}

// From owner to reader: the same contents, with the head open for reading only.
Status Vdi::KeepForReading() {
  QUOIN_ASSIGN(std::unique_ptr<Layer> head, ReopenHeadForReading());
  const uint64_t size = data_.size_bytes();
  const uint64_t data = data_.data_blocks();
  LayerStack stack = data_.below().WithOnTop(std::move(head));
  database_.reset();
  data_.Replace({nullptr, std::move(stack), size, data});
  return {};
}

}  // namespace quoin

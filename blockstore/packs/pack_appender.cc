// What the adding thread does. The workers' side is in pack_appender_work.cc.
#include "blockstore/packs/pack_appender.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

namespace quoin {

PackAppender::PackAppender(PackStore& store, PackAppenderOptions options)
    : store_(store), options_(std::move(options)) {
  if (!options_.make_temporary) std::abort();
  for (size_t i = 0; i < options_.worker_threads; ++i) {
    try {
      workers_.emplace_back([this] { Work(); });
    } catch (const std::system_error& error) {
      spdlog::warn("packs are written with {} threads: {}", i, error.what());
      return;
    }
  }
}

PackAppender::~PackAppender() {
  {
    const MutexLock lock(work_mutex_);
    stopping_ = true;
    // Whoever waits in a call now would be using what is being destroyed.
    queue_.clear();
    work_to_do_.NotifyAll();
  }
  for (std::thread& worker : workers_) worker.join();
  RemoveTemporaries();
}

Result<SlotLocation> PackAppender::AddBlocks(std::span<const std::byte> blocks,
                                             std::span<const Digest> digests) {
  if (digests.empty() || digests.size() > kMaxBlocksPerAddition ||
      blocks.size() != digests.size() * kBlockBytes) {
    return Fail(ErrorCode::kInvalid, fmt::format("cannot add {} bytes with {} digests to a pack",
                                                 blocks.size(), digests.size()));
  }
  const MutexLock lock(append_mutex_);
  QUOIN_TRY(CheckOpen());
  QUOIN_TRY(MakeRoom(static_cast<uint32_t>(digests.size()), blocks.size()));
  const SlotLocation first{current_->id, current_->slots};
  current_->digests.insert(current_->digests.end(), digests.begin(), digests.end());
  while (!blocks.empty()) QUOIN_TRY(FillFrame(blocks));
  return first;
}

Result<SlotLocation> PackAppender::AddRecord(RecordKind kind, std::string_view bytes) {
  if (bytes.empty()) return Fail(ErrorCode::kInvalid, "an empty record cannot be stored");
  if (bytes.size() > kMaxRecordBytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("a record of {} bytes; {} is the most",
                                                  bytes.size(), kMaxRecordBytes));
  }
  const MutexLock lock(append_mutex_);
  QUOIN_TRY(CheckOpen());
  QUOIN_TRY(MakeRoom(1, bytes.size()));
  QUOIN_TRY(SubmitFrame());
  const SlotLocation at{current_->id, current_->slots};
  Job job;
  job.pack = current_;
  job.fields.kind = FrameKindOf(kind);
  job.fields.first_slot = current_->slots++;
  job.fields.slots = 1;
  job.fields.raw_bytes = static_cast<uint32_t>(bytes.size());
  job.raw = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
  std::memcpy(job.raw.get(), bytes.data(), bytes.size());
  current_->digests.push_back(DigestOf({job.raw.get(), bytes.size()}));
  QUOIN_TRY(Submit(std::move(job)));
  return at;
}

Result<std::vector<PublishedPack>> PackAppender::Finish(const DigestVisitor& visit) {
  const MutexLock lock(append_mutex_);
  QUOIN_TRY(CheckOpen());
  closed_ = true;
  if (current_ != nullptr) QUOIN_TRY(ClosePack());
  QUOIN_TRY(WaitForPacks());
  std::vector<PublishedPack> published;
  for (const OpenPackPointer& pack : packs_) {
    const Status status = store_.Publish(pack->id, pack->temporary);
    if (!status) {
      StopWith(status.error());
      return Failure(status.error());
    }
    published.push_back({pack->id, pack->slots, pack->file_bytes});
    const MutexLock work_lock(work_mutex_);
    std::erase(temporaries_, pack->temporary);
  }
  packs_.clear();
  if (visit) {
    for (const PublishedPack& pack : published) Report(pack.id, visit);
  }
  return published;
}

Status PackAppender::CheckOpen() {
  QUOIN_TRY(FirstError());
  if (closed_) return Fail(ErrorCode::kInvalid, "nothing can be added to packs that are finished");
  return {};
}

// Sees to it that current_ is a pack that takes so much more.
Status PackAppender::MakeRoom(uint32_t slots, uint64_t raw_bytes) {
  if (current_ != nullptr && WouldPassLimit(*current_, slots, raw_bytes)) QUOIN_TRY(ClosePack());
  return current_ == nullptr ? BeginPack() : Status();
}

// Counts as if nothing that is under way would become smaller.
bool PackAppender::WouldPassLimit(const OpenPack& pack, uint32_t slots, uint64_t raw_bytes) {
  if (slots > kMaxPackSlots - pack.slots) return true;
  const uint64_t all_slots = uint64_t{pack.slots} + slots;
  const uint64_t frame_cost = kFrameHeaderBytes + kTableEntryBytes;
  const MutexLock lock(work_mutex_);
  const uint64_t raw = pack.raw_bytes_under_way + frame_.fields.raw_bytes + raw_bytes;
  const uint64_t tables = all_slots * Digest::kBytes +
                          (all_slots / kMaxFrameSlots + pack.frames_under_way + 2) * frame_cost +
                          kPackTrailerBytes;
  return pack.writer->file_bytes() + raw + tables > options_.max_pack_bytes;
}

Status PackAppender::BeginPack() {
  auto pack = std::make_shared<OpenPack>();
  pack->id = Id::Random();
  pack->temporary = options_.make_temporary();
  {
    const MutexLock lock(work_mutex_);
    while (unfinished_packs_ >= kMaxPacksUnderWay && !error_) work_done_.Wait(work_mutex_);
    if (error_) return Failure(*error_);
    temporaries_.push_back(pack->temporary);
    ++unfinished_packs_;
  }
  Result<std::unique_ptr<PackFileWriter>> writer =
      PackFileWriter::Create(store_.file_system(), pack->id, pack->temporary);
  if (!writer) {
    StopWith(writer.error());
    return Failure(writer.error());
  }
  pack->writer = std::move(*writer);
  const Status status = FirstError();
  if (!status) {
    RemoveTemporaries();  // it failed meanwhile, perhaps before this file was there to be removed
    return status;
  }
  current_ = std::move(pack);
  packs_.push_back(current_);
  return {};
}

// Moves as many blocks as fit into the frame being filled.
Status PackAppender::FillFrame(std::span<const std::byte>& blocks) {
  if (frame_.raw == nullptr) {
    frame_.pack = current_;
    frame_.fields = {};
    frame_.fields.first_slot = current_->slots;
    frame_.raw = std::make_unique_for_overwrite<std::byte[]>(kMaxBlockFrameBytes);
  }
  const size_t length =
      std::min<size_t>(blocks.size(), kMaxBlockFrameBytes - frame_.fields.raw_bytes);
  std::memcpy(frame_.raw.get() + frame_.fields.raw_bytes, blocks.data(), length);
  blocks = blocks.subspan(length);
  frame_.fields.raw_bytes += static_cast<uint32_t>(length);
  frame_.fields.slots = static_cast<uint8_t>(frame_.fields.raw_bytes / kBlockBytes);
  current_->slots += static_cast<uint32_t>(length / kBlockBytes);
  return frame_.fields.raw_bytes == kMaxBlockFrameBytes ? SubmitFrame() : Status();
}

Status PackAppender::SubmitFrame() {
  if (frame_.raw == nullptr) return {};
  return Submit(std::exchange(frame_, Job()));
}

Status PackAppender::Submit(Job job) {
  const uint64_t raw_bytes = job.fields.raw_bytes;
  {
    const MutexLock lock(work_mutex_);
    while (bytes_under_way_ > 0 && bytes_under_way_ + raw_bytes > kMaxBytesUnderWay && !error_) {
      work_done_.Wait(work_mutex_);
    }
    if (error_) return Failure(*error_);
    bytes_under_way_ += raw_bytes;
    job.pack->raw_bytes_under_way += raw_bytes;
    ++job.pack->frames_under_way;
    if (!workers_.empty()) {
      queue_.push_back(std::move(job));
      work_to_do_.NotifyOne();
      return {};
    }
  }
  Run(std::move(job));
  return FirstError();
}

// The last worker that is done with one of its frames finishes it; if none is under way, one is
// asked to.
Status PackAppender::ClosePack() {
  QUOIN_TRY(SubmitFrame());
  const OpenPackPointer pack = std::exchange(current_, nullptr);
  {
    const MutexLock lock(work_mutex_);
    pack->full = true;
    if (pack->frames_under_way > 0) return {};
    if (!workers_.empty()) {
      queue_.push_back({pack, {}, nullptr});
      work_to_do_.NotifyOne();
      return {};
    }
  }
  FinishPack(pack);
  return FirstError();
}

Status PackAppender::WaitForPacks() {
  const MutexLock lock(work_mutex_);
  while (unfinished_packs_ > 0 && !error_) work_done_.Wait(work_mutex_);
  if (error_) return Failure(*error_);
  return {};
}

void PackAppender::Report(const Id& id, const DigestVisitor& visit) {
  const Result<std::shared_ptr<const Pack>> pack = store_.Get(id);
  const auto digests = pack ? (*pack)->Digests() : Failure(pack.error());
  if (!digests) {
    spdlog::warn("the blocks of pack {} will not be found again as copies: {}", id.ToString(),
                 digests.error().what);
    return;
  }
  const std::vector<FrameEntry>& frames = (*pack)->frames();
  for (size_t i = 0; i < frames.size(); ++i) {
    if (frames[i].holds_blocks()) visit({id, frames[i].first_slot()}, (*digests)->OfFrame(i));
  }
  (*pack)->DropDigests();
}

}  // namespace quoin

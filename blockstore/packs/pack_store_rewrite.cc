// Compaction: a pack is replaced by itself without its dead frames. Payloads are copied as they
// are, so a damaged one stays exactly as damaged as it was, unless it is to be mended.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "blockstore/base/atomic_file.h"
#include "blockstore/packs/pack_file_writer.h"
#include "blockstore/packs/pack_store.h"

namespace quoin {
namespace {

bool IsLive(const FrameEntry& frame, const PackStore::LiveSlots& live) {
  for (uint32_t slot = frame.first_slot(); slot < frame.end_slot(); ++slot) {
    if (live(slot)) return true;
  }
  return false;
}

}  // namespace

Result<PackStore::Rewritten> PackStore::Rewrite(const Id& id, const LiveSlots& live,
                                                const std::string& temporary) {
  return Replace(id, live, /*mends=*/false, temporary);
}

Result<PackStore::Rewritten> PackStore::Mend(const Id& id, const std::string& temporary) {
  return Replace(id, [](uint32_t) { return true; }, /*mends=*/true, temporary);
}

Result<PackStore::Rewritten> PackStore::Replace(const Id& id, const LiveSlots& live, bool mends,
                                                const std::string& temporary) {
  // Opened for this alone: what other readers hold may be an older file.
  QUOIN_ASSIGN(const PackPointer pack, Pack::Open(file_system_, id, PathOf(id)));
  if (!pack->is_complete()) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("cannot rewrite {}: its table is damaged and not all of its frames "
                            "were found",
                            pack->Title()));
  }
  Result<Rewritten> rewritten = WriteLive(*pack, live, mends, temporary);
  if (rewritten && !rewritten->written) {
    (void)file_system_.Remove(temporary);  // if it was begun
    return rewritten;
  }
  Status status = rewritten ? Status() : Failure(rewritten.error());
  if (status) status = file_system_.Rename(temporary, pack->path());
  if (!status) {
    (void)file_system_.Remove(temporary);  // the first error is the one that counts
    return Failure(status.error());
  }
  Close(id);
  if (mends) cache_.Forget(id);  // frames that are kept as damaged
  QUOIN_TRY(file_system_.SyncDirectory(ParentPath(pack->path())));
  return rewritten;
}

std::optional<std::vector<std::byte>> PackStore::MendedFrame(const Pack& pack, size_t frame) {
  const FrameEntry& entry = pack.frames()[frame];
  if (!entry.holds_blocks()) return std::nullopt;  // records are stored once
  std::vector<std::byte> bytes(kFrameHeaderBytes + entry.raw_bytes());
  const std::span<std::byte> raw = std::span(bytes).subspan(kFrameHeaderBytes);
  Result<SlotMask> damaged = pack.ReadFrame(frame, raw);
  if (!damaged || !Heal(pack, frame, *damaged, 0, raw)) return std::nullopt;
  return bytes;
}

Result<PackStore::Rewritten> PackStore::WriteLive(const Pack& pack, const LiveSlots& live,
                                                  bool mends, const std::string& temporary) {
  std::vector<size_t> kept;
  for (size_t i = 0; i < pack.frames().size(); ++i) {
    if (IsLive(pack.frames()[i], live)) kept.push_back(i);
  }
  Rewritten rewritten;
  rewritten.bytes_before = rewritten.bytes_after = pack.file_bytes();
  rewritten.frames_removed = pack.frames().size() - kept.size();
  bool is_changed = rewritten.frames_removed > 0 || !pack.is_intact();
  if (!is_changed && !mends) return rewritten;
  QUOIN_ASSIGN(const bool digests_are_right, pack.AreDigestsRight());
  is_changed |= !digests_are_right;

  QUOIN_ASSIGN(const std::shared_ptr<const SlotDigests> digests, pack.Digests());
  QUOIN_ASSIGN(const std::unique_ptr<PackFileWriter> writer,
               PackFileWriter::Create(file_system_, pack.id(), temporary));
  std::vector<Digest> kept_digests;
  std::vector<std::byte> bytes;
  bool all_are_right = true;
  for (const size_t i : kept) {
    const FrameEntry& frame = pack.frames()[i];
    bytes.resize(kFrameHeaderBytes + frame.stored_bytes());
    QUOIN_ASSIGN(const bool right,
                 pack.ReadStored(i, std::span(bytes).subspan(kFrameHeaderBytes)));
    if (mends) {
      QUOIN_ASSIGN(const bool header_is_right, pack.IsFrameHeaderRight(i));
      is_changed |= !header_is_right;
    }
    const std::span<const Digest> of_frame = digests->OfFrame(i);
    kept_digests.insert(kept_digests.end(), of_frame.begin(), of_frame.end());
    std::optional<std::vector<std::byte>> mended;
    if (!right && mends) mended = MendedFrame(pack, i);
    if (mended) {
      FrameEntry::Fields fields = frame.fields();
      fields.codec = Compression::kNone;
      QUOIN_TRY(writer->WriteFrame(fields, *mended));
      ++rewritten.frames_mended;
      continue;
    }
    all_are_right &= right;
    if (!right) {
      spdlog::error("{}: the frame of slots {} to {} is damaged, and copied as it is",
                    pack.Title(), frame.first_slot(), frame.end_slot() - 1);
    }
    QUOIN_TRY(writer->CopyFrame(frame, bytes));
  }
  if (!is_changed && rewritten.frames_mended == 0) return rewritten;
  // Digests that are computed anew are null for damaged frames: the stored ones, of which perhaps one
  // byte is wrong, may be all that can tell what those frames held.
  if (mends && !digests_are_right && !all_are_right) return rewritten;
  QUOIN_TRY(writer->Finish(kept_digests));
  rewritten.written = true;
  rewritten.bytes_after = writer->file_bytes();
  return rewritten;
}

}  // namespace quoin

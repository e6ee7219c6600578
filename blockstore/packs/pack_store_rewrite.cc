// Compaction: a pack is replaced by itself without its dead frames. Payloads are copied as they
// are, so a damaged one stays exactly as damaged as it was.
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
  // Opened for this alone: what other readers hold may be an older file.
  QUOIN_ASSIGN(const PackPointer pack, Pack::Open(file_system_, id, PathOf(id)));
  if (!pack->is_complete()) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("cannot rewrite {}: its table is damaged and not all of its frames "
                            "were found",
                            pack->Title()));
  }
  Result<Rewritten> rewritten = WriteLive(*pack, live, temporary);
  if (rewritten && !rewritten->written) return rewritten;
  Status status = rewritten ? Status() : Failure(rewritten.error());
  if (status) status = file_system_.Rename(temporary, pack->path());
  if (!status) {
    (void)file_system_.Remove(temporary);  // the first error is the one that counts
    return Failure(status.error());
  }
  Close(id);
  QUOIN_TRY(file_system_.SyncDirectory(ParentPath(pack->path())));
  return rewritten;
}

Result<PackStore::Rewritten> PackStore::WriteLive(const Pack& pack, const LiveSlots& live,
                                                  const std::string& temporary) {
  std::vector<size_t> kept;
  for (size_t i = 0; i < pack.frames().size(); ++i) {
    if (IsLive(pack.frames()[i], live)) kept.push_back(i);
  }
  Rewritten rewritten{pack.file_bytes(), pack.file_bytes(), pack.frames().size() - kept.size(), false};
  if (rewritten.frames_removed == 0 && pack.is_intact()) return rewritten;

  QUOIN_ASSIGN(const std::shared_ptr<const SlotDigests> digests, pack.Digests());
  QUOIN_ASSIGN(const std::unique_ptr<PackFileWriter> writer,
               PackFileWriter::Create(file_system_, pack.id(), temporary));
  std::vector<Digest> kept_digests;
  std::vector<std::byte> bytes;
  for (const size_t i : kept) {
    const FrameEntry& frame = pack.frames()[i];
    bytes.resize(kFrameHeaderBytes + frame.stored_bytes());
    QUOIN_ASSIGN(const bool right,
                 pack.ReadStored(i, std::span(bytes).subspan(kFrameHeaderBytes)));
    if (!right) {
      spdlog::error("{}: the frame of slots {} to {} is damaged, and copied as it is",
                    pack.Title(), frame.first_slot(), frame.end_slot() - 1);
    }
    QUOIN_TRY(writer->CopyFrame(frame, bytes));
    const std::span<const Digest> of_frame = digests->OfFrame(i);
    kept_digests.insert(kept_digests.end(), of_frame.begin(), of_frame.end());
  }
  QUOIN_TRY(writer->Finish(kept_digests));
  rewritten.written = true;
  rewritten.bytes_after = writer->file_bytes();
  return rewritten;
}

}  // namespace quoin

#include "blockstore/packs/pack_file_writer.h"

#include <algorithm>
#include <cstdlib>

namespace quoin {

Result<std::unique_ptr<PackFileWriter>> PackFileWriter::Create(FileSystem& file_system,
                                                               const Id& pack,
                                                               const std::string& path) {
  QUOIN_ASSIGN(std::unique_ptr<File> file,
               file_system.Open(path, {Access::kReadWrite, Creation::kExclusive, 0600}));
  QUOIN_TRY(file->Write(0, EncodePackHeader(pack)));
  return std::unique_ptr<PackFileWriter>(new PackFileWriter(pack, std::move(file)));
}

Status PackFileWriter::WriteFrame(FrameEntry::Fields fields, std::span<std::byte> bytes) {
  const std::span<const std::byte> payload = bytes.subspan(kFrameHeaderBytes);
  fields.stored_bytes = static_cast<uint32_t>(payload.size());
  fields.checksum = PackChecksum(payload);
  return Append(fields, bytes);
}

Status PackFileWriter::CopyFrame(const FrameEntry& frame, std::span<std::byte> bytes) {
  return Append(frame.fields(), bytes);
}

Status PackFileWriter::Append(FrameEntry::Fields fields, std::span<std::byte> bytes) {
  const uint64_t offset = end_.fetch_add(bytes.size(), std::memory_order_relaxed);
  fields.payload_offset = offset + kFrameHeaderBytes;
  const Result<FrameEntry> entry = FrameEntry::Make(fields, kMaxPackFileBytes);
  if (!entry) std::abort();  // what we make ourselves is within the limits
  EncodeFrameHeader(pack_, *entry, bytes.first<kFrameHeaderBytes>());
  QUOIN_TRY(file_->Write(offset, bytes));
  const MutexLock lock(entries_mutex_);
  entries_.push_back(*entry);
  return {};
}

Status PackFileWriter::Finish(std::span<const Digest> digests) {
  const MutexLock lock(entries_mutex_);
  std::sort(entries_.begin(), entries_.end(), [](const FrameEntry& a, const FrameEntry& b) {
    return a.first_slot() < b.first_slot();
  });
  const uint64_t table_offset = file_bytes();
  const std::vector<std::byte> end = EncodePackEnd(pack_, entries_, digests, table_offset);
  QUOIN_TRY(file_->Write(table_offset, end));
  end_ += end.size();
  return file_->Sync(SyncKind::kFull);
}

}  // namespace quoin

// What the workers of an appender do: compress and write frames, finish full packs, and on the first
// error stop everything.
#include <algorithm>
#include <cstring>
#include <utility>

#include "blockstore/packs/pack_appender.h"

namespace quoin {

void PackAppender::Work() {
  while (true) {
    Job job;
    {
      const MutexLock lock(work_mutex_);
      while (queue_.empty() && !stopping_) work_to_do_.Wait(work_mutex_);
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    if (job.raw == nullptr) {
      FinishPack(job.pack);
    } else {
      Run(std::move(job));
    }
  }
}

void PackAppender::Run(Job job) {
  const Status status = FirstError() ? WriteFrame(job) : Status();
  if (!status) StopWith(status.error());
  bool finish = false;
  {
    const MutexLock lock(work_mutex_);
    bytes_under_way_ -= job.fields.raw_bytes;
    job.pack->raw_bytes_under_way -= job.fields.raw_bytes;
    --job.pack->frames_under_way;
    finish = job.pack->full && job.pack->frames_under_way == 0 && !error_;
    work_done_.NotifyAll();
  }
  if (finish) FinishPack(job.pack);
}

Status PackAppender::WriteFrame(const Job& job) {
  // One buffer a thread: the header's room and the payload, written at once.
  thread_local std::vector<std::byte> buffer;
  const std::span<const std::byte> raw(job.raw.get(), job.fields.raw_bytes);
  if (buffer.size() < kFrameHeaderBytes + raw.size()) buffer.resize(kFrameHeaderBytes + raw.size());
  const std::span<std::byte> payload = std::span(buffer).subspan(kFrameHeaderBytes);
  FrameEntry::Fields fields = job.fields;
  const std::optional<size_t> stored = Compress(options_.compression, raw, payload);
  fields.codec = stored ? options_.compression : Compression::kNone;
  if (!stored) std::memcpy(payload.data(), raw.data(), raw.size());
  return job.pack->writer->WriteFrame(
      fields, std::span(buffer).first(kFrameHeaderBytes + stored.value_or(raw.size())));
}

// Called once for each pack, when it is full and nothing of it is under way.
void PackAppender::FinishPack(const OpenPackPointer& pack) {
  const Status status = FirstError() ? pack->writer->Finish(pack->digests) : FirstError();
  if (!status) {
    StopWith(status.error());
    return;
  }
  pack->file_bytes = pack->writer->file_bytes();
  pack->writer.reset();
  pack->digests = {};
  const MutexLock lock(work_mutex_);
  --unfinished_packs_;
  work_done_.NotifyAll();
}

Status PackAppender::FirstError() {
  const MutexLock lock(work_mutex_);
  if (error_) return Failure(*error_);
  return {};
}

// The first error counts. What was written gives its space back at once: it may be what is missing.
void PackAppender::StopWith(const Error& error) {
  {
    const MutexLock lock(work_mutex_);
    if (error_) return;
    error_ = error;
    work_done_.NotifyAll();
  }
  RemoveTemporaries();
}

void PackAppender::RemoveTemporaries() {
  std::vector<std::string> temporaries;
  {
    const MutexLock lock(work_mutex_);
    temporaries = temporaries_;
  }
  for (const std::string& path : temporaries) (void)store_.file_system().Remove(path);
}

}  // namespace quoin

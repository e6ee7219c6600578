// Packs being written: blocks and records are appended, and become packs of the store at Finish.
//
// Thread-safe; additions take turns. Frames are compressed and written by worker threads, in any
// order; where a slot will lie is known at once. Until Finish everything is in temporaries, which an
// appender that is destroyed, or fails, removes; a crash leaves them behind. Packs that Finish has
// published stay, also if it fails later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "blockstore/base/digest.h"
#include "blockstore/base/mutex.h"
#include "blockstore/packs/compression.h"
#include "blockstore/packs/pack_file_writer.h"
#include "blockstore/packs/pack_store.h"
#include "blockstore/packs/records.h"

namespace quoin {

inline constexpr uint32_t kMaxBlocksPerAddition = 4096;             // 16 MiB
inline constexpr uint64_t kMaxBytesUnderWay = uint64_t{8} << 20;    // raw bytes that workers hold
inline constexpr size_t kMaxPacksUnderWay = 3;  // being filled, or full and being synced

struct PackAppenderOptions {
  Compression compression = Compression::kLz4;
  size_t worker_threads = 2;  // with 0 the caller's thread does everything, in order
  uint64_t max_pack_bytes = kMaxPackBytes;
  // A path that does not exist, on the store's filesystem, another one each time. Called with a
  // mutex held.
  std::function<std::string()> make_temporary;
};

struct PublishedPack {
  Id id;
  uint32_t slots = 0;
  uint64_t file_bytes = 0;
};

inline uint64_t FileBytes(const std::vector<PublishedPack>& packs) {
  uint64_t bytes = 0;
  for (const PublishedPack& pack : packs) bytes += pack.file_bytes;
  return bytes;
}

class PackAppender final : public RecordWriter {
 public:
  // A run of slots that hold blocks, and what they hold.
  using DigestVisitor =
      std::function<void(const SlotLocation& first, std::span<const Digest> digests)>;

  PackAppender(PackStore& store, PackAppenderOptions options);
  ~PackAppender() override;
  PackAppender(const PackAppender&) = delete;
  PackAppender& operator=(const PackAppender&) = delete;

  // Puts blocks, at most kMaxBlocksPerAddition, into consecutive slots of one pack; `digests` has one
  // for each. Small additions share frames if no record comes between. Waits while too much is
  // under way. Once a write has failed, this and all that follows fail with that error.
  Result<SlotLocation> AddBlocks(std::span<const std::byte> blocks, std::span<const Digest> digests)
      QUOIN_EXCLUDES(append_mutex_, work_mutex_);

  // A record fills a slot and a frame of its own, so the blocks before and after it are compressed
  // apart: better added after the blocks than between them. kInvalid if it is empty, kTooLarge.
  Result<SlotLocation> AddRecord(RecordKind kind, std::string_view bytes) override
      QUOIN_EXCLUDES(append_mutex_, work_mutex_);

  // Makes all that was added durable and part of the store. `visit`, if there is one, is told the
  // digests of the blocks, pack by pack, read back from the packs (they are not kept in memory); a
  // pack that cannot be read back is left out, with a line in the log. Nothing can be added after.
  Result<std::vector<PublishedPack>> Finish(const DigestVisitor& visit = nullptr)
      QUOIN_EXCLUDES(append_mutex_, work_mutex_);

 private:
  // A pack from its first slot on. What is under way is counted under work_mutex_.
  struct OpenPack {
    Id id;
    std::string temporary;
    std::unique_ptr<PackFileWriter> writer;  // null once the file is finished
    std::vector<Digest> digests;             // of the slots so far; changed by additions only
    uint32_t slots = 0;
    uint64_t file_bytes = 0;  // once it is finished
    uint64_t raw_bytes_under_way = 0;
    size_t frames_under_way = 0;
    bool full = false;  // nothing more is added
  };
  using OpenPackPointer = std::shared_ptr<OpenPack>;

  // A frame to compress and write; without bytes: a full pack to finish.
  struct Job {
    OpenPackPointer pack;
    FrameEntry::Fields fields;
    std::unique_ptr<std::byte[]> raw;
  };

  // Additions.
  Status CheckOpen() QUOIN_REQUIRES(append_mutex_) QUOIN_EXCLUDES(work_mutex_);
  Status MakeRoom(uint32_t slots, uint64_t raw_bytes) QUOIN_REQUIRES(append_mutex_);
  bool WouldPassLimit(const OpenPack& pack, uint32_t slots, uint64_t raw_bytes)
      QUOIN_REQUIRES(append_mutex_) QUOIN_EXCLUDES(work_mutex_);
  Status BeginPack() QUOIN_REQUIRES(append_mutex_) QUOIN_EXCLUDES(work_mutex_);
  Status FillFrame(std::span<const std::byte>& blocks) QUOIN_REQUIRES(append_mutex_);
  Status SubmitFrame() QUOIN_REQUIRES(append_mutex_);
  Status Submit(Job job) QUOIN_REQUIRES(append_mutex_) QUOIN_EXCLUDES(work_mutex_);
  Status ClosePack() QUOIN_REQUIRES(append_mutex_) QUOIN_EXCLUDES(work_mutex_);

  // Workers.
  void Work() QUOIN_EXCLUDES(work_mutex_);
  void Run(Job job) QUOIN_EXCLUDES(work_mutex_);
  Status WriteFrame(const Job& job);
  void FinishPack(const OpenPackPointer& pack) QUOIN_EXCLUDES(work_mutex_);
  Status FirstError() QUOIN_EXCLUDES(work_mutex_);
  void StopWith(const Error& error) QUOIN_EXCLUDES(work_mutex_);
  void RemoveTemporaries() QUOIN_EXCLUDES(work_mutex_);

  // Finish.
  Status WaitForPacks() QUOIN_EXCLUDES(work_mutex_);
  void Report(const Id& id, const DigestVisitor& visit);

  // Constant after construction.
  PackStore& store_;
  const PackAppenderOptions options_;
  std::vector<std::thread> workers_;

  // Held for a whole addition; workers never take it.
  Mutex append_mutex_{LockRank::kPackAppend};
  OpenPackPointer current_ QUOIN_GUARDED_BY(append_mutex_);
  Job frame_ QUOIN_GUARDED_BY(append_mutex_);  // blocks that do not fill a frame yet
  std::vector<OpenPackPointer> packs_ QUOIN_GUARDED_BY(append_mutex_);  // all, in order
  bool closed_ QUOIN_GUARDED_BY(append_mutex_) = false;

  Mutex work_mutex_{LockRank::kPackWork};
  Condition work_to_do_;
  Condition work_done_;
  std::deque<Job> queue_ QUOIN_GUARDED_BY(work_mutex_);
  uint64_t bytes_under_way_ QUOIN_GUARDED_BY(work_mutex_) = 0;
  size_t unfinished_packs_ QUOIN_GUARDED_BY(work_mutex_) = 0;
  std::vector<std::string> temporaries_ QUOIN_GUARDED_BY(work_mutex_);
  std::optional<Error> error_ QUOIN_GUARDED_BY(work_mutex_);
  bool stopping_ QUOIN_GUARDED_BY(work_mutex_) = false;
};

}  // namespace quoin

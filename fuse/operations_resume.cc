// Going on where a daemon before ended: its nodes, and what the kernel has open.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <thread>
#include <utility>

#include "fuse/operations.h"
#include "snapshots/vdi.h"

namespace quoin {
namespace {

// Each VDI that is opened again costs a few syncs, which go on at the same time.
constexpr size_t kMaxThreads = 16;

// Errors after which it makes sense to try all of it again: the storage may be out of reach for a while.
bool MayPass(ErrorCode code) {
  return code == ErrorCode::kIo || code == ErrorCode::kNoSpace || code == ErrorCode::kAccessDenied;
}

// What a handle is answered with from now on that cannot be opened again: the file is not what it was.
int RefusalFor(const Error& error) {
  return error.code == ErrorCode::kCorrupt ? ToErrno(error.code) : ESTALE;
}

}  // namespace

// What is left of the handle's rights is in its slot.
Result<std::unique_ptr<FileHandle>> Operations::OpenAgain(KeptFile& kept) {
  auto handle = std::make_unique<FileHandle>();
  handle->kept = &kept;
  handle->node = inodes_.Find(kept.number);
  if (handle->node == nullptr) return std::unique_ptr<FileHandle>();
  handle->uses_page_cache = (kept.flags & KeptFile::kCached) != 0;
  handle->writable = (kept.flags & KeptFile::kWritable) != 0;
  handle->opener = kept.opener;
  const NodeKey& key = handle->node->key;
  const auto refuse = [&](const Error& error) {
    spdlog::error("an open file ({}) cannot be opened again: {}; who has it open gets errors until it "
                  "is closed", key.vdi.ToString(), error.what);
    handle->refuses_with = RefusalFor(error);
  };
  if (key.kind == NodeKind::kVdi) {
    Result<VdiHandle> opened =
        store_.OpenVdi(key.vdi, handle->writable ? Access::kReadWrite : Access::kRead);
    if (!opened) {
      if (MayPass(opened.error().code)) return Failure(opened.error());
      refuse(opened.error());
    } else if (handle->writable && (*opened)->tenure().kept_since > kept.epoch) {
      refuse({ErrorCode::kLostOwnership, "another owner has had it in between", ""});
    } else {
      handle->vdi = std::move(*opened);
      handle->image = &*handle->vdi;
    }
  } else if (key.kind == NodeKind::kSnapshot) {
    Result<std::shared_ptr<Image>> opened = store_.OpenSnapshot(key.vdi, key.snapshot);
    if (opened) {
      handle->snapshot = std::move(*opened);
      handle->image = handle->snapshot.get();
    } else {
      if (MayPass(opened.error().code)) return Failure(opened.error());
      refuse(opened.error());
    }
  } else {
    handle->text = control_files_.Content(key.kind);
  }
  return handle;
}

// Of one VDI and its snapshots. Those that write come first: a reader of a VDI whose owner has died would
// recover and publish it.
Status Operations::OpenAgain(const std::vector<KeptFile*>& files) {
  for (const bool is_writers_turn : {true, false}) {
    for (KeptFile* const kept : files) {
      if (((kept->flags & KeptFile::kWritable) != 0) != is_writers_turn) continue;
      QUOIN_ASSIGN(std::unique_ptr<FileHandle> handle, OpenAgain(*kept));
      if (handle == nullptr) {
        kept_.FreeFile(kept);
      } else {
        open_files_.AddAgain(std::move(handle));
      }
    }
  }
  return {};
}

void Operations::ResumeFolder(KeptFile& kept) {
  auto handle = std::make_shared<FolderHandle>();
  handle->kept = &kept;
  handle->node = inodes_.Find(kept.number);
  if (handle->node == nullptr) return kept_.FreeFile(&kept);
  const uint64_t number = kept_.NumberOf(kept);
  MutexLock lock(folders_mutex_);
  folders_.emplace(number, std::move(handle));
  if (const uint64_t opened_by = kept.opened_by.load()) offered_folders_[opened_by] = number;
}

Status Operations::Resume() {
  inodes_.Resume();
  std::map<Id, std::vector<KeptFile*>> by_vdi;
  for (KeptFile* const kept : kept_.Files()) {
    if (kept->state.load() == KeptFile::kFolder) {
      ResumeFolder(*kept);
      continue;
    }
    const std::shared_ptr<Node> node = inodes_.Find(kept->number);
    by_vdi[node == nullptr ? Id() : node->key.vdi].push_back(kept);
  }
  std::vector<const std::vector<KeptFile*>*> groups;
  for (const auto& [vdi, files] : by_vdi) {
    groups.push_back(&files);
    const bool has_writer = std::any_of(files.begin(), files.end(), [](const KeptFile* kept) {
      return (kept->flags & KeptFile::kWritable) != 0;
    });
    if (!has_writer && !vdi.IsNull()) resumed_readers_.push_back(vdi);
  }
  std::vector<Status> results(groups.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < groups.size(); i = next++) results[i] = OpenAgain(*groups[i]);
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(groups.size(), kMaxThreads); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  for (const Status& result : results) QUOIN_TRY(result);
  return {};
}

void Operations::FinishResuming() {
  for (const Id& vdi : resumed_readers_) notifier_.ContentReplaced(vdi);
  resumed_readers_.clear();
  lanes_.flushes.Post([this] { store_.FlushAll(); });
}

}  // namespace quoin

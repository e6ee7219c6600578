// The open files of the mount: what the kernel's file handles stand for, and per VDI how many there
// are. Owned by Operations; thread-safe. A handle's number is that of its slot in the KeptSession, so that
// the next daemon knows it too; reads and writes find it without a lock.
//
// Why waiting: close(2) returns when the kernel has sent FLUSH; it sends RELEASE later, on its own.
// "cp a vdis/b; rm vdis/b" would find the file still open. So a change that needs the VDI to itself
// waits for releases that are to be expected.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "blockstore/base/mutex.h"
#include "fuse/copy_recognition.h"
#include "fuse/kept_session.h"
#include "fuse/node.h"
#include "snapshots/store.h"

namespace quoin {

struct FileHandle {
  std::shared_ptr<Node> node;
  KeptFile* kept = nullptr;  // its slot
  uint64_t number = 0;       // what the kernel knows it by
  int refuses_with = 0;      // an errno: a daemon before had opened it, and it cannot be opened again
  bool uses_page_cache = false;
  bool writable = false;            // only ever a VDI's
  pid_t opener = 0;                 // the thread that opened it; 0 if it cannot be seen from here
  Image* image = nullptr;           // what is read: of `vdi` or `snapshot`; null for a control file
  VdiHandle vdi;                    // of a kVdi
  std::shared_ptr<Image> snapshot;  // of a kSnapshot
  std::string text;                 // of a control file: its content as of the open
  std::unique_ptr<CopyRecognition> copy;  // of a VDI that may become a copy of a snapshot
  // The last thing that happened was close(2) of a descriptor.
  std::atomic<bool> flushed{false};
};

class OpenFiles {
 public:
  // `kept` outlives it.
  explicit OpenFiles(KeptSession& kept) : kept_(kept) {}
  ~OpenFiles();

  // The handle is known to the kernel by its number until Close. `opened_by` is the request that is to be
  // answered with it; MarkAnswered says that it was. Null if there are too many; it is closed then.
  FileHandle* Add(std::unique_ptr<FileHandle> handle, uint64_t opened_by);
  // The handle may have been closed since the answer, and its slot be another's: so it is not looked at.
  static void MarkAnswered(KeptFile& kept, uint64_t opened_by) {
    opened_by &= ~kSentAgain;
    kept.opened_by.compare_exchange_strong(opened_by, 0);
  }
  // A handle that a daemon before had, in the slot that it has.
  FileHandle* AddAgain(std::unique_ptr<FileHandle> handle);
  // Null for a number that no handle has.
  FileHandle* Find(uint64_t number) const {
    const size_t index = KeptSession::IndexOf(number);
    if (index >= KeptSession::kMaxFiles) return nullptr;
    const Chunk* const chunk = chunks_[index / kChunkFiles].load(std::memory_order_acquire);
    if (chunk == nullptr) return nullptr;
    FileHandle* const found = (*chunk)[index % kChunkFiles].load(std::memory_order_acquire);
    return found != nullptr && found->number == number ? found : nullptr;
  }
  // The handle that a daemon before was about to answer this request with, or null. Once.
  FileHandle* TakeOffered(uint64_t unique);
  // Closes it, which flushes and lets go of the VDI if it was the last; the error of that.
  Status Close(FileHandle* handle);
  // The same for a request that may come twice (sent again after a daemon died), and find nothing.
  Status CloseNumber(uint64_t number);
  void CloseAll();

  // What a thread that has a snapshot open, and now a new VDI, may be about to copy; null if it has
  // none open.
  std::unique_ptr<CopyRecognition> CopyBy(pid_t opener, Store& store);

  // True as soon as no handle of the node is left but `own` (which may be null or not yet added);
  // false if that is not to be expected: after 1 s if the others look as if they were being closed,
  // after 0.1 s otherwise.
  bool WaitUntilUnused(uint64_t number, const FileHandle* own);

 private:
  struct OfNode {
    std::vector<FileHandle*> open;
    size_t closing = 0;
  };
  static constexpr size_t kChunkFiles = 1024;
  using Chunk = std::array<std::atomic<FileHandle*>, kChunkFiles>;

  FileHandle* Enter(std::unique_ptr<FileHandle> handle);
  // Null if it is not there any more, whatever the pointer points to by now.
  std::unique_ptr<FileHandle> Take(FileHandle* handle) QUOIN_REQUIRES(mutex_);
  Status End(std::unique_ptr<FileHandle> owned);
  void SetAt(uint64_t number, FileHandle* handle) QUOIN_REQUIRES(mutex_);

  static bool IsUnused(const OfNode& of_node, const FileHandle* own);
  static bool IsBeingClosed(const OfNode& of_node, const FileHandle* own);

  KeptSession& kept_;
  std::array<std::atomic<Chunk*>, KeptSession::kMaxFiles / kChunkFiles> chunks_{};
  Mutex mutex_{LockRank::kTree};
  Condition closed_;
  std::unordered_map<uint64_t, FileHandle*> offered_ QUOIN_GUARDED_BY(mutex_);  // by request
  std::unordered_map<FileHandle*, std::unique_ptr<FileHandle>> handles_ QUOIN_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, OfNode> nodes_ QUOIN_GUARDED_BY(mutex_);
};

}  // namespace quoin

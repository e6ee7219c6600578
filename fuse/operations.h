// The kernel's requests, one method each. A method finds the node or handle that is meant, asks the
// Store, and answers. Owned by Session; called by its workers, any number at once.
//
// Reads, writes and what is answered from memory run on the calling worker, without a lock or an
// allocation; all else may wait and goes to a blocking lane. Methods that do so copy what they are
// given: names and data lie in the worker's buffer, which is used again when the method returns.
//
// Lock order: none. No lock is held while the Store is called or the kernel answered; Inodes and
// OpenFiles lock for themselves.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "fuse/cache_notifier.h"
#include "fuse/control_files.h"
#include "fuse/folder_handle.h"
#include "fuse/init_exchange.h"
#include "fuse/inodes.h"
#include "fuse/kept_session.h"
#include "fuse/lanes.h"
#include "fuse/libfuse.h"
#include "fuse/metrics.h"
#include "fuse/open_files.h"
#include "fuse/request.h"
#include "fuse/tree.h"
#include "snapshots/store.h"

namespace quoin {

class Operations {
 public:
  // Both must outlive it.
  Operations(Store& store, KeptSession& kept, std::function<std::string()> status_json);
  ~Operations();
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  // What libfuse calls; the user data of its session is the Operations.
  static const fuse_lowlevel_ops& Table();
  InitExchange& init_exchange() { return init_exchange_; }
  // The session to tell of changes; null when it is going away.
  void SetSession(fuse_session* session) { notifier_.SetSession(session); }
  // Goes on where a daemon before ended: knows its nodes, and opens again what the kernel has open. What
  // cannot be opened any more is answered with ESTALE from now on. An error of the storage, after which all
  // of it can be tried again.
  Status Resume();
  // Afterwards, once there is a session to tell: what the kernel has of VDIs that are open for reading only
  // may be old, and what was not recorded is recorded and published.
  void FinishResuming();
  // When no request comes any more: ends what is under way and closes what is still open.
  void Finish();
  // The same, but all that is open stays open for the next daemon.
  void FinishForNext();

  // --- names (operations_names.cc) -----------------------------------------------------------
  void Lookup(Request request, fuse_ino_t parent, const char* name);
  void Forget(Request request, fuse_ino_t number, uint64_t references);
  void ForgetMany(Request request, size_t count, fuse_forget_data* forgets);
  void ReadLink(Request request, fuse_ino_t number);
  void MakeNode(Request request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device);
  void MakeFolder(Request request, fuse_ino_t parent, const char* name, mode_t mode);
  void Unlink(Request request, fuse_ino_t parent, const char* name);
  void RemoveFolder(Request request, fuse_ino_t parent, const char* name);
  void SymbolicLink(Request request, const char* target, fuse_ino_t parent, const char* name);
  void Rename(Request request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
              const char* new_name, unsigned flags);
  void Link(Request request, fuse_ino_t number, fuse_ino_t new_parent, const char* new_name);

  // --- opening and closing (operations_open.cc) ------------------------------------------------
  void Open(Request request, fuse_ino_t number, fuse_file_info* file);
  void Create(Request request, fuse_ino_t parent, const char* name, mode_t mode,
              fuse_file_info* file);
  void Flush(Request request, fuse_ino_t number, fuse_file_info* file);
  void Release(Request request, fuse_ino_t number, fuse_file_info* file);

  // --- file data (operations_data.cc) ----------------------------------------------------------
  void Read(Request request, fuse_ino_t number, size_t size_bytes, off_t offset,
            fuse_file_info* file);
  void Write(Request request, fuse_ino_t number, const char* data, size_t size_bytes, off_t offset,
             fuse_file_info* file);
  void Sync(Request request, fuse_ino_t number, int data_only, fuse_file_info* file);
  void Allocate(Request request, fuse_ino_t number, int mode, off_t offset, off_t length,
                fuse_file_info* file);
  void Seek(Request request, fuse_ino_t number, off_t offset, int whence, fuse_file_info* file);
  void CopyRange(Request request, fuse_ino_t source, off_t source_offset,
                 fuse_file_info* source_file, fuse_ino_t target, off_t target_offset,
                 fuse_file_info* target_file, size_t length, int flags);

  // --- attributes (operations_attributes.cc) ---------------------------------------------------
  void GetAttributes(Request request, fuse_ino_t number, fuse_file_info* file);
  void SetAttributes(Request request, fuse_ino_t number, struct stat* wanted, int to_set,
                     fuse_file_info* file);
  void StatFs(Request request, fuse_ino_t number);
  void SetXattr(Request request, fuse_ino_t number, const char* name, const char* value,
                size_t size_bytes, int flags);
  void GetXattr(Request request, fuse_ino_t number, const char* name, size_t room_bytes);
  void ListXattr(Request request, fuse_ino_t number, size_t room_bytes);
  void RemoveXattr(Request request, fuse_ino_t number, const char* name);

  // --- folders (operations_folders.cc) ---------------------------------------------------------
  void OpenFolder(Request request, fuse_ino_t number, fuse_file_info* file);
  void ReadFolder(Request request, fuse_ino_t number, size_t room_bytes, off_t offset,
                  fuse_file_info* file);
  void ReadFolderPlus(Request request, fuse_ino_t number, size_t room_bytes, off_t offset,
                      fuse_file_info* file);
  void ReleaseFolder(Request request, fuse_ino_t number, fuse_file_info* file);
  void SyncFolder(Request request, fuse_ino_t number, int data_only, fuse_file_info* file);

  Metrics& metrics() { return metrics_; }

 private:
  // The node, or an answer of ESTALE and null.
  std::shared_ptr<Node> Find(Request& request, fuse_ino_t number);
  // The open file that the kernel means, or an answer of EBADF, or of what it refuses with, and null.
  FileHandle* FileOf(Request& request, const fuse_file_info* file);
  std::shared_ptr<FolderHandle> FolderOf(Request& request, const fuse_file_info* file);

  // resuming (operations_resume.cc)
  Result<std::unique_ptr<FileHandle>> OpenAgain(KeptFile& kept);
  Status OpenAgain(const std::vector<KeptFile*>& files);
  void ResumeFolder(KeptFile& kept);

  // names
  // `name_seconds`: for how long the kernel may use the name, unless it is a fixed one.
  void AnswerEntry(Request request, const Node& parent, const std::string& name,
                   const Found& found, double name_seconds);
  Entry RememberEntry(const Node& parent, const std::string& name, const Found& found);
  Result<Found> MakeFile(const Node& parent, const std::string& name, mode_t mode,
                         const Request& request);
  // What was noted of the request by a daemon that died before it answered; nothing of a new request.
  std::optional<KeptSession::Begun> BegunBefore(const Request& request);
  bool WasMadeSince(const Found& found, int64_t since_ns);
  // True if the request had removed or renamed what `name` led to, before its daemon died.
  bool IsGone(const std::optional<KeptSession::Begun>& before, const Node& folder,
              const std::string& name) const;
  Status TakeSnapshot(const Node& folder, const std::string& name);
  Status RemoveVdi(const Node& folder, const std::string& name);
  Status RenameInVdis(const Node& from, const std::string& name, const Node& to,
                      const std::string& new_name,
                      const std::optional<KeptSession::Begun>& before);
  Status RenameEntry(const Node& from, const std::string& name, const Node& to,
                     const std::string& new_name,
                     const std::optional<KeptSession::Begun>& before);

  // opening
  Result<std::unique_ptr<FileHandle>> OpenNode(const std::shared_ptr<Node>& node, int flags);
  FileHandle* AddHandle(std::unique_ptr<FileHandle> handle, const Request& request);
  void AnswerOpen(Request request, FileHandle& handle);
  void AnswerCreated(Request request, const Entry& entry, FileHandle& handle);
  Result<std::unique_ptr<FileHandle>> OpenVdi(const std::shared_ptr<Node>& node, int flags);
  Result<std::unique_ptr<FileHandle>> OpenSnapshot(const std::shared_ptr<Node>& node, int flags,
                                                   bool just_taken);
  void CreateNow(Request request, const Node& parent, const std::string& name, mode_t mode,
                 int flags);

  // data
  Status WriteOrShare(FileHandle& handle, uint64_t offset, std::span<const std::byte> bytes);
  void FinishWrite(Request request, FileHandle& handle, off_t offset, size_t size_bytes);
  Status AllocateIn(FileHandle& handle, int mode, uint64_t offset, uint64_t length);

  // attributes
  Status ApplyAttributes(const Node& node, const struct stat& wanted, int to_set,
                         const FileHandle* handle, pid_t caller);
  Status ApplyToVdi(const Node& node, const struct stat& wanted, int to_set,
                    const FileHandle* handle);
  Status ApplyToFolder(const Node& node, const struct stat& wanted, int to_set);
  // `through`: the caller's own handle, or null.
  Status Truncate(const Node& node, uint64_t size_bytes, const FileHandle* through);
  Result<std::vector<std::pair<std::string, std::string>>> Xattrs(const Node& node);

  // folders
  std::shared_ptr<FolderHandle> TakeOfferedFolder(uint64_t unique);
  void CloseFolder(uint64_t number);
  void ReadFolderNow(Request request, FolderHandle& handle, size_t room_bytes, off_t offset,
                     bool with_attributes);
  static bool AddDot(FolderAnswer& answer, const char* name, uint64_t number, off_t next_offset);
  std::vector<Seen> LookAtListed(const Node& folder, std::span<const Listed> listed,
                                 bool with_attributes);
  void AddListed(FolderAnswer& answer, const Node& folder, const Listed& listed, const Seen& seen,
                 off_t next_offset);

  Store& store_;
  KeptSession& kept_;
  Metrics metrics_;
  Inodes inodes_;
  const Tree tree_;
  const ControlFiles control_files_;
  OpenFiles open_files_;
  InitExchange init_exchange_;
  Mutex folders_mutex_{LockRank::kTree};
  std::unordered_map<uint64_t, std::shared_ptr<FolderHandle>> folders_
      QUOIN_GUARDED_BY(folders_mutex_);  // by the kernel's number
  std::unordered_map<uint64_t, uint64_t> offered_folders_ QUOIN_GUARDED_BY(folders_mutex_);
  std::vector<Id> resumed_readers_;  // VDIs; between Resume and FinishResuming
  // Destroyed first, so that their threads find all of the above.
  CacheNotifier notifier_;
  Lanes lanes_;
};

// Where a worker of the session reads and writes. Null on every other thread.
struct WorkerBuffer {
  std::span<std::byte> read_buffer;  // aligned to a page, kMaxRequestBytes
  uint64_t moved_bytes = 0;          // by the request that is being answered
};
WorkerBuffer*& CurrentWorkerBuffer();

// The largest read or write that the kernel may send.
inline constexpr size_t kMaxRequestBytes = size_t{1} << 20;

}  // namespace quoin

// What the kernel holds of a mount, in memory that outlives the daemon: how the connection began, the nodes
// that it has references to, its file handles, and the requests that were begun and must not be done twice.
// A daemon that is started again finds it there and goes on answering as if it had been there all the time.
//
// The memory is a file in memory that the keeper holds open, or one of this process alone. Every change is
// made so that the process may be killed before and after each store: a slot is filled before its state
// says so. Too many references are harmless (a node is remembered for too long); too few never happen.
//
// Owned by the daemon's main, outlives the Session. The tables' slots are handed out under a mutex; who has
// one writes to it under its own.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blockstore/base/error.h"
#include "blockstore/base/mutex.h"
#include "fuse/node.h"

namespace quoin {

// The number of a request. The kernel sets the upper bit of those that it sends again.
inline constexpr uint64_t kSentAgain = uint64_t{1} << 63;

// A NodeKey as bytes.
struct KeptKey {
  uint32_t kind;
  uint32_t unused;
  std::array<uint8_t, Id::kBytes> vdi;
  std::array<uint8_t, Id::kBytes> snapshot;
  uint64_t folder_number;

  void Set(const NodeKey& key);
  NodeKey ToKey() const;
};

// A node that the kernel has references to.
struct KeptInode {
  std::atomic<uint32_t> is_used;
  std::atomic<uint32_t> name_bytes;  // 0: not known, or just being changed
  KeptKey key;
  uint64_t number;
  std::atomic<uint64_t> lookups;
  std::atomic<uint64_t> parent_folder;  // the number of the folder that it is in; 0: at the top
  std::array<char, 256> name;           // a folder's, a VDI's of its folder of snapshots, a snapshot's
  std::atomic<int32_t> creator;
  std::atomic<int64_t> created_at_ns;  // by the monotonic clock
  // A snapshot's record, as far as stat shows it.
  uint64_t snapshot_size_bytes;
  uint64_t snapshot_data_blocks;
  int64_t snapshot_created_ns;
  uint32_t snapshot_mode;
  uint32_t snapshot_uid;
  uint32_t snapshot_gid;

  void SetName(const std::string& name_now);
  std::string Name() const;
  void SetSnapshot(const SnapshotRecord& record);
  SnapshotRecord ToSnapshot() const;
};

// A handle that the kernel has, or is about to get.
struct KeptFile {
  enum State : uint32_t { kFree, kFile, kFolder };
  static constexpr uint32_t kWritable = 1;
  static constexpr uint32_t kCached = 2;

  std::atomic<uint32_t> state;
  uint32_t generation;  // of the slot: a handle that was closed is never taken for the next one
  uint64_t number;      // of its node
  uint32_t flags;
  int32_t opener;
  std::atomic<uint64_t> opened_by;  // the request that it is the answer to, until that is sent; else 0
  uint64_t epoch;                   // of the VDI's owner, if it is writable
};

// A request that was begun and not yet answered.
struct KeptRequest {
  std::atomic<uint64_t> unique;  // 0: free
  int64_t begun_ns;              // Unix time
  uint32_t has_subject;
  KeptKey subject;
};

class KeptSession {
 public:
  // `descriptor` is of a file in memory, new or as another process left it; it stays the caller's.
  // kNewerFormat if its layout is not ours.
  static Result<std::unique_ptr<KeptSession>> Attach(int descriptor);
  // Whether Attach could, without a change.
  static Status CheckLayout(int descriptor);
  // In memory of this process alone.
  static Result<std::unique_ptr<KeptSession>> Make();
  ~KeptSession();
  KeptSession(const KeptSession&) = delete;
  KeptSession& operator=(const KeptSession&) = delete;

  // --- the connection ------------------------------------------------------------------------
  // Once the tree is mounted and the kernel's first exchange is done; another daemon can go on from here.
  bool is_mounted() const;
  void MarkMounted(dev_t device);
  dev_t device() const;
  // The INIT request and our answer to it, at most kMaxInitBytes each.
  void KeepInit(std::span<const std::byte> request);
  void KeepInitAnswer(std::span<const std::byte> answer);
  std::vector<std::byte> init() const;
  std::vector<std::byte> init_answer() const;

  // --- nodes -----------------------------------------------------------------------------------
  // To be filled; null if there are kMaxInodes.
  KeptInode* NewInode();
  void FreeInode(KeptInode* inode);
  std::vector<KeptInode*> Inodes();

  // --- handles ---------------------------------------------------------------------------------
  // Null if there are kMaxFiles.
  KeptFile* NewFile();
  void FreeFile(KeptFile* file);
  std::vector<KeptFile*> Files();
  // What the kernel knows a handle by. Never 0.
  uint64_t NumberOf(const KeptFile& file) const;
  static size_t IndexOf(uint64_t handle) { return (handle & 0xffffffff) - 1; }

  // --- requests --------------------------------------------------------------------------------
  // What was noted of this request by a process before.
  struct Begun {
    int64_t begun_ns = 0;
    std::optional<NodeKey> subject;  // what the name that it changes led to before
  };
  std::optional<Begun> FindBegun(uint64_t unique);
  void NoteBegun(uint64_t unique, const std::optional<NodeKey>& subject);
  void ForgetBegun(uint64_t unique);

  static constexpr size_t kMaxInodes = size_t{1} << 20;
  static constexpr size_t kMaxFiles = size_t{1} << 20;
  static constexpr size_t kMaxRequests = 512;
  static constexpr size_t kMaxInitBytes = 1024;

 private:
  struct Layout;
  explicit KeptSession(Layout& layout);
  void FindUsed() QUOIN_EXCLUDES(mutex_);

  int own_descriptor_ = -1;  // constant once it is made; -1: the caller's
  Layout& layout_;
  Mutex mutex_{LockRank::kLeaf};
  // Slots below these have been used; of those that are free again there is a list.
  size_t inodes_used_ QUOIN_GUARDED_BY(mutex_) = 0;
  size_t files_used_ QUOIN_GUARDED_BY(mutex_) = 0;
  std::vector<uint32_t> free_inodes_ QUOIN_GUARDED_BY(mutex_);
  std::vector<uint32_t> free_files_ QUOIN_GUARDED_BY(mutex_);
};

// The note of a request that must not be done twice, as long as it is under way.
class BegunRequest {
 public:
  BegunRequest(KeptSession& kept, uint64_t unique, const std::optional<NodeKey>& subject)
      : kept_(kept), unique_(unique) {
    kept_.NoteBegun(unique_, subject);
  }
  ~BegunRequest() { kept_.ForgetBegun(unique_); }
  BegunRequest(const BegunRequest&) = delete;
  BegunRequest& operator=(const BegunRequest&) = delete;

 private:
  KeptSession& kept_;
  const uint64_t unique_;
};

}  // namespace quoin

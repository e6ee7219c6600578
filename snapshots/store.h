// An open store: names, VDIs and snapshots of one folder on shared storage, as one process of one
// host sees and changes them. What the fuse room and the command are written against.
//
// Thread-safe. Every change is durable when its method returns success, and whole or absent after a
// crash at any point (the order of each is in snapshots/README.md). A method that must change a VDI
// becomes its owner for that time (or uses the ownership that an open handle has); if another
// process or host owns it, the error is kBusy and names the owner. Names are "lab/db02"; snapshots
// are named by VDI and snapshot name.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/base/id.h"
#include "blockstore/base/monotonic_clock.h"
#include "metadata/host.h"
#include "metadata/names.h"
#include "metadata/superblock.h"
#include "metadata/vdi_records.h"
#include "metadata/writer_lock.h"
#include "snapshots/cluster_report.h"
#include "snapshots/collect_report.h"
#include "snapshots/image.h"
#include "snapshots/scrub_report.h"
#include "snapshots/seal_counts.h"
#include "snapshots/space_report.h"
#include "snapshots/store_activity.h"

namespace quoin {

class KeptHeads;
class Vdi;
class GroupSteps;
struct NewSnapshot;

struct StoreOptions {
  // How long an open for writing waits for another owner to let go.
  std::chrono::milliseconds ownership_wait{3000};
  // How long an owner goes on after its heartbeat, and how long an open for writing waits to be certain
  // that another host's owner is dead, which takes its lease and two tenths more (metadata/lease.h).
  std::chrono::milliseconds lease{10'000};
  std::chrono::milliseconds take_over_wait{20'000};
  // Shows itself to the other hosts from the start, and not only once it owns something.
  bool announces_itself = false;
  // How long who refers to packs waits for a collector that decides, which takes it a moment.
  std::chrono::milliseconds collector_wait{60'000};
  // Of decompressed frames, and of decoded nodes of maps.
  uint64_t frame_cache_bytes = uint64_t{256} << 20;
  uint64_t node_cache_bytes = uint64_t{64} << 20;
  // Where this host keeps its index of digests, in a folder of the store's; "": nowhere, and only what
  // one seal itself stores is found again.
  std::string state_dir;
  uint64_t index_entries = uint64_t{16} << 20;  // one for 32 KiB stored: 512 GiB
  // Of what collectors have declared dead this process remembers at most so many runs of slots, of 8
  // bytes: 8 MiB. Beyond, nothing more is shared with the packs of which it knows the most...
  uint64_t known_dead_runs = uint64_t{1} << 20;
  // ... and at most so many packs, of 40 bytes. Beyond, nothing is shared with packs that were there
  // before, until the store is opened anew.
  uint64_t known_dead_packs = uint64_t{1} << 20;
  // Seals by itself, so long after a VDI's newest snapshot, and collects garbage by itself.
  bool seals_in_background = false;
  std::chrono::milliseconds seal_delay{5000};
  std::chrono::milliseconds record_delay{60'000};  // of root records with nothing else to seal
  // After so long without a writer, what a VDI that has snapshots or an origin holds is sealed too.
  std::chrono::milliseconds idle_seal_delay{600'000};
  size_t seal_threads = 2;
  // Finishes frozen layers after a snapshot was answered; if not, before.
  bool finishes_in_background = true;
  // Where heads keep what they own, so that a session which its keeper starts again goes on with writes
  // that were answered and not flushed. Null: they are lost with the process. Outlives the store.
  KeptHeads* kept_heads = nullptr;
  // By which leases and waits for other owners go.
  MonotonicClock* clock = &SystemClock();
};

// What stat, `quoin ls -l` and `quoin info` tell of a VDI.
struct VdiInfo {
  Id id;
  uint64_t size_bytes = 0;
  uint64_t data_blocks = 0;    // visible data, blocks of 4 KiB
  uint64_t unique_blocks = 0;  // data in the head: freed if the VDI were removed
  uint64_t shared_blocks = 0;  // data_blocks less what the head holds
  uint64_t layers = 0;
  uint64_t snapshots = 0;
  Attributes attributes;
  int64_t created_ns = 0;
  Id parent_snapshot;
  std::string parent_name;
  uint64_t open_handles = 0;      // in this process
  uint64_t open_for_writing = 0;  // in this process
  std::optional<LockRecord> writer;  // whoever owns it now, here or elsewhere
};

// What stat tells of a VDI: all that it needs, and cheaper than VdiInfo.
struct FileInfo {
  uint64_t size_bytes = 0;
  uint64_t data_blocks = 0;  // visible data, blocks of 4 KiB
  Attributes attributes;
  bool is_passing = false;  // this process is just becoming its owner, who may know better
};

// What stat tells of the folder of a VDI's snapshots: all that it needs, and cheaper than VdiInfo.
struct HistoryInfo {
  Attributes attributes;   // the VDI's
  int64_t changed_ns = 0;  // when the newest snapshot was taken; the VDI was made, if there is none
};

struct SnapshotName {
  std::string vdi;
  std::string snapshot;
};

struct AttributeChange {
  std::optional<uint32_t> mode, uid, gid;
  std::optional<int64_t> atime_ns, mtime_ns;
};

// Told of changes made through this Store, after they are done and with no lock held, so that a
// kernel's caches can be dropped. Methods may be called from any thread.
class StoreObserver {
 public:
  virtual ~StoreObserver() = default;
  virtual void NameChanged(const std::string& name) = 0;  // made, removed or renamed: VDI or folder
  virtual void SnapshotChanged(const Id& vdi, const std::string& snapshot) = 0;
  virtual void SizeOrAttributesChanged(const Id& vdi) = 0;
  virtual void ContentReplaced(const Id& vdi) = 0;  // rollback; another owner's changes
};

// Keeps a VDI open. The first handle for writing makes this process the owner; when the last one is
// destroyed (or Closed) everything is flushed, published and let go. Movable, not copyable; one
// handle's methods may be used by several threads, except Close.
// Must not outlive its Store.
class VdiHandle {
 public:
  VdiHandle() = default;
  ~VdiHandle();
  VdiHandle(VdiHandle&& other) noexcept;
  VdiHandle& operator=(VdiHandle&& other) noexcept;

  Vdi& operator*() const { return *vdi_; }
  Vdi* operator->() const { return vdi_.get(); }
  explicit operator bool() const { return vdi_ != nullptr; }
  Access access() const { return access_; }

  // What destruction does, with the error of the last flush.
  Status Close();

 private:
  friend class Store;
  VdiHandle(std::shared_ptr<Vdi> vdi, Access access) : vdi_(std::move(vdi)), access_(access) {}
  std::shared_ptr<Vdi> vdi_;
  Access access_ = Access::kRead;
};

class Store {
 public:
  // Checks the superblock, then finishes or sweeps what a crash left half made (see README.md).
  // `file_system` must outlive the Store.
  static Result<std::unique_ptr<Store>> Open(FileSystem& file_system, const std::string& root,
                                             HostIdentity self, StoreOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const Superblock& superblock() const;
  const std::string& root() const;
  const HostIdentity& self() const;
  void SetObserver(StoreObserver* observer);  // null: none; must outlive its registration

  // --- names -------------------------------------------------------------------------------
  Result<NameFacts> Lookup(const std::string& name);
  Result<std::vector<NameEntry>> List(const std::string& folder);
  Result<std::vector<NamedVdi>> ListAll(const std::string& folder,
                                        std::vector<std::string>* damaged = nullptr);
  // The name of a VDI, by looking at all names if need be; kNotFound.
  Result<std::string> NameOf(const Id& id);
  Status MakeFolder(const std::string& folder);
  Status RemoveFolder(const std::string& folder);
  // Renames a VDI or a folder; kExists if `to` is taken.
  Status Rename(const std::string& from, const std::string& to);

  // --- VDIs --------------------------------------------------------------------------------
  // Any multiple of 512 up to 256 TiB; kInvalid / kTooLarge. attributes.mode, uid and gid are used.
  Result<Id> CreateVdi(const std::string& name, uint64_t size_bytes, const Attributes& attributes);
  // kNotEmpty while it has snapshots (unless with_snapshots; protected ones refuse with
  // kNotPermitted), kBusy while it is open here or elsewhere.
  Status RemoveVdi(const std::string& name, bool with_snapshots);
  Result<VdiHandle> OpenVdi(const Id& id, Access access);
  Result<VdiInfo> Describe(const Id& id);
  // Waits for no owner; opens nothing that was read before and is as it was.
  Result<FileInfo> DescribeFile(const Id& id);
  // Growing is always allowed; shrinking needs `allow_shrink` and no open handle but, if
  // `through_handle`, the caller's own.
  Status ResizeVdi(const Id& id, uint64_t size_bytes, bool allow_shrink, bool through_handle);
  Status SetAttributes(const Id& id, const AttributeChange& change);

  // --- snapshots ---------------------------------------------------------------------------
  // All at one instant, all or none. kExists, kNotFound, kInvalid.
  Status CreateSnapshots(const std::vector<SnapshotName>& names);
  // By order of taking.
  Result<std::vector<SnapshotRecord>> ListSnapshots(const Id& vdi);
  // These do not become slower with the number of snapshots.
  Result<SnapshotRecord> FindSnapshot(const Id& vdi, const std::string& snapshot);
  Result<SnapshotRecord> FindSnapshot(const Id& vdi, const Id& snapshot);
  Result<SnapshotRecord> NewestSnapshot(const Id& vdi);  // kNotFound if there is none
  Result<HistoryInfo> DescribeHistory(const Id& vdi);
  // kNotPermitted if protected.
  Status RemoveSnapshot(const Id& vdi, const std::string& snapshot);
  Status RenameSnapshot(const Id& vdi, const std::string& snapshot, const std::string& new_name);
  Status ProtectSnapshot(const Id& vdi, const std::string& snapshot, bool protect);
  Result<std::shared_ptr<Image>> OpenSnapshot(const Id& vdi, const Id& snapshot);
  // A new VDI with the snapshot's content; moves no data.
  Result<Id> CloneVdi(const Id& vdi, const std::string& snapshot, const std::string& new_name,
                      const Attributes& attributes);
  // Gives the VDI the snapshot's content; what it held is kept as a new snapshot, whose name is
  // returned. kBusy while it is open.
  Result<std::string> Rollback(const Id& vdi, const std::string& snapshot);

  // Copies bytes into an open VDI without moving them where it can: a copy of a snapshot or VDI onto
  // the same offsets of a pristine VDI shares layers. Returns how many bytes were copied (fewer than
  // asked at the source's end, or when much had to be moved); 0 at the source's end.
  struct CopySource {
    Id vdi;
    Id snapshot;  // null: the VDI as it is now
  };
  Result<uint64_t> CopyRange(const CopySource& source, uint64_t source_offset, VdiHandle& target,
                             uint64_t target_offset, uint64_t length);

  // --- sealing -----------------------------------------------------------------------------
  // Moves what is frozen into packs now, and with `with_head` all that the VDI holds. kBusy if another
  // host owns it.
  Result<SealCounts> SealVdi(const Id& vdi, bool with_head,
                             const std::function<void(uint64_t, uint64_t)>& progress = nullptr);
  // A new VDI with the bytes that `read` gives, put into packs as they come. `read` fills its buffer
  // as far as it can, with less than asked only at the end; the size is rounded up to 512 bytes, and
  // to `size_bytes` if that is more.
  Result<Id> ImportVdi(const std::string& name, uint64_t size_bytes, const Attributes& attributes,
                       const std::function<Result<size_t>(std::span<std::byte>)>& read,
                       const std::function<void(uint64_t)>& progress = nullptr);

  // --- garbage -------------------------------------------------------------------------------
  // Removes from the packs what no VDI refers to (collector.h). kBusy if another collector is at work.
  Result<CollectReport> Collect(const CollectOptions& options);
  // Compares all that is stored with its digests, mends what it can, and says where damage shows
  // (scrubber.h). Damage is no error.
  Result<ScrubReport> Scrub(const ScrubOptions& options);
  // What takes space in the store; reads all maps, several times if `of_each` VDI is asked for too.
  Result<SpaceReport> MeasureSpace(bool of_each);

  // --- locks, space ------------------------------------------------------------------------
  Result<LockStatus> InspectLock(const Id& vdi);
  Status BreakLock(const std::string& name);
  // For so long, a session that opens the VDI for writing may have it, once, though its owner has it open: the
  // owner's handles read on, and their writes fail with kLostOwnership unless nobody has come to change
  // anything. kInvalid if nobody has it open for writing.
  Status GrantHandOver(const Id& vdi, std::chrono::milliseconds duration);
  // Takes a moment, in which every session shows that it is alive.
  Result<ClusterReport> DescribeCluster();
  Result<SpaceFacts> Space();
  uint64_t open_vdis() const;  // VDIs with at least one handle
  bool IsOpenForWriting(const Id& vdi);  // in this process
  // Flushes and publishes all that is open for writing; what cannot be is a line in the log.
  void FlushAll();
  // What this process has done with the store; answers at once, whatever the storage does.
  StoreActivity Activity();

 private:
  friend class VdiHandle;
  friend class Sealer;
  friend class StoreCheck;
  friend class StoreRebuild;
  struct Shared;
  explicit Store(std::unique_ptr<Shared> shared);
  // Whatever superblock the folder has, if it has one.
  static Result<std::unique_ptr<Store>> OpenWith(FileSystem& file_system, const std::string& root,
                                                 HostIdentity self, StoreOptions options,
                                                 Superblock superblock);
  // Becomes the owner of all of them; as a part of `group` if `steps` is not null.
  Status TakeSnapshotsHere(std::vector<NewSnapshot> asked, const Id& group, GroupSteps* steps);
  Status RequireRoom(uint64_t bytes, const std::string& title);
  static Result<uint64_t> MoveBytes(Image& source, uint64_t source_offset, Vdi& target,
                                    uint64_t target_offset, uint64_t length);
  std::unique_ptr<Shared> shared_;
};

}  // namespace quoin

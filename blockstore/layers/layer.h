// A layer: sparse files in which the guest's offset is the file's offset, and the set of blocks
// that they own. A head is written; a frozen layer never changes again.
//
// On disk, in the VDI's layers folder: `<name>` holds the first 8 TiB, `<name>.1` the next and so
// on, each made when first written. A frozen layer has its set beside it in `<name>.owned`; a
// head's set lives in the VDI's database. A file may be shorter than the layer (what is missing was
// never written) but must hold every block that the set calls data.
//
// Each file of a head is locked (TryLock) on the very descriptor that writes it, so that storage
// which fences can refuse a stale owner. Thread-safe. Data is durable after Sync; what is owned is
// durable once the caller has recorded it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "blockstore/layers/ownership_set.h"

namespace quoin {

class Layer {
 public:
  struct Location {
    std::string folder;
    std::string name;
  };

  // What a layer is opened as: `kHeadForReading` is a head that nobody writes just now, and that is
  // written again later, so that what is read of it must not make those writes slow.
  enum class Role { kHead, kHeadForReading, kFrozen };

  // Makes the first file of a new, empty layer and opens it for writing. kExists if it is there.
  // Durable once the folder is synced (Sync does). `ownership` is empty.
  static Result<std::unique_ptr<Layer>> Create(
      FileSystem& file_system, Location location, uint64_t size_bytes,
      std::unique_ptr<OwnershipSet> ownership = std::make_unique<OwnershipSet>());

  // Opens an existing layer. kCorrupt if a file is missing or ends before its last data block.
  static Result<std::unique_ptr<Layer>> Open(FileSystem& file_system, Location location,
                                             uint64_t size_bytes,
                                             std::unique_ptr<OwnershipSet> ownership, Role role);

  // Reads bytes that this layer owns as data; what lies beyond the layer's size is zeros.
  // kCorrupt if the file ends too early: owned data is never replaced by zeros.
  Status Read(uint64_t offset, std::span<std::byte> buffer) const;

  // Heads only. The caller sets the ownership after.
  Status Write(uint64_t offset, std::span<const std::byte> bytes);
  // Gives the space of whole blocks back; no error where the storage cannot.
  Status PunchHole(uint64_t offset, uint64_t length);
  // Sets the size of the layer and of its files.
  Status Resize(uint64_t size_bytes);
  // All data written so far, and the names of the files made, are durable afterwards.
  Status Sync();
  // Of these the names only.
  Status SyncNames();
  // Has storage begin to take what was written in these regions, in small pieces: a kernel that does
  // not preempt itself then lets others run in between, as it does not within one long Sync. Sync
  // afterwards.
  void BeginWriteOut(std::span<const RegionRecord> regions);
  // Lets go of the write locks: the layer is frozen from here on.
  Status Freeze();

  // Hard-links a frozen layer's files, `<name>.owned` included, into another folder under
  // the same names; the caller syncs that folder.
  static Status LinkFiles(FileSystem& file_system, const Location& from, const Location& to);
  // Removes every file of the layer, as far as there are any.
  static Status RemoveFiles(FileSystem& file_system, const Location& location);
  static std::string OwnershipPath(const Location& location);
  static std::string SegmentPath(const Location& location, uint64_t segment);
  // The layer's name in a file name of the layers folder ("7-2.owned", "7-2.1" -> "7-2").
  static std::string NameOfFile(const std::string& file_name);

  OwnershipSet& ownership() { return *ownership_; }
  const OwnershipSet& ownership() const { return *ownership_; }
  const Location& location() const { return location_; }
  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_acquire); }
  // Of the layer's first file.
  Result<FileIdentity> Identity() const;

 private:
  Layer(FileSystem& file_system, Location location, uint64_t size_bytes,
        std::unique_ptr<OwnershipSet> ownership, Role role);

  Status OpenSegments();
  Status CheckSegmentLength(uint64_t segment, File& file) const;
  Result<File*> SegmentForWriting(uint64_t segment);
  Result<std::unique_ptr<File>> CreateSegment(uint64_t segment);
  uint64_t SegmentSizeOf(uint64_t segment, uint64_t layer_bytes) const;

  // Constant after construction.
  FileSystem& file_system_;
  const Location location_;
  const std::unique_ptr<OwnershipSet> ownership_;
  const Role role_;

  std::atomic<uint64_t> size_bytes_;
  std::atomic<bool> folder_dirty_{false};
  std::atomic<bool> punching_works_{true};

  Mutex segments_mutex_{LockRank::kLayerSegments};
  std::array<std::unique_ptr<File>, kMaxLayerSegments> segments_
      QUOIN_GUARDED_BY(segments_mutex_);
  // The same files, for readers; set once each.
  std::array<std::atomic<File*>, kMaxLayerSegments> open_segments_{};
};

}  // namespace quoin

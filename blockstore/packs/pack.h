// An open pack: an immutable file of frames, and where in it each slot lies.
//
// Thread-safe. Reading never changes the file. What is damaged stays an error and harms nothing
// beside it: a damaged table is rebuilt from the frames' own headers, of a damaged frame the blocks
// that still match their SHA-256 are read, damaged digests are computed anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "blockstore/packs/pack_format.h"

namespace quoin {

// SHA-256 of what each slot of a pack holds.
class SlotDigests {
 public:
  SlotDigests(const std::vector<FrameEntry>& frames, std::vector<Digest> digests);

  // Those of a frame's slots (`frame` is its number in the pack); a null digest is not known.
  std::span<const Digest> OfFrame(size_t frame) const {
    return std::span(digests_).subspan(first_rows_[frame],
                                       first_rows_[frame + 1] - first_rows_[frame]);
  }
  const std::vector<Digest>& all() const { return digests_; }

 private:
  std::vector<Digest> digests_;       // in the order of the slots
  std::vector<uint32_t> first_rows_;  // of each frame, and the end
};

class Pack {
 public:
  // kNotFound; kCorrupt if neither the beginning nor the end is that pack's; kNewerFormat.
  static Result<std::shared_ptr<const Pack>> Open(FileSystem& file_system, const Id& id,
                                                  std::string path);

  const Id& id() const { return id_; }
  const std::string& path() const { return path_; }
  uint64_t file_bytes() const { return file_bytes_; }
  const std::vector<FrameEntry>& frames() const { return frames_; }
  uint32_t slots() const { return slots_; }  // held
  // Every frame that was ever written is known: the table is intact, or was rebuilt without loss.
  bool is_complete() const { return complete_; }
  // Header, trailer and table were right when it was opened; of the rest nothing is said.
  bool is_intact() const { return intact_; }

  // The number of the frame that holds the slot.
  std::optional<size_t> FrameOf(uint32_t slot) const;

  // Fills `out`, of exactly the frame's raw bytes. Returns which slots are damaged: their bytes
  // mean nothing; all others are right. Fails only if the file cannot be read.
  Result<SlotMask> ReadFrame(size_t frame, std::span<std::byte> out) const;

  // The same, and compares every slot with its digest, which ReadFrame does only where the checksum
  // is wrong. A slot whose digest is null counts as right if the frame's checksum does.
  Result<SlotMask> VerifyFrame(size_t frame, const SlotDigests& digests,
                               std::span<std::byte> out) const;

  // False if the frame's own header, of which the table has a copy, is damaged.
  Result<bool> IsFrameHeaderRight(size_t frame) const;

  // The stored payload as it is; false if it does not match its checksum.
  Result<bool> ReadStored(size_t frame, std::span<std::byte> out) const;

  // Loads the digests, up to 4 MiB, and keeps them until they are dropped. Digests that are damaged
  // are computed from the frames; those of damaged frames are null then.
  Result<std::shared_ptr<const SlotDigests>> Digests() const QUOIN_EXCLUDES(digests_mutex_);
  // False if the stored digests are damaged, or cannot be told apart since frames are missing.
  Result<bool> AreDigestsRight() const;
  void DropDigests() const QUOIN_EXCLUDES(digests_mutex_);

  // "pack 0123… (path)", for messages.
  std::string Title() const;

 private:
  Pack(const Id& id, std::string path, std::unique_ptr<File> file, uint64_t file_bytes);

  Status Load();
  Result<PackTrailer> ReadTrailer() const;
  Result<std::vector<FrameEntry>> ReadTable(const PackTrailer& trailer) const;
  Status Rebuild(const Result<PackTrailer>& trailer, std::string_view reason);
  Result<SlotDigests> LoadDigests() const;
  // Nothing if they are damaged.
  Result<std::optional<std::vector<Digest>>> ReadStoredDigests() const;
  Result<std::vector<Digest>> HashFrames() const;
  Result<SlotMask> Salvage(size_t frame, std::span<const std::byte> stored,
                           std::span<std::byte> out) const;

  // Constant after Load.
  const Id id_;
  const std::string path_;
  const std::unique_ptr<File> file_;
  const uint64_t file_bytes_;
  std::vector<FrameEntry> frames_;  // in the order of their slots
  uint32_t slots_ = 0;
  bool complete_ = false;
  bool intact_ = false;
  std::optional<PackTrailer> trailer_;  // if it is right and counts what frames_ holds

  mutable Mutex digests_mutex_{LockRank::kLeaf};
  mutable std::shared_ptr<const SlotDigests> digests_ QUOIN_GUARDED_BY(digests_mutex_);
};

}  // namespace quoin

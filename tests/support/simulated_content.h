// The bytes of one file of SimulatedFileSystem: what the running system sees, and beside it what a
// disk would still hold after a crash. Sparse; memory is proportional to the pages touched, and a
// page is stored once while the two agree.
//
// Between two syncs a page remembers a few of its earlier states besides the durable and the
// present one, so that a tearing crash can leave any of them, sector by sector. Not thread-safe:
// the filesystem's mutex serialises.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

namespace quoin::simulation {

class SimulatedContent {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr uint64_t kSectorBytes = 512;  // what a crash never tears

  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t allocated_bytes() const { return allocated_pages_ * kPageBytes; }
  bool synced() const { return dirty_.empty() && size_bytes_ == durable_size_bytes_; }

  // Returns how many bytes there were before the end of the file.
  size_t Read(uint64_t offset, std::span<std::byte> buffer) const;

  // Writes from the front as long as no more than `new_pages_limit` pages must be allocated.
  // Returns how many bytes were written.
  size_t Write(uint64_t offset, std::span<const std::byte> bytes, uint64_t new_pages_limit);

  void Truncate(uint64_t size_bytes);
  void PunchHole(uint64_t offset, uint64_t length);

  // What the running system sees is durable from here on, except for what a failed sync dropped.
  void Sync();
  // A sync that failed, as Linux does it: the pages count as clean afterwards, and no later sync
  // makes them durable unless they are written again.
  void FailSync();

  // The system stops; what was not synced is lost, or survives in part as `random` says.
  void LoseUnsynced();
  void TearUnsynced(std::mt19937_64& random);

 private:
  using Bytes = std::array<std::byte, kPageBytes>;
  using PagePointer = std::shared_ptr<Bytes>;  // null: zeros that take no space
  static constexpr size_t kEarlierStates = 2;

  enum class PageState : uint8_t { kClean, kDirty, kAbandoned };
  struct Page {
    PagePointer present;
    PagePointer durable;
    std::vector<PagePointer> earlier;  // states between durable and present
    PageState state = PageState::kClean;
  };
  using Pages = std::map<uint64_t, Page>;

  enum class Survival { kNone, kAll, kPages, kSectors };

  static size_t ReadPage(const PagePointer& page, uint64_t offset, std::span<std::byte> buffer);
  void MarkDirty(uint64_t number, Page& page);
  Bytes& BytesForChange(uint64_t number, Page& page);
  void DropBytes(uint64_t number, Page& page);
  void ZeroWithin(uint64_t offset, uint64_t length);
  static PagePointer Survivor(const Page& page, Survival survival, std::mt19937_64& random);
  uint64_t SurvivingSize(Survival survival, std::mt19937_64& random) const;
  void CutDurable(uint64_t size_bytes);
  void RestartFromDurable();
  void SettleCut(bool survives);

  Pages pages_;
  std::vector<uint64_t> dirty_;  // numbers of the pages in state kDirty
  uint64_t size_bytes_ = 0;
  uint64_t durable_size_bytes_ = 0;
  std::optional<uint64_t> cut_bytes_;  // the smallest size that it was cut to since the last sync
  uint64_t allocated_pages_ = 0;       // pages with bytes in the present state
};

}  // namespace quoin::simulation

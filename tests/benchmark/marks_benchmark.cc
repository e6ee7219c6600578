// How fast a collection marks: what it takes to walk maps in packs and mark every slot that they refer
// to, with the product's own walk and marks.
//
//   marks_benchmark FOLDER [MILLIONS]
//
// Makes maps of MILLIONS million blocks (20 unless given) in each of several shapes, and for the last
// shape several disks of a quarter of that, each with many snapshots; the blocks themselves are not
// stored. Prints a table, and leaves nothing behind. One thread marks.
#include <fmt/format.h>

#include <array>
#include <boost/filesystem.hpp>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "blockstore/base/posix_file_system.h"
#include "blockstore/maps/map.h"
#include "blockstore/maps/map_builder.h"
#include "blockstore/maps/node_cache.h"
#include "blockstore/maps/region_edit.h"
#include "blockstore/packs/pack_appender.h"
#include "blockstore/packs/pack_store.h"
#include "snapshots/pack_marks.h"

namespace {

using namespace quoin;
namespace bfs = boost::filesystem;

constexpr uint64_t kSlotsOfPack = uint64_t{1} << 16;
constexpr size_t kDisks = 4;
constexpr size_t kSnapshots = 200;      // of each disk
constexpr size_t kChangedBlocks = 256;  // between two snapshots, each by itself
constexpr uint64_t kNodeCacheBytes = uint64_t{256} << 20;

template <typename T>
T Must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "marks_benchmark: {}\n", result.error().what);
  std::exit(1);
}
void Must(const Status& status) {
  if (status) return;
  fmt::print(stderr, "marks_benchmark: {}\n", status.error().what);
  std::exit(1);
}

// What one seal writes: nodes go to a pack, and are read back from memory until it is published.
class NodesOfASeal final : public RecordReader, public RecordWriter {
 public:
  NodesOfASeal(PackStore& packs, const std::string& folder)
      : packs_(packs), appender_(packs, Options(folder)) {}

  Result<SlotLocation> AddRecord(RecordKind kind, std::string_view bytes) override {
    QUOIN_ASSIGN(const SlotLocation at, appender_.AddRecord(kind, bytes));
    written_[at] = std::make_shared<const std::string>(bytes);
    return at;
  }
  Result<std::shared_ptr<const std::string>> ReadRecord(RecordKind kind,
                                                        const SlotLocation& at) override {
    const auto known = written_.find(at);
    if (known != written_.end()) return known->second;
    return packs_.ReadRecord(kind, at);
  }
  void Publish() { Must(appender_.Finish()); }

 private:
  static PackAppenderOptions Options(const std::string& folder) {
    PackAppenderOptions options;
    options.make_temporary = [folder, next = 0]() mutable {
      return fmt::format("{}/temporary-{}", folder, next++);
    };
    return options;
  }

  PackStore& packs_;
  PackAppender appender_;
  std::unordered_map<SlotLocation, std::shared_ptr<const std::string>, SlotLocationHash> written_;
};

// Slots of blocks that nobody has stored, in packs that are full of them.
class Slots {
 public:
  SlotLocation At(uint64_t number) {
    const uint64_t pack = number / kSlotsOfPack;
    while (packs_.size() <= pack) packs_.push_back(Id::Random());
    return {packs_[pack], static_cast<uint32_t>(number % kSlotsOfPack)};
  }
  // The first of so many new ones.
  uint64_t Take(uint64_t count) { return std::exchange(taken_, taken_ + count); }

 private:
  std::vector<Id> packs_;
  uint64_t taken_ = 0;
};

// The digests of a region's blocks only have to differ; each block's follows from its slot.
RegionNode Build(const RegionEdit& edit) {
  std::array<Digest, kRegionBlocks> digests{};
  for (uint32_t block = 0; block < kRegionBlocks; ++block) {
    const SlotLocation slot = edit.SlotOf(block);
    if (slot.IsNull()) continue;
    const std::array<uint64_t, 2> source = {slot.pack.Prefix(), slot.slot};
    digests[block] = DigestOf(std::as_bytes(std::span(source)));
  }
  return edit.Build(digests);
}

// Fills a region with runs of so many blocks, apart from one another by a hole, whose slots do not
// follow one another either.
RegionEdit RegionOfRuns(Slots& slots, uint32_t run_blocks) {
  const uint32_t step = run_blocks + 1;
  const uint32_t runs = kRegionBlocks / step;
  const uint64_t base = slots.Take(uint64_t{runs} * step);
  RegionEdit edit;
  for (uint32_t run = 0; run < runs; ++run) {
    const uint64_t elsewhere = uint64_t{run} * 37 % runs;  // 37 divides none of the counts of runs
    edit.SetData(run * step, run_blocks, slots.At(base + elsewhere * step));
  }
  return edit;
}

struct Shape {
  std::vector<MapRoot> roots;
  uint64_t regions = 0;
};

Shape DiskOfRuns(PackStore& packs, const std::string& folder, Slots& slots, uint64_t blocks,
                 uint32_t run_blocks) {
  const uint64_t blocks_of_region = kRegionBlocks / (run_blocks + 1) * run_blocks;
  NodesOfASeal nodes(packs, folder);
  NodeCache cache(kNodeCacheBytes);
  const std::unique_ptr<Map> empty = Must(Map::Open(nodes, cache, MapRoot()));
  MapBuilder builder(*empty, nodes);
  Shape shape;
  for (; shape.regions * blocks_of_region < blocks; ++shape.regions) {
    Must(builder.SetRegion(shape.regions, Build(RegionOfRuns(slots, run_blocks))));
  }
  shape.roots.push_back(Must(builder.Finish()));
  nodes.Publish();
  return shape;
}

// Snapshots that change single blocks all over the disk, each over the map of the one before.
void AddSnapshots(PackStore& packs, const std::string& folder, Slots& slots, Shape& disk,
                  uint64_t seed) {
  std::mt19937_64 random(seed);
  NodesOfASeal nodes(packs, folder);
  NodeCache cache(kNodeCacheBytes);
  for (size_t snapshot = 0; snapshot < kSnapshots; ++snapshot) {
    std::map<uint64_t, std::vector<uint32_t>> changed;
    for (size_t n = 0; n < kChangedBlocks; ++n) {
      // Most of it where most was changed before, as guests do.
      const uint64_t region = random() % 4 == 0 ? random() % disk.regions
                                                : random() % (1 + disk.regions / 16);
      changed[region].push_back(static_cast<uint32_t>(random() % kRegionBlocks));
    }
    const std::unique_ptr<Map> base = Must(Map::Open(nodes, cache, disk.roots.back()));
    MapBuilder builder(*base, nodes);
    for (const auto& [region, blocks] : changed) {
      const uint64_t first = region * kRegionBlocks;
      RegionEdit edit;
      Must(base->ForEachExtent(first, first + kRegionBlocks,
                               [&](uint64_t at, uint64_t count, const SlotLocation& slot) -> Status {
                                 edit.SetData(static_cast<uint32_t>(at - first),
                                              static_cast<uint32_t>(count), slot);
                                 return {};
                               }));
      for (const uint32_t block : blocks) edit.SetData(block, 1, slots.At(slots.Take(1)));
      Must(builder.SetRegion(region, Build(edit)));
    }
    disk.roots.push_back(Must(builder.Finish()));
  }
  nodes.Publish();
}

void Mark(PosixFileSystem& file_system, const std::string& folder, const char* what,
          const std::vector<MapRoot>& roots) {
  // As the collector: past the caches, with packs that nobody has open.
  FrameCache no_frames(0);
  PackStore packs(file_system, folder, no_frames);
  PackMarks marks;
  const auto begin = std::chrono::steady_clock::now();
  const std::clock_t processor_begin = std::clock();
  for (const MapRoot& root : roots) Must(VisitReachable(packs, root, marks));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double processor_seconds =
      static_cast<double>(std::clock() - processor_begin) / CLOCKS_PER_SEC;
  uint64_t shown = 0;
  for (const MapRoot& root : roots) shown += root.data_blocks;
  const double seen = static_cast<double>(marks.blocks()) / 1e6;
  fmt::print("{:<34}{:>6}{:>10}{:>11.1f}{:>11.1f}{:>9.2f}{:>12.1f}{:>12.1f}\n", what, roots.size(),
             marks.nodes(), static_cast<double>(shown) / 1e6, seen, seconds, seen / seconds,
             seen / processor_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fmt::print(stderr, "usage: marks_benchmark FOLDER [MILLIONS]\n");
    return 2;
  }
  const uint64_t blocks = (argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 20) * 1'000'000;
  const std::string folder = (bfs::path(argv[1]) / bfs::unique_path("marks-%%%%%%%%")).string();
  PosixFileSystem file_system;
  Must(file_system.MakeDirectory(folder, 0700));
  {
    FrameCache frames(0);
    PackStore packs(file_system, folder, frames);
    Slots slots;
    fmt::print("{:<34}{:>6}{:>10}{:>11}{:>11}{:>9}{:>12}{:>12}\n", "", "maps", "nodes", "M shown",
               "M marked", "seconds", "M/s", "M/s of CPU");
    for (const uint32_t run_blocks : {1023U, 31U, 1U}) {
      const Shape disk = DiskOfRuns(packs, folder, slots, blocks, run_blocks);
      const std::string what =
          run_blocks == 1 ? "single blocks" : fmt::format("runs of {} blocks", run_blocks);
      Mark(file_system, folder, what.c_str(), disk.roots);
    }
    std::vector<MapRoot> roots;
    for (size_t number = 0; number < kDisks; ++number) {
      Shape disk = DiskOfRuns(packs, folder, slots, blocks / kDisks, 31);
      AddSnapshots(packs, folder, slots, disk, number);
      roots.insert(roots.end(), disk.roots.begin(), disk.roots.end());
    }
    Mark(file_system, folder,
         fmt::format("{} disks of runs of 31, {} snapshots", kDisks, kSnapshots).c_str(), roots);
  }
  bfs::remove_all(folder);
  return 0;
}

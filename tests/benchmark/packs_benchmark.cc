// How fast packs are written and read, on the filesystem of the folder given:
//
//   packs_benchmark FOLDER [MIB]
//
// Appends MIB MiB (1,024 unless given) of blocks that compress to about half, then reads them. Leaves
// nothing behind.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/filesystem.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "blockstore/base/posix_file_system.h"
#include "blockstore/packs/pack_appender.h"
#include "blockstore/packs/pack_store.h"

namespace {

using namespace quoin;
namespace bfs = boost::filesystem;

constexpr size_t kAdditionBlocks = 256;
constexpr size_t kAdditionBytes = kAdditionBlocks * kBlockBytes;
constexpr size_t kRandomReads = 2'000'000;
constexpr size_t kHotFrames = 2'000;

template <typename T>
T Must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "packs_benchmark: {}\n", result.error().what);
  std::exit(1);
}
void Must(const Status& status) {
  if (status) return;
  fmt::print(stderr, "packs_benchmark: {}\n", status.error().what);
  std::exit(1);
}

// What something took, by the clock and of the processors: on a busy machine the two differ.
struct Taken {
  double seconds = 0;
  double processor_seconds = 0;
};

Taken Measure(const std::function<void()>& act) {
  const auto begin = std::chrono::steady_clock::now();
  const std::clock_t processor_begin = std::clock();
  act();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
          static_cast<double>(std::clock() - processor_begin) / CLOCKS_PER_SEC};
}

std::string Rate(double bytes, const Taken& taken) {
  return fmt::format("{:.0f} MB/s; {:.0f} MB per processor second", bytes / taken.seconds / 1e6,
                     bytes / taken.processor_seconds / 1e6);
}

// Bytes like those of files: words of a small vocabulary between random ones; lz4 halves them.
std::vector<std::byte> MakeBlocks(uint64_t seed) {
  std::vector<std::byte> blocks(kAdditionBytes);
  std::mt19937_64 random(seed);
  std::vector<uint64_t> words(512);
  for (uint64_t& word : words) word = random();
  for (size_t at = 0; at < blocks.size();) {
    const uint64_t choice = random();
    const size_t length = 8 * (1 + choice % 6);
    for (size_t i = 0; i < length && at < blocks.size(); i += 8, at += 8) {
      const uint64_t value = (choice & 192) == 0 ? random() : words[(choice >> 8) % 500 + i / 8];
      std::memcpy(blocks.data() + at, &value, 8);
    }
  }
  return blocks;
}

struct Written {
  std::vector<SlotLocation> additions;
  uint64_t file_bytes = 0;
};

Written Append(PackStore& store, const std::string& folder, uint64_t mib, Compression codec,
               bool hashing) {
  std::vector<std::vector<std::byte>> samples;
  for (uint64_t seed = 0; seed < 32; ++seed) samples.push_back(MakeBlocks(seed));
  Written written;
  const Taken taken = Measure([&] {
    PackAppenderOptions options;
    options.compression = codec;
    options.make_temporary = [folder, next = 0]() mutable {
      return fmt::format("{}/temporary-{}", folder, next++);
    };
    PackAppender appender(store, std::move(options));
    std::vector<Digest> digests(kAdditionBlocks);
    for (uint64_t i = 0; i < mib; ++i) {
      const std::span<const std::byte> blocks = samples[i % samples.size()];
      if (hashing) {
        for (size_t b = 0; b < kAdditionBlocks; ++b) {
          digests[b] = DigestOf(blocks.subspan(b * kBlockBytes, kBlockBytes));
        }
      }
      written.additions.push_back(Must(appender.AddBlocks(blocks, digests)));
    }
    for (const PublishedPack& pack : Must(appender.Finish())) written.file_bytes += pack.file_bytes;
  });
  const double bytes = static_cast<double>(mib * kAdditionBytes);
  fmt::print("append, {}{}, with the final sync: {}; stored as {:.0f} %\n", ToWord(codec),
             hashing ? " and SHA-256" : "", Rate(bytes, taken),
             100.0 * static_cast<double>(written.file_bytes) / bytes);
  return written;
}

void ReadAll(PackStore& store, const Written& written, size_t piece_bytes, const char* what) {
  std::vector<std::byte> buffer(piece_bytes);
  const Taken taken = Measure([&] {
    for (const SlotLocation& at : written.additions) {
      for (uint64_t offset = 0; offset < kAdditionBytes; offset += piece_bytes) {
        Must(store.ReadBlocks(at, kAdditionBlocks, offset, buffer));
      }
    }
  });
  fmt::print("sequential read in {} KiB pieces, {}: {}\n", piece_bytes >> 10, what,
             Rate(static_cast<double>(written.additions.size() * kAdditionBytes), taken));
}

void ReadRandomly(PackStore& store, const Written& written, size_t additions, const char* what) {
  std::vector<std::byte> buffer(kBlockBytes);
  std::mt19937_64 random(1);
  additions = std::min(additions, written.additions.size());
  const auto read = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const uint64_t draw = random();
      Must(store.ReadBlocks(written.additions[draw % additions], kAdditionBlocks,
                            (draw >> 32) % kAdditionBlocks * kBlockBytes, buffer));
    }
  };
  read(additions * kAdditionBlocks);  // warms the cache
  const Taken taken = Measure([&] { read(kRandomReads); });
  fmt::print("random 4 KiB reads, {}: {:.0f} ns each, {:.0f} of a processor\n", what,
             taken.seconds * 1e9 / static_cast<double>(kRandomReads),
             taken.processor_seconds * 1e9 / static_cast<double>(kRandomReads));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fmt::print(stderr, "usage: packs_benchmark FOLDER [MIB]\n");
    return 2;
  }
  const uint64_t mib = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 1024;
  const std::string folder = (bfs::path(argv[1]) / bfs::unique_path("packs-%%%%%%%%")).string();
  PosixFileSystem file_system;
  Must(file_system.MakeDirectory(folder, 0700));
  {
    FrameCache no_cache(0);
    FrameCache cache(kHotFrames * kMaxBlockFrameBytes);
    PackStore cold(file_system, folder, no_cache);
    PackStore store(file_system, folder, cache);
    (void)Append(store, folder, mib, Compression::kLz4, false);
    const Written zstd = Append(store, folder, mib / 4, Compression::kZstd, true);
    const Written written = Append(store, folder, mib, Compression::kLz4, true);
    ReadAll(cold, written, kAdditionBytes, "lz4, frames not cached");
    ReadAll(cold, zstd, kAdditionBytes, "zstd, frames not cached");
    ReadAll(store, {{written.additions.begin(), written.additions.begin() + mib / 32}, 0}, 64 << 10,
            "first pass");
    ReadAll(store, {{written.additions.begin(), written.additions.begin() + mib / 32}, 0}, 64 << 10,
            "frames cached");
    ReadRandomly(store, written, 4, "4 MiB of frames cached");
    ReadRandomly(store, written, 64, "64 MiB of frames cached");
  }
  bfs::remove_all(folder);
  return 0;
}

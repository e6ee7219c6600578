// Packs for tests: blocks of all sorts, and a store of packs on a simulated filesystem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "blockstore/packs/pack_appender.h"
#include "blockstore/packs/pack_store.h"
#include "tests/support/simulated_file_system.h"

namespace quoin {

// A block that no other number has: by turns it compresses well, a little, and not at all.
inline std::vector<std::byte> SampleBlock(uint64_t number) {
  std::vector<std::byte> block(kBlockBytes);
  std::mt19937_64 random(number * 2 + 1);
  const size_t random_bytes = number % 3 == 0 ? 64 : number % 3 == 1 ? 2048 : kBlockBytes;
  for (size_t i = 0; i < kBlockBytes; i += 8) {
    const uint64_t value = i < random_bytes ? random() : number;
    std::memcpy(block.data() + i, &value, 8);
  }
  return block;
}

inline std::vector<std::byte> SampleBlocks(uint64_t first, uint64_t count) {
  std::vector<std::byte> blocks;
  for (uint64_t number = first; number < first + count; ++number) {
    const std::vector<std::byte> block = SampleBlock(number);
    blocks.insert(blocks.end(), block.begin(), block.end());
  }
  return blocks;
}

inline std::vector<Digest> DigestsOfBlocks(std::span<const std::byte> blocks) {
  std::vector<Digest> digests;
  for (size_t at = 0; at < blocks.size(); at += kBlockBytes) {
    digests.push_back(DigestOf(blocks.subspan(at, kBlockBytes)));
  }
  return digests;
}

// Options that make temporaries in `folder`, "0", "1" and so on.
inline PackAppenderOptions SampleOptions(const std::string& folder, size_t worker_threads = 0) {
  PackAppenderOptions options;
  options.worker_threads = worker_threads;
  options.make_temporary = [folder, next = 0]() mutable {
    return folder + "/" + std::to_string(next++);
  };
  return options;
}

inline Result<SlotLocation> AddSampleBlocks(PackAppender& appender, uint64_t first,
                                            uint64_t count) {
  const std::vector<std::byte> blocks = SampleBlocks(first, count);
  return appender.AddBlocks(blocks, DigestsOfBlocks(blocks));
}

// A store of packs at /packs, temporaries in /tmp.
struct SamplePackStore {
  explicit SamplePackStore(uint64_t cache_bytes = 16 << 20, size_t max_open_packs = 8)
      : cache(cache_bytes), store(file_system, "/packs", cache, max_open_packs) {
    for (const char* folder : {"/packs", "/tmp"}) (void)file_system.MakeDirectory(folder);
    (void)file_system.SyncDirectory("/");
  }

  SimulatedFileSystem file_system;
  FrameCache cache;
  PackStore store;
};

}  // namespace quoin

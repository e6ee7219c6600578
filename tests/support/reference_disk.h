// What a disk should hold: the blocks that were written, by number, and the size. A block is in the
// map if and only if the disk must report it as data. Copies share blocks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "blockstore/base/block.h"

namespace quoin {

class ReferenceDisk {
 public:
  using Block = std::array<std::byte, kBlockBytes>;

  uint64_t size_bytes = 0;
  std::map<uint64_t, std::shared_ptr<const Block>> blocks;

  void Write(uint64_t offset, std::span<const std::byte> bytes) {
    const uint64_t end = offset + bytes.size();
    size_bytes = std::max(size_bytes, (end + kSectorBytes - 1) / kSectorBytes * kSectorBytes);
    // Zeros for blocks that hold no data leave them holes.
    ForEachBlock(offset, bytes.size(), [&](uint64_t block, uint64_t from, uint64_t n) {
      const auto part = bytes.first(n);
      const bool zero = std::all_of(part.begin(), part.end(),
                                    [](std::byte byte) { return byte == std::byte{0}; });
      if (zero && blocks.count(block) == 0) {
        bytes = bytes.subspan(n);
        return;
      }
      auto changed = Copy(block);
      std::memcpy(changed->data() + from, bytes.data(), n);
      blocks[block] = std::move(changed);
      bytes = bytes.subspan(n);
    });
  }

  void Zero(uint64_t offset, uint64_t length) {
    if (offset >= size_bytes) return;
    const uint64_t end = offset + std::min(length, size_bytes - offset);
    ForEachBlock(offset, end - offset, [&](uint64_t block, uint64_t from, uint64_t n) {
      const uint64_t block_end = std::min((block + 1) * kBlockBytes, size_bytes);
      if (from == 0 && block * kBlockBytes + n == block_end) {
        blocks.erase(block);
      } else if (blocks.count(block) > 0) {
        auto changed = Copy(block);
        std::memset(changed->data() + from, 0, n);
        blocks[block] = std::move(changed);
      }
    });
  }

  void Resize(uint64_t new_size) {
    if (new_size < size_bytes) {
      // What is cut off inside a block becomes zeros; that block stays data.
      const uint64_t whole = BlocksOf(new_size);
      blocks.erase(blocks.lower_bound(whole), blocks.end());
      const uint64_t in_block = new_size % kBlockBytes;
      if (in_block != 0 && blocks.count(whole - 1) > 0) {
        auto changed = Copy(whole - 1);
        std::memset(changed->data() + in_block, 0, kBlockBytes - in_block);
        blocks[whole - 1] = std::move(changed);
      }
    }
    size_bytes = new_size;
  }

  // Sealing makes holes of blocks that hold nothing but zeros.
  void SealZeros() {
    std::erase_if(blocks, [](const auto& entry) { return *entry.second == Block{}; });
  }

  std::vector<std::byte> Read(uint64_t offset, uint64_t length) const {
    if (offset >= size_bytes) return {};
    std::vector<std::byte> bytes(std::min(length, size_bytes - offset));
    uint64_t done = 0;
    ForEachBlock(offset, bytes.size(), [&](uint64_t block, uint64_t from, uint64_t n) {
      const auto found = blocks.find(block);
      if (found != blocks.end()) {
        std::memcpy(bytes.data() + done, found->second->data() + from, n);
      }
      done += n;
    });
    return bytes;
  }

 private:
  template <typename Visit>
  static void ForEachBlock(uint64_t offset, uint64_t length, Visit visit) {
    for (const uint64_t end = offset + length; offset < end;) {
      const uint64_t from = offset % kBlockBytes;
      const uint64_t n = std::min(kBlockBytes - from, end - offset);
      visit(offset / kBlockBytes, from, n);
      offset += n;
    }
  }

  std::shared_ptr<Block> Copy(uint64_t block) const {
    const auto found = blocks.find(block);
    return found == blocks.end() ? std::make_shared<Block>()
                                 : std::make_shared<Block>(*found->second);
  }
};

}  // namespace quoin

#include "blockstore/maps/content_digest.h"

#include <string_view>

namespace quoin {
namespace {

constexpr std::string_view kContentTag = "quoin-content-v1";
constexpr std::string_view kInnerTag = "\xff\xff";

void Append(std::string& bytes, const Digest& digest) {
  bytes.append(reinterpret_cast<const char*>(digest.bytes.data()), Digest::kBytes);
}

Digest DigestOfText(std::string_view bytes) { return DigestOf(std::as_bytes(std::span(bytes))); }

}  // namespace

void RegionDigester::Add(uint32_t block, const Digest& block_digest) {
  bytes_ += static_cast<char>(block & 0xff);
  bytes_ += static_cast<char>(block >> 8);
  Append(bytes_, block_digest);
}

Digest RegionDigester::Finish() const { return bytes_.empty() ? Digest() : DigestOfText(bytes_); }

Digest RegionDigest(std::span<const MapExtent> extents,
                    std::span<const Digest, kRegionBlocks> block_digests) {
  RegionDigester digester;
  for (const MapExtent& extent : extents) {
    for (uint32_t block = extent.first; block < extent.end(); ++block) {
      digester.Add(block, block_digests[block]);
    }
  }
  return digester.Finish();
}

Result<Digest> RegionDigest(std::span<const MapExtent> extents,
                            const std::function<Result<Digest>(uint32_t)>& block_digest) {
  RegionDigester digester;
  for (const MapExtent& extent : extents) {
    for (uint32_t block = extent.first; block < extent.end(); ++block) {
      QUOIN_ASSIGN(const Digest digest, block_digest(block));
      digester.Add(block, digest);
    }
  }
  return digester.Finish();
}

Digest InnerDigest(const InnerNode& node) {
  std::string bytes(kInnerTag);
  bytes.reserve(kInnerTag.size() + 1 + kMapFanout * (1 + Digest::kBytes));
  bytes += static_cast<char>(node.level);
  for (size_t i = 0; i < kMapFanout; ++i) {
    if (node.children[i].IsNull()) continue;
    bytes += static_cast<char>(i);
    Append(bytes, node.children[i].digest);
  }
  return DigestOfText(bytes);
}

Digest ContentDigest(uint64_t size_bytes, const MapRoot& root) {
  std::string bytes(kContentTag);
  for (unsigned i = 0; i < 8; ++i) bytes += static_cast<char>(size_bytes >> (8 * i));
  Append(bytes, root.digest);
  return DigestOfText(bytes);
}

}  // namespace quoin

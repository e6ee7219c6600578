// Writes a few small seeds for each fuzzer into a folder: fuzz_corpus FOLDER. Add yours to main.
#include <fmt/format.h>

#include <boost/filesystem.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "blockstore/maps/map_node.h"
#include "blockstore/maps/region_change.h"
#include "blockstore/packs/compression.h"
#include "tests/fuzz/pack_samples.h"

namespace quoin {
namespace {

namespace bfs = boost::filesystem;
using Bytes = std::vector<std::byte>;

void Save(const bfs::path& folder, const std::string& name, std::span<const std::byte> bytes) {
  bfs::create_directories(folder);
  std::ofstream file((folder / name).string(), std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (file.flush()) return;
  fmt::print(stderr, "fuzz_corpus: cannot write {}\n", (folder / name).string());
  std::exit(1);
}

Bytes Raw(size_t length, unsigned seed) {
  Bytes raw(length);
  for (size_t i = 0; i < length; ++i) raw[i] = static_cast<std::byte>((i / 7 + seed) * seed);
  return raw;
}

// A pack of two frames of blocks and a record, each frame's start, and where the table begins.
struct Sample {
  Bytes file;
  std::vector<size_t> frame_starts;
  size_t table_offset = 0;
};

Sample MakeSample(Compression codec) {
  Sample sample;
  const PackHeaderBytes header = EncodePackHeader(FuzzedPack());
  sample.file.assign(header.begin(), header.end());
  std::vector<FrameEntry> frames;
  std::vector<Digest> digests;
  uint32_t slot = 0;
  for (const uint8_t slots : {3, 1, 0}) {  // 0: the record
    const Bytes raw = Raw(slots == 0 ? 300 : slots * kBlockBytes, slots + 1);
    Bytes stored(raw.size());
    const std::optional<size_t> size = Compress(codec, raw, stored);
    if (size) stored.resize(*size);
    if (!size) stored = raw;
    FrameEntry::Fields fields;
    fields.payload_offset = sample.file.size() + kFrameHeaderBytes;
    fields.stored_bytes = static_cast<uint32_t>(stored.size());
    fields.raw_bytes = static_cast<uint32_t>(raw.size());
    fields.first_slot = slot;
    fields.slots = slots == 0 ? 1 : slots;
    fields.kind = slots == 0 ? FrameKindOf(RecordKind::kMapNode) : FrameKind::kBlocks;
    fields.codec = size ? codec : Compression::kNone;
    fields.checksum = PackChecksum(stored);
    frames.push_back(FrameEntry::Make(fields, kMaxPackFileBytes).value());
    FrameHeaderBytes frame_header;
    EncodeFrameHeader(FuzzedPack(), frames.back(), frame_header);
    sample.frame_starts.push_back(sample.file.size());
    sample.file.insert(sample.file.end(), frame_header.begin(), frame_header.end());
    sample.file.insert(sample.file.end(), stored.begin(), stored.end());
    for (uint32_t i = 0; i < fields.slots; ++i) {
      digests.push_back(DigestOf(std::span(raw).subspan(
          i * kBlockBytes, std::min<size_t>(raw.size() - i * kBlockBytes, kBlockBytes))));
    }
    slot += fields.slots + 2;  // as after compaction
  }
  // The fuzzer of ends knows only whole KiB before the end.
  sample.table_offset = kPackHeaderBytes + (sample.file.size() / 1024 + 1) * 1024;
  sample.file.resize(sample.table_offset);
  const Bytes end = EncodePackEnd(FuzzedPack(), frames, digests, sample.table_offset);
  sample.file.insert(sample.file.end(), end.begin(), end.end());
  return sample;
}

void SavePackSeeds(const bfs::path& folder) {
  for (const Compression codec : {Compression::kNone, Compression::kLz4, Compression::kZstd}) {
    const std::string name(ToWord(codec));
    const Sample sample = MakeSample(codec);
    const auto file = std::span(sample.file);
    Save(folder / "pack_file", name, file);
    Save(folder / "pack_file", name + "-cut", file.first(sample.table_offset + 10));
    Bytes end(1, static_cast<std::byte>((sample.table_offset - kPackHeaderBytes) / 1024));
    end.insert(end.end(), file.begin() + static_cast<std::ptrdiff_t>(sample.table_offset),
               file.end());
    Save(folder / "pack_end", name, end);
    for (size_t i = 0; i < sample.frame_starts.size(); ++i) {
      const size_t next =
          i + 1 < sample.frame_starts.size() ? sample.frame_starts[i + 1] : sample.table_offset;
      Save(folder / "pack_frame", fmt::format("{}-{}", name, i),
           file.subspan(sample.frame_starts[i], next - sample.frame_starts[i]));
    }
  }
}

void SaveNode(const bfs::path& folder, const std::string& name, const std::string& bytes) {
  Save(folder / "map_node", name, std::as_bytes(std::span(bytes)));
}

void SaveNodeSeeds(const bfs::path& folder) {
  const Digest digest = DigestOf(Raw(10, 1));
  RegionNode region;
  region.digest = digest;
  region.extents.push_back({0, 1, {FuzzedPack(), 7}});
  SaveNode(folder, "one-extent", EncodeRegionNode(region));
  for (uint16_t first = 10; first < 400; first = static_cast<uint16_t>(first + 13)) {
    region.extents.push_back({first, static_cast<uint16_t>(1 + first % 9), {FuzzedPack(), first}});
  }
  SaveNode(folder, "many-extents", EncodeRegionNode(region));
  RegionChange change{.digest = digest, .base = {FuzzedPack(), 9}};
  SaveNode(folder, "no-change", EncodeRegionChange(change));
  change.position = 300;
  for (uint16_t first = 5; first < 400; first = static_cast<uint16_t>(first + 17)) {
    const bool is_hole = first % 3 == 0;
    change.runs.push_back({first, static_cast<uint16_t>(1 + first % 5),
                           is_hole ? SlotLocation() : SlotLocation{FuzzedPack(), 3u * first}});
  }
  SaveNode(folder, "many-changes", EncodeRegionChange(change));
  InnerNode inner;
  inner.children[3] = {digest, {FuzzedPack(), 9}, 100};
  SaveNode(folder, "one-child", EncodeInnerNode(inner));
  inner.level = 4;
  for (uint32_t i = 0; i < kMapFanout; ++i) inner.children[i] = {digest, {FuzzedPack(), i}, i + 1};
  SaveNode(folder, "many-children", EncodeInnerNode(inner));
}

}  // namespace
}  // namespace quoin

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz_corpus FOLDER\n", stderr);
    return 2;
  }
  quoin::SavePackSeeds(argv[1]);
  quoin::SaveNodeSeeds(argv[1]);
  return 0;
}

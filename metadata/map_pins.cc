#include "metadata/map_pins.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

constexpr std::string_view kMagic = "quoin-pin-v01\n";
constexpr size_t kChecksumBytes = 33;  // with the line end
constexpr uint64_t kMaxPinBytes = uint64_t{16} << 20;

std::string ChecksumOf(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}\n", hash.high64, hash.low64);
}

std::string Encode(const std::vector<MapRoot>& roots) {
  std::string text(kMagic);
  for (const MapRoot& root : roots) {
    text += fmt::format("{} {} {} {} {}\n", root.location.pack.ToString(), root.location.slot,
                        root.height, root.digest.ToHex(), root.data_blocks);
  }
  return text + ChecksumOf(text);
}

template <typename Number>
bool ParseNumber(std::string_view text, Number* number, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<MapRoot> ParseLine(std::string_view line) {
  std::string_view parts[5];
  for (std::string_view& part : parts) {
    const size_t end = std::min(line.find(' '), line.size());
    part = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  MapRoot root;
  const std::optional<Id> pack = Id::Parse(parts[0]);
  if (!line.empty() || !pack || parts[3].size() != 2 * Digest::kBytes) return std::nullopt;
  root.location.pack = *pack;
  for (size_t n = 0; n < Digest::kBytes; ++n) {
    if (!ParseNumber(parts[3].substr(2 * n, 2), &root.digest.bytes[n], 16)) return std::nullopt;
  }
  if (!ParseNumber(parts[1], &root.location.slot) || !ParseNumber(parts[2], &root.height) ||
      !ParseNumber(parts[4], &root.data_blocks)) {
    return std::nullopt;
  }
  return root;
}

Result<std::vector<MapRoot>> Decode(std::string_view text, const std::string& path) {
  const Failure damaged = Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged", path),
                               "open and close its VDI, which writes it anew, or remove the file "
                               "if that VDI is sound");
  if (text.size() < kMagic.size() + kChecksumBytes || !text.starts_with(kMagic)) return damaged;
  const std::string_view body = text.substr(0, text.size() - kChecksumBytes);
  if (text.substr(body.size()) != ChecksumOf(body)) return damaged;
  std::vector<MapRoot> roots;
  for (size_t at = kMagic.size(); at < body.size();) {
    const size_t end = std::min(body.find('\n', at), body.size());
    const std::optional<MapRoot> root = ParseLine(body.substr(at, end - at));
    if (!root) return damaged;
    roots.push_back(*root);
    at = end + 1;
  }
  return roots;
}

}  // namespace

Status WriteMapPin(FileSystem& file_system, const StoreLayout& layout, const Id& vdi,
                   const std::vector<MapRoot>& roots) {
  const Status made = file_system.MakeDirectory(layout.Pins());
  if (made) QUOIN_TRY(file_system.SyncDirectory(layout.Collection()));
  if (!made && made.error().code != ErrorCode::kExists) return made;
  QUOIN_ASSIGN(std::vector<MapRoot> all, ReadMapPin(file_system, layout, vdi));
  for (const MapRoot& root : roots) {
    if (std::find(all.begin(), all.end(), root) == all.end()) all.push_back(root);
  }
  return ReplaceFile(file_system, layout.Pin(vdi), layout.NewTemporary(), Encode(all));
}

Result<std::vector<MapRoot>> ReadMapPin(FileSystem& file_system, const StoreLayout& layout,
                                        const Id& vdi) {
  const std::string path = layout.Pin(vdi);
  const Result<std::string> text = ReadWholeFile(file_system, path, kMaxPinBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return std::vector<MapRoot>();
  if (!text) return Failure(text.error());
  return Decode(*text, path);
}

Result<MapPins> ReadMapPins(FileSystem& file_system, const StoreLayout& layout) {
  MapPins pins;
  const Result<std::vector<DirectoryEntry>> entries = file_system.List(layout.Pins());
  if (!entries && entries.error().code == ErrorCode::kNotFound) return pins;
  if (!entries) return Failure(entries.error());
  for (const DirectoryEntry& entry : *entries) {
    const std::optional<Id> vdi = Id::Parse(entry.name);
    if (!vdi) continue;
    QUOIN_ASSIGN(const std::vector<MapRoot> roots, ReadMapPin(file_system, layout, *vdi));
    if (roots.empty()) continue;  // it has gone meanwhile
    pins.vdis.push_back(*vdi);
    pins.roots.insert(pins.roots.end(), roots.begin(), roots.end());
  }
  return pins;
}

}  // namespace quoin

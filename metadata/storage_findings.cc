#include "metadata/storage_findings.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

using nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr uint64_t kMaxFileBytes = 128 << 10;
constexpr size_t kChecksumBytes = 18;  // a line end before it and one after it
// A store that is being opened removes what lies in tmp/ and belongs to no session.
constexpr int kKeepAttempts = 5;

constexpr std::array kFencings = {Fencing::kUnknown, Fencing::kNo, Fencing::kOneHost,
                                  Fencing::kYes};
constexpr std::array kVerdicts = {ProbeVerdict::kOk, ProbeVerdict::kNote, ProbeVerdict::kBad};

template <typename Values>
auto FromWord(const Values& values, const std::string& word)
    -> std::optional<typename Values::value_type> {
  const auto found = std::find_if(values.begin(), values.end(),
                                  [&](auto value) { return ToWord(value) == word; });
  return found == values.end() ? std::nullopt : std::optional(*found);
}

std::string Cut(const std::string& text) { return text.substr(0, kMaxFindingTextBytes); }

std::string Encode(const StorageFindings& findings, const FileFacts& superblock) {
  ordered_json json;
  json["quoin"] = "storage";
  json["format"] = kFormat;
  json["inode"] = superblock.identity.inode;
  json["changed_ns"] = superblock.ctime_ns;
  json["examined"] = Cut(findings.examined);
  json["host_name"] = Cut(findings.host_name);
  json["filesystem"] = Cut(findings.filesystem);
  json["between_clients"] = findings.between_clients;
  json["fences"] = ToWord(findings.fencing);
  json["stated"] = findings.fencing_is_stated;
  json["findings"] = ordered_json::array();
  for (const StorageFinding& finding : findings.findings) {
    if (json["findings"].size() == kMaxStorageFindings) break;
    json["findings"].push_back({{"probe", Cut(finding.probe)},
                                {"verdict", ToWord(finding.verdict)},
                                {"found", Cut(finding.found)},
                                {"guarantee", Cut(finding.guarantee)}});
  }
  // A path in a sentence need not be UTF-8, nor end between two characters where it was cut.
  const std::string text = json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return text + StorageFindingsChecksum(text);
}

// What the rest is about: which quoin.store the file lies beside.
struct Decoded {
  StorageFindings findings;
  uint64_t inode = 0;
  int64_t changed_ns = 0;
};

// Texts grow by what stands for the bytes that are no UTF-8: three bytes for one.
std::string TextAt(const ordered_json& json, const char* name) {
  std::string text = json.at(name).get<std::string>();
  if (text.size() > 3 * kMaxFindingTextBytes) text.clear();
  return text;
}

// Throws what nlohmann::json throws; nothing for what Encode cannot make.
std::optional<Decoded> FromJson(const ordered_json& json) {
  Decoded decoded;
  StorageFindings& findings = decoded.findings;
  decoded.inode = json.at("inode").get<uint64_t>();
  decoded.changed_ns = json.at("changed_ns").get<int64_t>();
  findings.examined = TextAt(json, "examined");
  findings.host_name = TextAt(json, "host_name");
  findings.filesystem = TextAt(json, "filesystem");
  findings.between_clients = json.at("between_clients").get<bool>();
  findings.fencing_is_stated = json.at("stated").get<bool>();
  const std::optional<Fencing> fencing = FromWord(kFencings, json.at("fences").get<std::string>());
  const ordered_json& list = json.at("findings");
  if (!fencing || !list.is_array() || list.size() > kMaxStorageFindings) return std::nullopt;
  findings.fencing = *fencing;
  for (const ordered_json& item : list) {
    const std::optional<ProbeVerdict> verdict =
        FromWord(kVerdicts, item.at("verdict").get<std::string>());
    if (!verdict) return std::nullopt;
    findings.findings.push_back(
        {TextAt(item, "probe"), *verdict, TextAt(item, "found"), TextAt(item, "guarantee")});
  }
  return decoded;
}

Result<Decoded> Decode(std::string_view text, const StoreLayout& layout) {
  const std::string path = layout.StorageFindings();
  const std::string again = "quoin doctor " + layout.root();
  const Failure damaged = Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged", path), again);
  if (text.size() < kChecksumBytes) return damaged;
  const std::string_view body = text.substr(0, text.size() - kChecksumBytes);
  if (text.substr(body.size()) != StorageFindingsChecksum(body)) return damaged;
  const ordered_json json = ordered_json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return damaged;
  try {
    if (json.at("quoin").get<std::string>() != "storage") return damaged;
    if (!json.at("format").is_number_unsigned()) return damaged;
    const uint64_t format = json.at("format").get<uint64_t>();
    if (format > kFormat) {
      return Fail(ErrorCode::kNewerFormat,
                  fmt::format("{} has format {}; this quoin knows formats up to {}", path, format,
                              kFormat),
                  again);
    }
    std::optional<Decoded> decoded = FromJson(json);
    if (!decoded) return damaged;
    return std::move(*decoded);
  } catch (const ordered_json::exception&) {
    return damaged;
  }
}

}  // namespace

std::string StorageFindingsChecksum(std::string_view text) {
  return fmt::format("\n{:016x}\n", XXH3_64bits(text.data(), text.size()));
}

std::string_view ToWord(Fencing fencing) {
  switch (fencing) {
    case Fencing::kUnknown:
      return "unknown";
    case Fencing::kNo:
      return "no";
    case Fencing::kOneHost:
      return "one-host";
    case Fencing::kYes:
      return "yes";
  }
  return "unknown";
}

std::string_view ToWord(ProbeVerdict verdict) {
  switch (verdict) {
    case ProbeVerdict::kOk:
      return "ok";
    case ProbeVerdict::kNote:
      return "note";
    case ProbeVerdict::kBad:
      return "bad";
  }
  return "bad";
}

Result<StorageFindings> ReadStorageFindings(FileSystem& file_system, const StoreLayout& layout) {
  const std::string path = layout.StorageFindings();
  const std::string again = "quoin doctor " + layout.root();
  const Result<std::string> text = ReadWholeFile(file_system, path, kMaxFileBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("the storage of {} was never examined", layout.root()), again);
  }
  if (!text) return Fail(text.error().code, text.error().what, again);
  QUOIN_ASSIGN(Decoded decoded, Decode(*text, layout));
  QUOIN_ASSIGN(const FileFacts superblock, file_system.Facts(layout.Superblock()));
  if (superblock.identity.inode != decoded.inode || superblock.ctime_ns != decoded.changed_ns) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("{} tells of where the store lay before it was copied or changed hands",
                            path),
                again);
  }
  return std::move(decoded.findings);
}

Status KeepStorageFindings(FileSystem& file_system, const StoreLayout& layout,
                           const StorageFindings& findings) {
  QUOIN_ASSIGN(const FileFacts superblock, file_system.Facts(layout.Superblock()));
  const std::string text = Encode(findings, superblock);
  for (int attempt = 1;; ++attempt) {
    const Status kept =
        ReplaceFile(file_system, layout.StorageFindings(), layout.NewTemporary(), text);
    const bool was_swept = !kept && kept.error().code == ErrorCode::kNotFound;
    if (!was_swept || attempt == kKeepAttempts) return kept;
  }
}

bool StorageFences(FileSystem& file_system, const StoreLayout& layout) {
  const Result<StorageFindings> findings = ReadStorageFindings(file_system, layout);
  if (!findings && findings.error().code != ErrorCode::kNotFound) {
    spdlog::warn("{}: whether the storage fences counts as unknown; {}", findings.error().what,
                 findings.error().next);
  }
  return findings && findings->fencing == Fencing::kYes;
}

}  // namespace quoin

#include "metadata/superblock.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "blockstore/base/atomic_file.h"
#include "metadata/store_layout.h"

namespace quoin {
namespace {

using nlohmann::ordered_json;

constexpr uint64_t kMaxSuperblockBytes = 4096;
constexpr std::array<std::string_view, 3> kCompressions = {"lz4", "zstd", "none"};
constexpr const char* kDefaultCompression = "lz4";  // also of a store that does not say
constexpr uint32_t kFolderMode = 0755;   // users' folders, as they appear in the tree
constexpr uint32_t kPrivateMode = 0700;  // data

bool IsCompression(std::string_view word) {
  return std::find(kCompressions.begin(), kCompressions.end(), word) != kCompressions.end();
}

std::string NowUtc() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

std::string Encode(const Superblock& superblock) {
  ordered_json json;
  json["quoin"] = "store";
  json["format"] = superblock.format;
  json["id"] = superblock.store_id.ToString();
  json["created"] = superblock.created;
  json["compression"] = superblock.compression;
  return json.dump() + "\n";
}

// The member if it is a string, else "".
std::string TextOf(const ordered_json& json, const char* member) {
  const auto it = json.find(member);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Failure Damaged(const std::string& path) {
  return Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged", path),
              "quoin rebuild makes a new one; the store's other files do not depend on it");
}

Result<std::string> DecodeCompression(const ordered_json& json, const std::string& root,
                                      const std::string& path) {
  if (!json.contains("compression")) return kDefaultCompression;
  const std::string compression = TextOf(json, "compression");
  if (compression.empty()) return Damaged(path);
  if (IsCompression(compression)) return compression;
  return Fail(ErrorCode::kNewerFormat,
              fmt::format("the store {} compresses its packs with '{}'; this quoin knows {}", root,
                          compression, fmt::join(kCompressions, ", ")),
              "install a newer quoin");
}

Result<Superblock> Decode(const std::string& text, const std::string& root,
                          const std::string& path) {
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || TextOf(json, "quoin") != "store") return Damaged(path);
  const auto format = json.find("format");
  if (format == json.end() || !format->is_number_unsigned()) return Damaged(path);
  // First of all: a newer format may have changed anything else.
  if (format->get<uint64_t>() > kStoreFormat) {
    return Fail(ErrorCode::kNewerFormat,
                fmt::format("the store {} has format {}; this quoin knows formats up to {}", root,
                            format->dump(), kStoreFormat),
                "install a newer quoin");
  }
  if (format->get<uint64_t>() < 1) return Damaged(path);
  Superblock superblock;
  superblock.format = format->get<int>();
  QUOIN_ASSIGN(superblock.compression, DecodeCompression(json, root, path));
  superblock.created = TextOf(json, "created");
  const std::optional<Id> id = Id::Parse(TextOf(json, "id"));
  if (!id || id->IsNull()) return Damaged(path);
  superblock.store_id = *id;
  return superblock;
}

std::vector<std::string> PrivateFolders(const StoreLayout& layout) {
  return {layout.Vdis(),  layout.Packs(),   layout.Collection(),
          layout.Groups(), layout.Hosts(), layout.AllTemporaries()};
}

// Makes the root or checks that nothing but an unfinished store is in it.
Status PrepareRoot(FileSystem& file_system, const StoreLayout& layout) {
  const std::string& root = layout.root();
  const Status made = file_system.MakeDirectory(root, kFolderMode);
  if (made) return file_system.SyncDirectory(ParentPath(root));
  if (made.error().code != ErrorCode::kExists) return made;

  QUOIN_ASSIGN(const bool is_store, PathExists(file_system, layout.Superblock()));
  if (is_store) {
    return Fail(ErrorCode::kExists, fmt::format("{} is a quoin store already", root),
                fmt::format("quoin mount {} MOUNT", root));
  }
  std::vector<std::string> ours = PrivateFolders(layout);
  ours.push_back(layout.Names());
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, file_system.List(root));
  for (const DirectoryEntry& entry : entries) {
    if (entry.name == "lost+found") continue;  // a fresh ext4
    const std::string path = root + "/" + entry.name;
    bool unfinished = std::find(ours.begin(), ours.end(), path) != ours.end() &&
                      entry.kind == EntryKind::kDirectory;
    if (unfinished && path != layout.Temporaries()) {
      QUOIN_ASSIGN(const std::vector<DirectoryEntry> inner, file_system.List(path));
      unfinished = inner.empty();
    }
    if (!unfinished) {
      return Fail(ErrorCode::kNotEmpty,
                  fmt::format("{} is not empty: it holds {}", root, entry.name),
                  "name an empty folder, or one that does not exist yet");
    }
  }
  return {};
}

Status MakeFolder(FileSystem& file_system, const std::string& path, uint32_t mode) {
  const Status made = file_system.MakeDirectory(path, mode);
  if (!made && made.error().code == ErrorCode::kExists) return {};  // of an unfinished attempt
  return made;
}

}  // namespace

Result<Superblock> InitialiseStore(FileSystem& file_system, const std::string& root,
                                   const std::string& compression) {
  QUOIN_ASSIGN(const Superblock superblock, NewSuperblock(compression));
  QUOIN_TRY(PrepareRoot(file_system, StoreLayout(root)));
  QUOIN_TRY(RestoreFolders(file_system, root));
  QUOIN_TRY(WriteSuperblock(file_system, root, superblock));
  return superblock;
}

Status RestoreFolders(FileSystem& file_system, const std::string& root) {
  const StoreLayout layout(root);
  QUOIN_TRY(MakeFolder(file_system, layout.Names(), kFolderMode));
  for (const std::string& folder : PrivateFolders(layout)) {
    QUOIN_TRY(MakeFolder(file_system, folder, kPrivateMode));
  }
  return file_system.SyncDirectory(root);
}

Result<Superblock> NewSuperblock(const std::string& compression) {
  if (!IsCompression(compression)) {
    return Fail(ErrorCode::kInvalid, fmt::format("there is no compression '{}'", compression),
                "use lz4, zstd or none");
  }
  Superblock superblock;
  superblock.store_id = Id::Random();
  superblock.compression = compression;
  superblock.created = NowUtc();
  return superblock;
}

Status WriteSuperblock(FileSystem& file_system, const std::string& root,
                       const Superblock& superblock) {
  const StoreLayout layout(root);
  return PublishNewFile(file_system, layout.Superblock(), layout.NewTemporary(),
                        Encode(superblock));
}

Status CompleteStore(FileSystem& file_system, const std::string& root) {
  const StoreLayout layout(root);
  bool is_complete = true;
  for (const std::string& folder : {layout.Packs(), layout.Collection()}) {
    QUOIN_ASSIGN(const bool exists, PathExists(file_system, folder));
    if (exists) continue;
    QUOIN_TRY(MakeFolder(file_system, folder, kPrivateMode));
    is_complete = false;
  }
  return is_complete ? Status() : file_system.SyncDirectory(root);
}

Result<Superblock> ReadSuperblock(FileSystem& file_system, const std::string& root) {
  const std::string path = StoreLayout(root).Superblock();
  const Result<std::string> text = ReadWholeFile(file_system, path, kMaxSuperblockBytes);
  if (text) return Decode(*text, root, path);
  const ErrorCode code = text.error().code;
  if (code == ErrorCode::kCorrupt) return Damaged(path);
  if (code != ErrorCode::kNotFound && code != ErrorCode::kNotDirectory) {
    return Failure(text.error());
  }
  QUOIN_ASSIGN(const bool root_exists, PathExists(file_system, root));
  if (!root_exists) {
    return Fail(ErrorCode::kNotFound, fmt::format("there is no folder {}", root),
                fmt::format("to make a store there: quoin init {}", root));
  }
  const Result<bool> has_packs = PathExists(file_system, StoreLayout(root).Packs());
  if (has_packs && *has_packs) {
    return Fail(ErrorCode::kNotAStore,
                fmt::format("{} is not a quoin store: it has packs, and no quoin.store", root),
                "if it was one: quoin rebuild");
  }
  return Fail(ErrorCode::kNotAStore, fmt::format("{} is not a quoin store", root),
              fmt::format("to make one in an empty folder: quoin init {}", root));
}

}  // namespace quoin

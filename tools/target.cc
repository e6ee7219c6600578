#include "tools/target.h"

#include <fmt/format.h>

#include <boost/filesystem.hpp>
#include <cstdlib>

#include "metadata/host.h"
#include "metadata/names.h"
#include "metadata/store_layout.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

constexpr std::string_view kVdisFolder = "vdis/";
constexpr std::string_view kSnapshotsFolder = "snapshots/";

std::string WorkingFolder() {
  boost::system::error_code error;
  const fs::path folder = fs::current_path(error);
  return error ? std::string("/") : folder.string();
}

// Names travel to daemons as JSON, which holds nothing but UTF-8.
bool IsUtf8(const std::string& text) {
  const Json json(text);
  return json.dump(-1, ' ', false, Json::error_handler_t::ignore) ==
         json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The mount that holds the path as it is spelled or, failing that, as its symbolic links lead.
const MountRecord* FindMount(const std::vector<MountRecord>& mounts, const std::string& path) {
  const MountRecord* mount = MountHolding(mounts, NormalPath(path));
  if (mount == nullptr && !mounts.empty()) mount = MountHolding(mounts, RealPath(path));
  return mount;
}

bool IsPath(const std::string& text, const std::vector<MountRecord>& mounts) {
  if (text.starts_with("/") || text.starts_with("./") || text.starts_with("../")) return true;
  if (!text.starts_with(kVdisFolder) && !text.starts_with(kSnapshotsFolder)) return false;
  const std::string folder = WorkingFolder();
  const MountRecord* mount = MountHolding(mounts, folder);
  return mount != nullptr && mount->mount_point == folder;
}

// What a path in a tree names: "vdis/lab/db02" -> "lab/db02", "snapshots/a/monday" -> "a@monday".
Result<std::string> NameOfTreePath(const std::string& path, const std::string& in_tree) {
  if (in_tree.starts_with(kVdisFolder)) return in_tree.substr(kVdisFolder.size());
  if (in_tree.starts_with(kSnapshotsFolder)) {
    const std::string rest = in_tree.substr(kSnapshotsFolder.size());
    const size_t slash = rest.rfind('/');
    if (slash != std::string::npos) return rest.substr(0, slash) + "@" + rest.substr(slash + 1);
  }
  return Fail(ErrorCode::kInvalid, fmt::format("{} is neither a VDI nor a snapshot", path),
              "VDIs lie below vdis/ and snapshots below snapshots/ of a mounted tree");
}

struct NamedInStore {
  std::string name;
  std::string root;  // "" if the name says nothing of a store
};

Result<NamedInStore> Resolve(const std::string& argument, const std::vector<MountRecord>& mounts) {
  if (!IsUtf8(argument)) {
    return Fail(ErrorCode::kInvalid, "the name is no UTF-8 text",
                "such a VDI can be used and renamed in a mounted tree");
  }
  if (!IsPath(argument, mounts)) return NamedInStore{argument, ""};
  const MountRecord* mount = FindMount(mounts, argument);
  if (mount == nullptr) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("{} lies in no tree that is mounted on this host", argument),
                "quoin status lists the mounted trees; a VDI is named without a leading '/'");
  }
  std::string path = NormalPath(argument);
  if (!IsWithin(path, mount->mount_point)) path = RealPath(argument);
  std::string in_tree = path.substr(mount->mount_point.size());
  in_tree.erase(0, in_tree.find_first_not_of('/'));
  QUOIN_ASSIGN(std::string name, NameOfTreePath(argument, in_tree));
  return NamedInStore{std::move(name), mount->store};
}

// A store given by its folder, or by a path inside a tree that shows it.
std::string StoreAt(const std::string& folder, const std::vector<MountRecord>& mounts) {
  const MountRecord* mount = FindMount(mounts, folder);
  return mount != nullptr ? mount->store : RealPath(folder);
}

Result<std::string> StoreWithoutPaths(const std::string& store_option,
                                      const std::vector<MountRecord>& mounts) {
  if (!store_option.empty()) return StoreAt(store_option, mounts);
  const char* from_environment = std::getenv("QUOIN_STORE");
  if (from_environment != nullptr && *from_environment != '\0') {
    return StoreAt(from_environment, mounts);
  }
  const std::string folder = WorkingFolder();
  if (const MountRecord* mount = MountHolding(mounts, folder)) return mount->store;
  std::string store = StoreAround(folder);
  if (!store.empty()) return store;
  return Fail(ErrorCode::kInvalid, "no store is named",
              "name one by --store DIR or QUOIN_STORE=DIR, or work inside a mounted tree");
}

Failure NotInForm(const std::string& text, const char* form) {
  return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not of the form {}", text, form));
}

}  // namespace

Result<Target> ChooseTarget(const std::string& store_option,
                            const std::vector<std::string>& arguments) {
  const std::vector<MountRecord> mounts = ReadMountRecords(DefaultRunDir());
  Target target;
  std::string from_option;
  if (!store_option.empty()) from_option = StoreAt(store_option, mounts);
  for (const std::string& argument : arguments) {
    QUOIN_ASSIGN(const NamedInStore named, Resolve(argument, mounts));
    target.names.push_back(named.name);
    if (named.root.empty()) continue;
    const std::string& other = target.root.empty() ? from_option : target.root;
    if (!other.empty() && other != named.root) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("{} lies in the store {}, not in {}", argument, named.root, other),
                  "one command works on one store");
    }
    target.root = named.root;
  }
  if (target.root.empty()) {
    QUOIN_ASSIGN(target.root, StoreWithoutPaths(store_option, mounts));
  }
  return target;
}

Result<SnapshotName> ParseSnapshotName(const std::string& text) {
  const size_t at = text.find('@');
  if (at == std::string::npos || at == 0 || at + 1 == text.size()) {
    return NotInForm(text, "VDI@SNAPSHOT");
  }
  SnapshotName name{text.substr(0, at), text.substr(at + 1)};
  QUOIN_TRY(ValidateVdiName(name.vdi));
  QUOIN_TRY(ValidateSnapshotName(name.snapshot));
  return name;
}

Result<std::string> ParseVdiName(const std::string& text) {
  QUOIN_TRY(ValidateVdiName(text));
  return text;
}

Result<SnapshotName> ParseVdiOrSnapshotName(const std::string& text) {
  if (text.find('@') != std::string::npos) return ParseSnapshotName(text);
  QUOIN_ASSIGN(const std::string vdi, ParseVdiName(text));
  return SnapshotName{vdi, ""};
}

std::string StoreAround(const std::string& folder) {
  for (fs::path path = folder; !path.empty(); path = path.parent_path()) {
    boost::system::error_code error;
    if (fs::exists(StoreLayout(path.string()).Superblock(), error)) return path.string();
  }
  return {};
}

std::string NormalPath(const std::string& path) {
  fs::path normal = (path.starts_with("/") ? fs::path(path) : WorkingFolder() / fs::path(path))
                        .lexically_normal();
  std::string text = normal.string();
  // "/a/b/." and "/a/b/" mean "/a/b".
  if (text.ends_with("/.")) text.pop_back();
  while (text.size() > 1 && text.ends_with("/")) text.pop_back();
  return text;
}

std::string RealPath(const std::string& path) {
  boost::system::error_code error;
  const fs::path real = fs::weakly_canonical(NormalPath(path), error);
  return error ? NormalPath(path) : NormalPath(real.string());
}

}  // namespace quoin

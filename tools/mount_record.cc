#include "tools/mount_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/filesystem.hpp>
#include <fstream>
#include <sstream>

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/id.h"
#include "blockstore/base/posix_file_system.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

constexpr uint64_t kMaxRecordBytes = 64 << 10;
constexpr const char* kRecordSuffix = ".json";

// mountinfo writes space, tab, newline and backslash as \ and three octal digits.
std::string WithoutOctalEscapes(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_octal = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(i + 1) && is_octal(i + 2) &&
        is_octal(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace

Json MountRecord::ToJson() const {
  return Json{{"store", store},
              {"store_id", store_id},
              {"mountpoint", mount_point},
              {"daemon_pid", daemon_pid},
              {"keeper_pid", keeper_pid == 0 ? Json(nullptr) : Json(keeper_pid)},
              {"session", session},
              {"version", version},
              {"since", since},
              {"log", log.empty() ? Json(nullptr) : Json(log)}};
}

Result<MountRecord> MountRecord::FromJson(const Json& json, const std::string& source) {
  MountRecord record;
  record.store = TextOf(json, "store");
  record.store_id = TextOf(json, "store_id");
  record.mount_point = TextOf(json, "mountpoint");
  record.daemon_pid = NumberOf(json, "daemon_pid");
  record.keeper_pid = NumberOf(json, "keeper_pid");
  record.session = TextOf(json, "session");
  record.version = TextOf(json, "version");
  record.since = TextOf(json, "since");
  record.log = TextOf(json, "log");
  if (record.store.empty() || record.mount_point.empty() || record.daemon_pid <= 0 ||
      !Id::Parse(record.store_id) || !Id::Parse(record.session)) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("cannot read {}: it is no mount's record", source));
  }
  return record;
}

std::string RecordPath(const std::string& run_dir, const std::string& session) {
  return run_dir + "/" + session + kRecordSuffix;
}

std::string SocketPath(const std::string& run_dir, const std::string& session) {
  return run_dir + "/" + session + ".sock";
}

Status WriteMountRecord(const std::string& run_dir, const MountRecord& record) {
  PosixFileSystem file_system;
  const std::string path = RecordPath(run_dir, record.session);
  return ReplaceFile(file_system, path, path + ".tmp", JsonText(record.ToJson()) + "\n");
}

void RemoveMountRecord(const std::string& run_dir, const std::string& session) {
  boost::system::error_code ignored;
  fs::remove(RecordPath(run_dir, session), ignored);
  fs::remove(SocketPath(run_dir, session), ignored);
}

std::vector<MountRecord> ReadMountRecords(const std::string& run_dir) {
  std::vector<MountRecord> records;
  PosixFileSystem file_system;
  const Result<std::vector<DirectoryEntry>> entries = file_system.List(run_dir);
  if (!entries) return records;
  for (const DirectoryEntry& entry : *entries) {
    if (!entry.name.ends_with(kRecordSuffix)) continue;
    const std::string path = run_dir + "/" + entry.name;
    // A record that goes away meanwhile, or that is rubbish, names no daemon.
    const Result<std::string> text = ReadWholeFile(file_system, path, kMaxRecordBytes);
    if (!text) continue;
    const Result<Json> json = ParseJsonObject(*text, path);
    if (!json) continue;
    Result<MountRecord> record = MountRecord::FromJson(*json, path);
    if (record && record->session + kRecordSuffix == entry.name) {
      records.push_back(std::move(*record));
    }
  }
  std::sort(records.begin(), records.end(), [](const MountRecord& a, const MountRecord& b) {
    return a.mount_point < b.mount_point;
  });
  return records;
}

const MountRecord* MountHolding(const std::vector<MountRecord>& records, const std::string& path) {
  const MountRecord* innermost = nullptr;
  for (const MountRecord& record : records) {
    if (!IsWithin(path, record.mount_point)) continue;
    if (innermost == nullptr || record.mount_point.size() > innermost->mount_point.size()) {
      innermost = &record;
    }
  }
  return innermost;
}

std::vector<std::string> MountedTrees() {
  std::vector<std::string> trees;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    // "36 35 98:0 /root /mount/point options [optional fields] - type source superoptions"
    const size_t separator = line.find(" - ");
    if (separator == std::string::npos) continue;
    if (!line.substr(separator + 3).starts_with("fuse.quoin ")) continue;
    std::istringstream fields(line);
    std::array<std::string, 5> field;
    for (std::string& text : field) fields >> text;
    trees.push_back(WithoutOctalEscapes(field[4]));
  }
  return trees;
}

bool IsWithin(const std::string& path, const std::string& folder) {
  if (folder == "/") return path.starts_with("/");
  return path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

}  // namespace quoin

#include "tools/keeper_record.h"

#include <fmt/format.h>

#include <boost/filesystem.hpp>

#include "blockstore/base/atomic_file.h"
#include "blockstore/base/id.h"
#include "blockstore/base/posix_file_system.h"
#include "tools/local_socket.h"

namespace quoin {
namespace {

constexpr const char* kSuffix = ".keeper";
constexpr uint64_t kMaxRecordBytes = 64 << 10;
constexpr size_t kMaxAnswerBytes = 1 << 20;
constexpr std::chrono::milliseconds kSendPatience{3000};

std::string PathOf(const std::string& run_dir, const std::string& id) {
  return run_dir + "/" + id + kSuffix;
}

}  // namespace

Json KeeperRecord::ToJson() const {
  return Json{{"id", id},
              {"store", store},
              {"store_id", store_id},
              {"mountpoint", mount_point},
              {"keeper_pid", keeper_pid}};
}

std::optional<KeeperRecord> KeeperRecord::FromJson(const Json& json) {
  KeeperRecord record{TextOf(json, "id"), TextOf(json, "store"), TextOf(json, "store_id"),
                      TextOf(json, "mountpoint"), NumberOf(json, "keeper_pid")};
  if (!Id::Parse(record.id) || record.mount_point.empty() || record.keeper_pid <= 0) {
    return std::nullopt;
  }
  return record;
}

std::string KeeperSocketPath(const std::string& run_dir, const std::string& id) {
  return PathOf(run_dir, id) + ".sock";
}

Status WriteKeeperRecord(const std::string& run_dir, const KeeperRecord& record) {
  PosixFileSystem file_system;
  const std::string path = PathOf(run_dir, record.id);
  return ReplaceFile(file_system, path, path + ".tmp", JsonText(record.ToJson()) + "\n");
}

void RemoveKeeperRecord(const std::string& run_dir, const std::string& id) {
  boost::system::error_code ignored;
  boost::filesystem::remove(PathOf(run_dir, id), ignored);
  boost::filesystem::remove(KeeperSocketPath(run_dir, id), ignored);
}

std::vector<KeeperRecord> ReadKeeperRecords(const std::string& run_dir) {
  std::vector<KeeperRecord> records;
  PosixFileSystem file_system;
  const Result<std::vector<DirectoryEntry>> entries = file_system.List(run_dir);
  if (!entries) return records;
  for (const DirectoryEntry& entry : *entries) {
    if (!entry.name.ends_with(kSuffix)) continue;
    const std::string path = run_dir + "/" + entry.name;
    const Result<std::string> text = ReadWholeFile(file_system, path, kMaxRecordBytes);
    if (!text) continue;
    const Result<Json> json = ParseJsonObject(*text, path);
    if (!json) continue;
    if (std::optional<KeeperRecord> record = KeeperRecord::FromJson(*json)) {
      records.push_back(std::move(*record));
    }
  }
  return records;
}

std::optional<KeeperRecord> KeeperOfMount(const std::string& run_dir,
                                          const std::string& mount_point) {
  for (KeeperRecord& record : ReadKeeperRecords(run_dir)) {
    if (record.mount_point == mount_point) return std::move(record);
  }
  return std::nullopt;
}

Result<Json> AskKeeper(const std::string& run_dir, const KeeperRecord& keeper, const Json& request,
                       std::chrono::milliseconds patience) {
  Result<Descriptor> socket = ConnectTo(KeeperSocketPath(run_dir, keeper.id));
  if (!socket) {
    if (socket.error().code == ErrorCode::kNotFound) RemoveKeeperRecord(run_dir, keeper.id);
    return Failure(socket.error());
  }
  QUOIN_TRY(SendLine(socket->number(), JsonLine(request), kSendPatience));
  QUOIN_ASSIGN(const std::string line, ReceiveLine(socket->number(), kMaxAnswerBytes, patience));
  return ParseJsonObject(line, fmt::format("the answer of the keeper of {}", keeper.mount_point));
}

}  // namespace quoin

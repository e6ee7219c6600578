// What a keeper tells the commands of its host: RUN_DIR/<id>.keeper, and beside it the socket on which it
// answers, RUN_DIR/<id>.keeper.sock. There from when the tree is usable until it is unmounted, whatever
// becomes of its daemons. Whoever finds that nobody listens removes both.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockstore/base/error.h"
#include "tools/json.h"

namespace quoin {

struct KeeperRecord {
  std::string id;  // 32 hexadecimal digits
  std::string store;
  std::string store_id;
  std::string mount_point;
  int64_t keeper_pid = 0;

  Json ToJson() const;
  static std::optional<KeeperRecord> FromJson(const Json& json);
};

std::string KeeperSocketPath(const std::string& run_dir, const std::string& id);
Status WriteKeeperRecord(const std::string& run_dir, const KeeperRecord& record);
void RemoveKeeperRecord(const std::string& run_dir, const std::string& id);
// All that can be read.
std::vector<KeeperRecord> ReadKeeperRecords(const std::string& run_dir);
std::optional<KeeperRecord> KeeperOfMount(const std::string& run_dir,
                                          const std::string& mount_point);

// The keeper's answer to {"verb": ...}, whatever it says. kNotFound if it is gone; its record has then been
// removed.
Result<Json> AskKeeper(const std::string& run_dir, const KeeperRecord& keeper, const Json& request,
                       std::chrono::milliseconds patience);

}  // namespace quoin

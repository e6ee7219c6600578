// What a daemon tells the commands of its host: RUN_DIR/<session>.json, and beside it the socket
// RUN_DIR/<session>.sock on which it answers. Written after the socket listens and removed before
// it stops, so a record whose socket refuses belongs to a daemon that died: whoever finds that
// removes both. Local to the host and gone with a boot; never on the store.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockstore/base/error.h"
#include "tools/json.h"

namespace quoin {

struct MountRecord {
  std::string session;  // 32 hexadecimal digits
  std::string store;    // the folder, absolute
  std::string store_id;
  std::string mount_point;  // absolute
  int64_t daemon_pid = 0;
  int64_t keeper_pid = 0;  // 0: it has none
  std::string version;
  std::string since;  // UTC
  std::string log;    // "" if it logs to its terminal

  Json ToJson() const;
  // kCorrupt if a member is missing.
  static Result<MountRecord> FromJson(const Json& json, const std::string& source);
};

std::string RecordPath(const std::string& run_dir, const std::string& session);
std::string SocketPath(const std::string& run_dir, const std::string& session);

// Makes the folder if needed.
Status WriteMountRecord(const std::string& run_dir, const MountRecord& record);
// The record and its socket, as far as they are there.
void RemoveMountRecord(const std::string& run_dir, const std::string& session);

// All records that can be read, by mount point. None if the folder does not exist.
std::vector<MountRecord> ReadMountRecords(const std::string& run_dir);

// The record whose mount point is or contains the path, the innermost one; null if there is none.
const MountRecord* MountHolding(const std::vector<MountRecord>& records, const std::string& path);

// Mount points of quoin trees as the kernel lists them (/proc/self/mountinfo).
std::vector<std::string> MountedTrees();

// True if `path` is `folder` or lies below it; both absolute and normal.
bool IsWithin(const std::string& path, const std::string& folder);

}  // namespace quoin

#include "tools/facts_json.h"

#include <fmt/format.h>

#include "blockstore/base/block.h"
#include "tools/units.h"

namespace quoin {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

Json IdOrNull(const Id& id) { return id.IsNull() ? Json(nullptr) : Json(id.ToString()); }

Json TimeOrNull(int64_t unix_ns) { return unix_ns == 0 ? Json(nullptr) : Json(FormatUtc(unix_ns)); }

void AddAttributes(Json& json, const Attributes& attributes) {
  json["mode"] = fmt::format("{:04o}", attributes.mode);
  json["uid"] = attributes.uid;
  json["gid"] = attributes.gid;
  json["accessed"] = TimeOrNull(attributes.atime_ns);
  json["modified"] = TimeOrNull(attributes.mtime_ns);
  json["changed"] = TimeOrNull(attributes.ctime_ns);
}

std::string_view StateOf(const LockStatus& status) {
  if (status.held) return "held";
  if (status.damaged) return "damaged";
  return status.record.clean ? "free" : "unclean";
}

}  // namespace

Json VdiJson(const std::string& name, const VdiInfo& info) {
  Json json{{"name", name},
            {"id", info.id.ToString()},
            {"size_bytes", info.size_bytes},
            {"used_bytes", info.data_blocks * kBlockBytes},
            {"unique_bytes", info.unique_blocks * kBlockBytes},
            {"shared_bytes", info.shared_blocks * kBlockBytes},
            {"layers", info.layers},
            {"snapshots", info.snapshots},
            {"created", TimeOrNull(info.created_ns)}};
  AddAttributes(json, info.attributes);
  json["parent"] = info.parent_name.empty() ? Json(nullptr) : Json(info.parent_name);
  json["parent_snapshot"] = IdOrNull(info.parent_snapshot);
  json["open_handles"] = info.open_handles;
  json["open_for_writing"] = info.open_for_writing;
  json["writer"] = info.writer ? LockRecordJson(*info.writer) : Json(nullptr);
  return json;
}

Json SnapshotJson(const std::string& vdi, const SnapshotRecord& snapshot) {
  Json json{{"vdi", vdi},
            {"name", snapshot.name},
            {"id", snapshot.id.ToString()},
            {"ordinal", snapshot.ordinal},
            {"size_bytes", snapshot.size_bytes},
            {"used_bytes", snapshot.data_blocks * kBlockBytes},
            {"created", TimeOrNull(snapshot.created_ns)},
            {"protected", snapshot.is_protected},
            {"digest", snapshot.digest.IsNull() ? Json(nullptr) : Json(snapshot.digest.ToHex())},
            {"layer", snapshot.layer_seq}};
  AddAttributes(json, snapshot.attributes);
  return json;
}

Json LockRecordJson(const LockRecord& record) {
  return Json{{"host", IdOrNull(record.host)},
              {"host_name", record.host_name},
              {"boot", record.boot},
              {"session", IdOrNull(record.session)},
              {"pid", record.pid},
              {"since", TimeOrNull(record.since_s * kNanosecondsPerSecond)},
              {"epoch", record.epoch},
              {"clean", record.clean},
              {"broken", record.broken}};
}

Json LockJson(const std::string& vdi, const LockStatus& status) {
  Json json{{"vdi", vdi}, {"state", StateOf(status)}};
  if (status.damaged) {
    json["owner"] = nullptr;
  } else {
    json["owner"] = LockRecordJson(status.record);
  }
  return json;
}

Json SessionJson(const SessionReport& session) {
  const HostRecord& record = session.session.record;
  const SessionLife life = session.session.life;
  return Json{{"host", record.host.ToString()},
              {"host_name", record.host_name},
              {"boot", record.boot},
              {"session", record.session.ToString()},
              {"pid", record.pid},
              {"version", record.version},
              {"since", TimeOrNull(record.since_s * kNanosecondsPerSecond)},
              {"lease_ms", record.lease_ms},
              {"state", life == SessionLife::kAlive    ? "alive"
                        : life == SessionLife::kSilent ? "silent"
                                                       : "dead"},
              {"vdis", session.vdis}};
}

}  // namespace quoin

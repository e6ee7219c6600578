#include "metadata/writer_lock_record.h"

#include <nlohmann/json.hpp>

#include "metadata/host_record.h"
#include "metadata/sector_record.h"

namespace quoin {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxKeeperBytes = 32;  // a process and when it started

std::optional<LockRecord> FromJson(const ordered_json& json) {
  LockRecord record;
  const std::optional<Id> host = Id::Parse(json.at("host").get<std::string>());
  const std::optional<Id> session = Id::Parse(json.at("session").get<std::string>());
  if (!host || !session) return std::nullopt;
  record.epoch = json.at("epoch").get<uint64_t>();
  record.host = *host;
  record.host_name = json.at("host_name").get<std::string>();
  record.boot = json.at("boot").get<std::string>();
  record.session = *session;
  record.pid = json.at("pid").get<int64_t>();
  record.since_s = json.at("since").get<int64_t>();
  record.lease_ms = json.value("lease_ms", uint32_t{0});
  record.clean = json.at("clean").get<bool>();
  record.broken = json.value("broken", false);
  record.taking_over = json.value("taking_over", false);
  if (json.contains("succeeds")) {
    const std::optional<Id> succeeds = Id::Parse(json.at("succeeds").get<std::string>());
    if (!succeeds) return std::nullopt;
    record.succeeds = *succeeds;
  }
  record.keeper = json.value("keeper", std::string());
  record.kept_since = json.value("kept_since", uint64_t{0});
  return record;
}

}  // namespace

std::string EncodeLockRecord(const LockRecord& record) {
  ordered_json json;
  json["epoch"] = record.epoch;
  json["host"] = record.host.ToString();
  json["host_name"] = HarmlessText(record.host_name, kMaxHostNameBytes);
  json["boot"] = HarmlessText(record.boot, kMaxBootBytes);
  json["session"] = record.session.ToString();
  json["pid"] = record.pid;
  json["since"] = record.since_s;
  if (record.lease_ms != 0) json["lease_ms"] = record.lease_ms;
  json["clean"] = record.clean;
  if (record.broken) json["broken"] = true;
  if (record.taking_over) json["taking_over"] = true;
  if (!record.succeeds.IsNull()) json["succeeds"] = record.succeeds.ToString();
  if (!record.keeper.empty()) json["keeper"] = HarmlessText(record.keeper, kMaxKeeperBytes);
  if (record.kept_since != 0) json["kept_since"] = record.kept_since;
  return SealSector(json);
}

std::optional<LockRecord> DecodeLockRecord(std::string_view bytes) {
  if (bytes.empty()) return LockRecord();
  const std::optional<ordered_json> json = OpenSector(bytes);
  if (!json) return std::nullopt;
  try {
    return FromJson(*json);
  } catch (const ordered_json::exception&) {
    return std::nullopt;  // checksummed, but not by us
  }
}

}  // namespace quoin

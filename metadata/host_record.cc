#include "metadata/host_record.h"

#include <nlohmann/json.hpp>

#include "metadata/sector_record.h"

namespace quoin {

using nlohmann::ordered_json;

std::string EncodeHostRecord(const HostRecord& record) {
  ordered_json json;
  json["host"] = record.host.ToString();
  json["host_name"] = HarmlessText(record.host_name, kMaxHostNameBytes);
  json["boot"] = HarmlessText(record.boot, kMaxBootBytes);
  json["session"] = record.session.ToString();
  json["pid"] = record.pid;
  json["version"] = HarmlessText(record.version, kMaxVersionBytes);
  json["since"] = record.since_s;
  json["lease_ms"] = record.lease_ms;
  json["beat"] = record.beat;
  return SealSector(json);
}

std::optional<HostRecord> DecodeHostRecord(std::string_view bytes) {
  const std::optional<ordered_json> json = OpenSector(bytes);
  if (!json) return std::nullopt;
  try {
    HostRecord record;
    const std::optional<Id> host = Id::Parse(json->at("host").get<std::string>());
    const std::optional<Id> session = Id::Parse(json->at("session").get<std::string>());
    if (!host || !session) return std::nullopt;
    record.host = *host;
    record.session = *session;
    record.host_name = json->at("host_name").get<std::string>();
    record.boot = json->at("boot").get<std::string>();
    record.pid = json->at("pid").get<int64_t>();
    record.version = json->at("version").get<std::string>();
    record.since_s = json->at("since").get<int64_t>();
    record.lease_ms = json->at("lease_ms").get<uint32_t>();
    record.beat = json->at("beat").get<uint64_t>();
    return record;
  } catch (const ordered_json::exception&) {
    return std::nullopt;  // checksummed, but not by us
  }
}

}  // namespace quoin

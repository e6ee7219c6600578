#include "metadata/writer_lock_record.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "blockstore/base/block.h"

namespace quoin {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxHostNameBytes = 64;
constexpr size_t kMaxBootBytes = 36;  // a UUID

std::string Harmless(const std::string& text, size_t limit_bytes) {
  std::string result = text.substr(0, limit_bytes);
  std::replace_if(
      result.begin(), result.end(),
      [](char c) {
        const bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                              (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
        return !is_plain;
      },
      '?');
  return result;
}

// The end of the line, which makes a whole of the text before it.
std::string CheckMember(std::string_view text) {
  return fmt::format(",\"check\":\"{:016x}\"}}", XXH3_64bits(text.data(), text.size()));
}

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
  record.clean = json.at("clean").get<bool>();
  record.broken = json.value("broken", false);
  record.taking_over = json.value("taking_over", false);
  return record;
}

}  // namespace

std::string EncodeLockRecord(const LockRecord& record) {
  ordered_json json;
  json["epoch"] = record.epoch;
  json["host"] = record.host.ToString();
  json["host_name"] = Harmless(record.host_name, kMaxHostNameBytes);
  json["boot"] = Harmless(record.boot, kMaxBootBytes);
  json["session"] = record.session.ToString();
  json["pid"] = record.pid;
  json["since"] = record.since_s;
  json["clean"] = record.clean;
  if (record.broken) json["broken"] = true;
  if (record.taking_over) json["taking_over"] = true;
  std::string text = json.dump();
  text.pop_back();  // the closing brace comes after the checksum
  text += CheckMember(text);
  text += '\n';
  if (text.size() > kSectorBytes) std::abort();  // every member is bounded above
  text.resize(kSectorBytes, ' ');
  return text;
}

std::optional<LockRecord> DecodeLockRecord(std::string_view bytes) {
  if (bytes.empty()) return LockRecord();
  if (bytes.size() != kSectorBytes) return std::nullopt;
  const size_t line_end = bytes.find('\n');
  if (line_end == std::string_view::npos) return std::nullopt;
  if (bytes.find_first_not_of(' ', line_end + 1) != std::string_view::npos) return std::nullopt;
  const std::string_view line = bytes.substr(0, line_end);
  const size_t check_bytes = CheckMember("").size();
  if (line.size() <= check_bytes) return std::nullopt;
  const std::string_view text = line.substr(0, line.size() - check_bytes);
  if (CheckMember(text) != line.substr(text.size())) return std::nullopt;
  try {
    return FromJson(ordered_json::parse(line));
  } catch (const ordered_json::exception&) {
    return std::nullopt;  // checksummed, but not by us
  }
}

}  // namespace quoin

#include "snapshots/owner_request.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace quoin {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<OwnerVerb, std::string_view>, 15> kWords = {{
    {OwnerVerb::kTakeSnapshots, "take_snapshots"},
    {OwnerVerb::kRemoveSnapshot, "remove_snapshot"},
    {OwnerVerb::kRenameSnapshot, "rename_snapshot"},
    {OwnerVerb::kProtectSnapshot, "protect_snapshot"},
    {OwnerVerb::kRollback, "rollback"},
    {OwnerVerb::kResize, "resize"},
    {OwnerVerb::kSetAttributes, "set_attributes"},
    {OwnerVerb::kSeal, "seal"},
    {OwnerVerb::kGrantHandOver, "grant_hand_over"},
    {OwnerVerb::kHandOver, "hand_over"},
    {OwnerVerb::kJoinGroup, "join_group"},
    {OwnerVerb::kHoldGroup, "hold_group"},
    {OwnerVerb::kSwapGroup, "swap_group"},
    {OwnerVerb::kDecideGroup, "decide_group"},
    {OwnerVerb::kLeaveGroup, "leave_group"},
}};

// Names may be any bytes, and JSON holds text: what is not UTF-8 travels as numbers.
Json FromBytes(const std::string& bytes) {
  Json list = Json::array();
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  return list;
}

template <typename Value>
void Get(const Json& json, const char* key, Value& value) {
  if (const auto found = json.find(key); found != json.end()) value = found->get<Value>();
}

void GetBytes(const Json& json, const char* key, std::string& value) {
  if (const auto found = json.find(key); found != json.end()) {
    value.clear();
    for (const Json& byte : *found) value.push_back(static_cast<char>(byte.get<uint8_t>()));
  }
}

void GetId(const Json& json, const char* key, Id& value) {
  if (const auto found = json.find(key); found != json.end()) {
    value = Id::Parse(found->get<std::string>()).value_or(Id());
  }
}

template <typename Value>
void Put(Json& json, const char* key, const std::optional<Value>& value) {
  if (value) json[key] = *value;
}

template <typename Value>
void Get(const Json& json, const char* key, std::optional<Value>& value) {
  if (const auto found = json.find(key); found != json.end()) value = found->get<Value>();
}

}  // namespace

std::string OwnerRequest::Encode() const {
  const auto word = std::find_if(kWords.begin(), kWords.end(),
                                 [this](const auto& known) { return known.first == verb; });
  Json json{{"verb", word->second},
            {"vdi", vdi.ToString()},
            {"snapshot", FromBytes(snapshot)},
            {"new_name", FromBytes(new_name)},
            {"size_bytes", size_bytes},
            {"flag", flag},
            {"duration_ms", duration_ms}};
  Put(json, "mode", attributes.mode);
  Put(json, "uid", attributes.uid);
  Put(json, "gid", attributes.gid);
  Put(json, "atime_ns", attributes.atime_ns);
  Put(json, "mtime_ns", attributes.mtime_ns);
  Json list = Json::array();
  for (const NewSnapshot& each : snapshots) {
    list.push_back(Json{{"vdi", each.vdi.ToString()}, {"name", FromBytes(each.name)}});
  }
  json["snapshots"] = std::move(list);
  if (!group.IsNull()) json["group"] = group.ToString();
  return json.dump();
}

Result<OwnerRequest> OwnerRequest::Decode(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Fail(ErrorCode::kInvalid, "the request is no JSON object");
  try {
    OwnerRequest request;
    const std::string verb = json.at("verb").get<std::string>();
    const auto word = std::find_if(kWords.begin(), kWords.end(),
                                   [&](const auto& known) { return known.second == verb; });
    if (word == kWords.end()) {
      return Fail(ErrorCode::kUnsupported, "the owner's version of quoin does not know '" + verb + "'");
    }
    request.verb = word->first;
    GetId(json, "vdi", request.vdi);
    GetId(json, "group", request.group);
    GetBytes(json, "snapshot", request.snapshot);
    GetBytes(json, "new_name", request.new_name);
    Get(json, "size_bytes", request.size_bytes);
    Get(json, "flag", request.flag);
    Get(json, "duration_ms", request.duration_ms);
    Get(json, "mode", request.attributes.mode);
    Get(json, "uid", request.attributes.uid);
    Get(json, "gid", request.attributes.gid);
    Get(json, "atime_ns", request.attributes.atime_ns);
    Get(json, "mtime_ns", request.attributes.mtime_ns);
    if (const auto list = json.find("snapshots"); list != json.end()) {
      for (const Json& item : *list) {
        if (!item.is_object()) return Fail(ErrorCode::kInvalid, "the request lists what is no snapshot");
        NewSnapshot& each = request.snapshots.emplace_back();
        GetId(item, "vdi", each.vdi);
        GetBytes(item, "name", each.name);
      }
    }
    return request;
  } catch (const Json::exception&) {
    return Fail(ErrorCode::kInvalid, "the request has a member of the wrong kind");
  }
}

std::vector<Id> OwnerRequest::Vdis() const {
  std::vector<Id> vdis;
  if (!vdi.IsNull()) vdis.push_back(vdi);
  for (const NewSnapshot& each : snapshots) vdis.push_back(each.vdi);
  return vdis;
}

std::string OwnerAnswer::Encode() const {
  Json json = Json::object();
  if (!status) {
    json["error"] = Json{{"code", ToWord(status.error().code)},
                         {"what", FromBytes(status.error().what)},
                         {"next", FromBytes(status.error().next)}};
    return json.dump();
  }
  json["text"] = FromBytes(text);
  json["counts"] = {counts.read_blocks,   counts.zero_blocks,   counts.kept_blocks,
                    counts.shared_blocks, counts.stored_blocks, counts.node_bytes};
  return json.dump();
}

OwnerAnswer OwnerAnswer::Decode(std::string_view text) {
  OwnerAnswer answer;
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    if (const auto error = json.find("error"); error != json.end()) {
      Error told{ErrorCode::kIo, {}};
      told.code = ErrorCodeFromWord(error->at("code").get<std::string>());
      GetBytes(*error, "what", told.what);
      GetBytes(*error, "next", told.next);
      answer.status = Failure(std::move(told));
      return answer;
    }
    GetBytes(json, "text", answer.text);
    const auto counts = json.at("counts").get<std::array<uint64_t, 6>>();
    answer.counts = {counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]};
  } catch (const Json::exception&) {
    answer.status = Fail(ErrorCode::kIo, "the owner's answer is damaged");
  }
  return answer;
}

}  // namespace quoin

#include "tools/store_request.h"

#include <fmt/format.h>

namespace quoin {
namespace {

// Reads members of the kind that is expected and remembers the first one that is of another kind.
// A missing member leaves its default.
class MemberReader {
 public:
  explicit MemberReader(const Json& json) : json_(json) {}

  void Read(const char* key, std::string& target) {
    if (const Json* value = Find(key, &Json::is_string)) target = value->get<std::string>();
  }
  void Read(const char* key, bool& target) {
    if (const Json* value = Find(key, &Json::is_boolean)) target = value->get<bool>();
  }
  template <typename Number>
  void ReadNumber(const char* key, Number& target) {
    if (const Json* value = Find(key, &Json::is_number_unsigned)) target = value->get<Number>();
  }
  void Read(const char* key, std::vector<SnapshotName>& target) {
    const Json* list = Find(key, &Json::is_array);
    if (list == nullptr) return;
    for (const Json& item : *list) {
      if (!item.is_object()) {
        wrong_ = key;
        return;
      }
      target.push_back(SnapshotName{TextOf(item, "vdi"), TextOf(item, "snapshot")});
    }
  }

  const std::string& wrong() const { return wrong_; }

 private:
  const Json* Find(const char* key, bool (Json::*is_expected)() const noexcept) {
    const auto found = json_.find(key);
    if (found == json_.end()) return nullptr;
    if (((*found).*is_expected)()) return &*found;
    wrong_ = key;
    return nullptr;
  }

  const Json& json_;
  std::string wrong_;
};

}  // namespace

Json ProgressLine(uint64_t done_bytes, uint64_t all_bytes) {
  return Json{{"progress", {{"done_bytes", done_bytes}, {"all_bytes", all_bytes}}}};
}

bool TakeProgress(const Json& line, const ProgressSink& sink) {
  const auto progress = line.find("progress");
  if (progress == line.end()) return false;
  if (sink) {
    sink(static_cast<uint64_t>(NumberOf(*progress, "done_bytes")),
         static_cast<uint64_t>(NumberOf(*progress, "all_bytes")));
  }
  return true;
}

Json StoreRequest::ToJson() const {
  Json json{{"protocol", kControlProtocol},
            {"verb", verb},
            {"vdi", vdi},
            {"snapshot", snapshot},
            {"path", path},
            {"new_name", new_name},
            {"size_bytes", size_bytes},
            {"uid", uid},
            {"gid", gid},
            {"with_snapshots", with_snapshots},
            {"allow_shrink", allow_shrink},
            {"protect", protect},
            {"details", details},
            {"all", all},
            {"dry_run", dry_run},
            {"tells_progress", tells_progress},
            {"grace_ms", grace_ms},
            {"duration_ms", duration_ms}};
  Json list = Json::array();
  for (const SnapshotName& name : snapshots) {
    list.push_back(Json{{"vdi", name.vdi}, {"snapshot", name.snapshot}});
  }
  json["snapshots"] = std::move(list);
  return json;
}

Result<StoreRequest> StoreRequest::FromJson(const Json& json) {
  if (NumberOf(json, "protocol") != kControlProtocol) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("cannot answer a request of protocol {}: this daemon speaks {}",
                            NumberOf(json, "protocol"), kControlProtocol));
  }
  StoreRequest request;
  MemberReader reader(json);
  reader.Read("verb", request.verb);
  reader.Read("vdi", request.vdi);
  reader.Read("snapshot", request.snapshot);
  reader.Read("path", request.path);
  reader.Read("new_name", request.new_name);
  reader.Read("snapshots", request.snapshots);
  reader.ReadNumber("size_bytes", request.size_bytes);
  reader.ReadNumber("uid", request.uid);
  reader.ReadNumber("gid", request.gid);
  reader.Read("with_snapshots", request.with_snapshots);
  reader.Read("allow_shrink", request.allow_shrink);
  reader.Read("protect", request.protect);
  reader.Read("details", request.details);
  reader.Read("all", request.all);
  reader.Read("dry_run", request.dry_run);
  reader.Read("tells_progress", request.tells_progress);
  reader.ReadNumber("grace_ms", request.grace_ms);
  reader.ReadNumber("duration_ms", request.duration_ms);
  if (!reader.wrong().empty()) {
    return Fail(
        ErrorCode::kInvalid,
        fmt::format("cannot answer a request whose '{}' is of the wrong kind", reader.wrong()));
  }
  return request;
}

Json StoreAnswer::ToJson() const {
  Json json = Json::object();
  if (error) {
    json["error"] = quoin::ToJson(*error);
  } else {
    json["result"] = result;
  }
  if (!owner_session.empty()) json["owner_session"] = owner_session;
  return json;
}

StoreAnswer StoreAnswer::FromJson(const Json& json) {
  StoreAnswer answer;
  answer.owner_session = TextOf(json, "owner_session");
  if (const auto error = json.find("error"); error != json.end() && error->is_object()) {
    answer.error = ErrorFromJson(*error);
  } else if (const auto result = json.find("result"); result != json.end()) {
    answer.result = *result;
  } else {
    answer.error = Error{ErrorCode::kCorrupt, "the daemon's answer holds neither result nor error"};
  }
  return answer;
}

}  // namespace quoin

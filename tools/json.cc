#include "tools/json.h"

#include <fmt/format.h>

namespace quoin {

std::string JsonLine(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string JsonText(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace);
}

Result<Json> ParseJsonObject(std::string_view text, std::string_view source) {
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded() || !value.is_object()) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} is no JSON object", source));
  }
  return value;
}

std::string TextOf(const Json& object, const char* key, const std::string& fallback) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return fallback;
  return found->get<std::string>();
}

int64_t NumberOf(const Json& object, const char* key, int64_t fallback) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return fallback;
  return found->get<int64_t>();
}

bool FlagOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

Json ToJson(const Error& error) {
  return Json{{"code", ToWord(error.code)}, {"what", error.what}, {"next", error.next}};
}

Error ErrorFromJson(const Json& json) {
  return Error{ErrorCodeFromWord(TextOf(json, "code")), TextOf(json, "what", "unknown error"),
               TextOf(json, "next")};
}

}  // namespace quoin

// JSON as the command and the daemon speak it: members keep the order in which they were written.
// Text that is no UTF-8 (a name may hold any bytes) is written with replacement characters.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "blockstore/base/error.h"

namespace quoin {

using Json = nlohmann::ordered_json;

// One line without its end; never throws.
std::string JsonLine(const Json& value);
// Indented, for people and files; never throws.
std::string JsonText(const Json& value);
// kCorrupt if `text` is no JSON object; `source` names it in the message.
Result<Json> ParseJsonObject(std::string_view text, std::string_view source);

// The member as text, a number or a flag; the fallback if it is missing or of another kind.
std::string TextOf(const Json& object, const char* key, const std::string& fallback = {});
int64_t NumberOf(const Json& object, const char* key, int64_t fallback = 0);
bool FlagOf(const Json& object, const char* key);  // false if it is no true

// {"code": "busy", "what": "...", "next": "..."}
Json ToJson(const Error& error);
Error ErrorFromJson(const Json& json);

}  // namespace quoin

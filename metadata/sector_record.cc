#include "metadata/sector_record.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace quoin {
namespace {

using nlohmann::ordered_json;

// The end of the line, which makes a whole of the text before it.
std::string CheckMember(std::string_view text) {
  return fmt::format(",\"check\":\"{:016x}\"}}", XXH3_64bits(text.data(), text.size()));
}

}  // namespace

std::string SealSector(const ordered_json& members) {
  std::string text = members.dump();
  text.pop_back();  // the closing brace comes after the checksum
  text += CheckMember(text);
  text += '\n';
  if (text.size() > kSectorBytes) std::abort();
  text.resize(kSectorBytes, ' ');
  return text;
}

std::optional<ordered_json> OpenSector(std::string_view bytes) {
  if (bytes.size() != kSectorBytes) return std::nullopt;
  const size_t line_end = bytes.find('\n');
  if (line_end == std::string_view::npos) return std::nullopt;
  if (bytes.find_first_not_of(' ', line_end + 1) != std::string_view::npos) return std::nullopt;
  const std::string_view line = bytes.substr(0, line_end);
  const size_t check_bytes = CheckMember("").size();
  if (line.size() <= check_bytes) return std::nullopt;
  const std::string_view text = line.substr(0, line.size() - check_bytes);
  if (CheckMember(text) != line.substr(text.size())) return std::nullopt;
  ordered_json members = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!members.is_object()) return std::nullopt;  // checksummed, but not by us
  return members;
}

std::string HarmlessText(const std::string& text, size_t limit_bytes) {
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

}  // namespace quoin

// Small records that are written in place: one 512-byte sector each, so that none is ever half of one
// and half of another. A line of JSON whose last member, "check", is the XXH3-64 of all text before it,
// then spaces.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "blockstore/base/block.h"

namespace quoin {

// The bytes of a record with these members. Aborts if they do not fit a sector: every member is bounded
// by whoever makes the record.
std::string SealSector(const nlohmann::ordered_json& members);

// The members of a record, with "check"; nothing if the bytes are not exactly such a sector.
std::optional<nlohmann::ordered_json> OpenSector(std::string_view bytes);

// The text's first bytes, with all but letters, digits, '.', '-' and '_' replaced: what a record may
// carry of a host's name.
std::string HarmlessText(const std::string& text, size_t limit_bytes);

}  // namespace quoin

// The record in a writer.lock as bytes: one sector, a line of JSON whose last member is a checksum
// of all before it, padded with spaces. Format in writer_lock.h. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "metadata/writer_lock.h"

namespace quoin {

// Exactly kSectorBytes. A host name of more than 64 bytes is cut, and what is not a letter, digit,
// '.',
// '-' or '_' in it becomes '?': the record must always fit.
std::string EncodeLockRecord(const LockRecord& record);

// Of a file's whole content. Empty content is the record of a lock that nobody ever held; nothing
// is returned for anything that EncodeLockRecord cannot make.
std::optional<LockRecord> DecodeLockRecord(std::string_view bytes);

}  // namespace quoin

#include "metadata/sqlite_error.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <optional>
#include <utility>

namespace quoin {
namespace {

ErrorCode CodeOf(int primary, int extended) {
  switch (primary) {
    case SQLITE_FULL:
      return ErrorCode::kNoSpace;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kBusy;
    case SQLITE_TOOBIG:
      return ErrorCode::kTooLarge;
    case SQLITE_CONSTRAINT:
      return extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY
                 ? ErrorCode::kExists
                 : ErrorCode::kInvalid;
    // Our statements are right, so where SQLite finds no such table or column the database is
    // wrong.
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return ErrorCode::kCorrupt;
    default:
      return ErrorCode::kIo;
  }
}

bool ComesFromStorage(int primary) {
  return primary == SQLITE_IOERR || primary == SQLITE_FULL || primary == SQLITE_CANTOPEN ||
         primary == SQLITE_BUSY || primary == SQLITE_CORRUPT;
}

}  // namespace

Error FromSqlite(const SQLite::Exception& exception, std::string_view act,
                 const std::string& path) {
  const int extended = exception.getExtendedErrorCode();
  const int primary = exception.getErrorCode() & 0xff;
  std::optional<Error> below = TakeSeamFailure();
  if (below && ComesFromStorage(primary)) {
    below->what = fmt::format("cannot {} {}: {}", act, path, below->what);
    if (below->code == ErrorCode::kCorrupt && below->next.empty()) below->next = kDamageNext;
    return *std::move(below);
  }
  const ErrorCode code = CodeOf(primary, extended);
  if (code == ErrorCode::kCorrupt) {
    return {code, fmt::format("cannot {} {}: it is damaged ({})", act, path, exception.what()),
            std::string(kDamageNext)};
  }
  return {code, fmt::format("cannot {} {}: {}", act, path, exception.what()), {}};
}

}  // namespace quoin

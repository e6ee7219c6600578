// Where SQLite's exceptions end and quoin's errors begin. Every call into SQLite from this room
// runs inside GuardSqlite, so nothing thrown by SQLiteCpp leaves the room.
#pragma once

#include <SQLiteCpp/Exception.h>

#include <string>
#include <string_view>
#include <type_traits>

#include "blockstore/base/error.h"
#include "metadata/sqlite_vfs.h"

namespace quoin {

// What to do next about a damaged vdi.db.
inline constexpr std::string_view kDamageNext =
    "run quoin check; the data is still in the layers folder beside the database";

// The error for a failed SQLite call on the database at `path`. Where the storage below failed, the
// seam's own error decides the code: kNoSpace, kLostOwnership, kBusy, ... Otherwise damage is
// kCorrupt, a full disk kNoSpace, a broken UNIQUE kExists, another broken constraint kInvalid.
// `act` completes "cannot ...".
Error FromSqlite(const SQLite::Exception& exception, std::string_view act, const std::string& path);

// Runs `call`, which returns a Status or Result and may throw SQLite::Exception.
template <typename Call>
std::invoke_result_t<Call> GuardSqlite(std::string_view act, const std::string& path, Call&& call) {
  ForgetSeamFailure();
  try {
    return call();
  } catch (const SQLite::Exception& exception) {
    return Failure(FromSqlite(exception, act, path));
  }
}

}  // namespace quoin

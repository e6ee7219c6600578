// Errors as values. Every fallible function of quoin returns Result<T> or Status; nothing is
// thrown across a room's border. The codes are a small closed set; ToErrno is the one table that
// turns them into what a filesystem call answers.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace quoin {

enum class ErrorCode {
  kInvalid,        // the request makes no sense: a size, an offset, a name              EINVAL
  kNotFound,       // no such VDI, snapshot, folder or file                              ENOENT
  kExists,         // the name is taken                                                  EEXIST
  kNotDirectory,   // a VDI where a folder is needed                                     ENOTDIR
  kIsDirectory,    // a folder where a VDI is needed                                     EISDIR
  kNotEmpty,       // the folder has entries, the VDI has snapshots                      ENOTEMPTY
  kNameTooLong,    // a part of a name has more than 255 bytes                           ENAMETOOLONG
  kReadOnly,       // snapshots cannot be changed                                        EROFS
  kNotPermitted,   // the tree has no such thing (links, devices)                        EPERM
  kAccessDenied,   // the storage refused by its permissions                             EACCES
  kBusy,           // someone has it open or locked                                      EBUSY
  kNoSpace,        // the storage is full                                                ENOSPC
  kTooLarge,       // beyond a limit of the format                                       EFBIG
  kUnsupported,    // the storage or the format has no such operation                    EOPNOTSUPP
  kNotAStore,      // the folder holds no store                                          EINVAL
  kNewerFormat,    // written by a newer quoin than this one                             EPROTONOSUPPORT
  kIo,             // the storage failed                                                 EIO
  kCorrupt,        // the storage answered, and what it holds is wrong                   EIO
  kLostOwnership,  // this host is no longer the VDI's owner                             ESTALE
  kNoData,         // past the last data (SEEK_DATA), no such attribute                  ENXIO
};

// What went wrong, in one sentence that names the object and the act ("cannot open vdis/web01 for
// writing: ..."), and, where there is something the user can do, what next ("quoin lock break
// web01"). `next` may be empty.
struct Error {
  ErrorCode code;
  std::string what;
  std::string next = {};
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;
using Failure = tl::unexpected<Error>;

inline Failure Fail(ErrorCode code, std::string what, std::string next = {}) {
  return Failure(Error{code, std::move(what), std::move(next)});
}

// A failed system call: `act` names what was attempted and on what ("cannot read layers/3-1").
// The errno decides the code and is spelled out in the text.
Failure FailSystem(int error_number, std::string_view act);

// The errno that a filesystem call answers for this code.
int ToErrno(ErrorCode code);

// A stable word for logs and JSON: "not_found", "busy", ...
std::string_view ToWord(ErrorCode code);

// The inverse of ToWord; unknown words are kIo.
ErrorCode ErrorCodeFromWord(std::string_view word);

}  // namespace quoin

#define QUOIN_CONCAT_INNER(a, b) a##b
#define QUOIN_CONCAT(a, b) QUOIN_CONCAT_INNER(a, b)

// Returns the error of a Result or Status to the caller; goes on if there is none.
#define QUOIN_TRY(...) QUOIN_TRY_INNER(QUOIN_CONCAT(quoin_try_, __COUNTER__), __VA_ARGS__)
#define QUOIN_TRY_INNER(result, ...)                                    \
  do {                                                                  \
    auto result = (__VA_ARGS__);                                        \
    if (!result) return ::quoin::Failure(std::move(result).error());    \
  } while (false)

// Declares or assigns `target` from a Result, or returns its error to the caller.
#define QUOIN_ASSIGN(target, ...) \
  QUOIN_ASSIGN_INNER(QUOIN_CONCAT(quoin_result_, __COUNTER__), target, __VA_ARGS__)
#define QUOIN_ASSIGN_INNER(result, target, ...)                    \
  auto result = (__VA_ARGS__);                                     \
  if (!result) return ::quoin::Failure(std::move(result).error()); \
  target = std::move(*result)

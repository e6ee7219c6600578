#include "blockstore/base/error.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace quoin {
namespace {

struct CodeRow {
  ErrorCode code;
  int error_number;
  std::string_view word;
};

// The one table; the order is the enum's.
constexpr std::array kCodes = {
    CodeRow{ErrorCode::kInvalid, EINVAL, "invalid"},
    CodeRow{ErrorCode::kNotFound, ENOENT, "not_found"},
    CodeRow{ErrorCode::kExists, EEXIST, "exists"},
    CodeRow{ErrorCode::kNotDirectory, ENOTDIR, "not_directory"},
    CodeRow{ErrorCode::kIsDirectory, EISDIR, "is_directory"},
    CodeRow{ErrorCode::kNotEmpty, ENOTEMPTY, "not_empty"},
    CodeRow{ErrorCode::kNameTooLong, ENAMETOOLONG, "name_too_long"},
    CodeRow{ErrorCode::kReadOnly, EROFS, "read_only"},
    CodeRow{ErrorCode::kNotPermitted, EPERM, "not_permitted"},
    CodeRow{ErrorCode::kAccessDenied, EACCES, "access_denied"},
    CodeRow{ErrorCode::kBusy, EBUSY, "busy"},
    CodeRow{ErrorCode::kNoSpace, ENOSPC, "no_space"},
    CodeRow{ErrorCode::kTooLarge, EFBIG, "too_large"},
    CodeRow{ErrorCode::kUnsupported, EOPNOTSUPP, "unsupported"},
    CodeRow{ErrorCode::kNotAStore, EINVAL, "not_a_store"},
    CodeRow{ErrorCode::kNewerFormat, EPROTONOSUPPORT, "newer_format"},
    CodeRow{ErrorCode::kIo, EIO, "io"},
    CodeRow{ErrorCode::kCorrupt, EIO, "corrupt"},
    CodeRow{ErrorCode::kLostOwnership, ESTALE, "lost_ownership"},
    CodeRow{ErrorCode::kNoData, ENXIO, "no_data"},
};

ErrorCode FromErrno(int error_number) {
  switch (error_number) {
    case EDQUOT:
      return ErrorCode::kNoSpace;
    case EOVERFLOW:
    case E2BIG:
      return ErrorCode::kTooLarge;
    case ENOSYS:
    case ENOTSUP:
      return ErrorCode::kUnsupported;
    case EBADFD:
    case ESHUTDOWN:
    case ESTALE:
      return ErrorCode::kLostOwnership;
    case EAGAIN:
    case ETXTBSY:
      return ErrorCode::kBusy;
    case EPERM:
      return ErrorCode::kAccessDenied;
    case ENXIO:
      return ErrorCode::kIo;
    default:
      for (const CodeRow& row : kCodes) {
        if (row.error_number == error_number) return row.code;
      }
      return ErrorCode::kIo;
  }
}

}  // namespace

Failure FailSystem(int error_number, std::string_view act) {
  return Fail(FromErrno(error_number),
              fmt::format("{}: {}", act, std::generic_category().message(error_number)));
}

int ToErrno(ErrorCode code) { return kCodes[static_cast<size_t>(code)].error_number; }

std::string_view ToWord(ErrorCode code) { return kCodes[static_cast<size_t>(code)].word; }

ErrorCode ErrorCodeFromWord(std::string_view word) {
  for (const CodeRow& row : kCodes) {
    if (row.word == word) return row.code;
  }
  return ErrorCode::kIo;
}

}  // namespace quoin

#include "blockstore/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

constexpr int kCodes = static_cast<int>(ErrorCode::kNoData) + 1;

TEST(ErrorTest, EveryCodeHasItsOwnWordThatLeadsBackToIt) {
  std::set<std::string_view> words;
  for (int i = 0; i < kCodes; ++i) {
    const auto code = static_cast<ErrorCode>(i);
    EXPECT_FALSE(ToWord(code).empty());
    EXPECT_TRUE(words.insert(ToWord(code)).second) << ToWord(code);
    EXPECT_EQ(ErrorCodeFromWord(ToWord(code)), code);
  }
}

TEST(ErrorTest, AnUnknownWordIsAnIoError) {
  EXPECT_EQ(ErrorCodeFromWord("no such word"), ErrorCode::kIo);
  EXPECT_EQ(ErrorCodeFromWord(""), ErrorCode::kIo);
}

TEST(ErrorTest, CodesAnswerTheErrnoOfAFilesystem) {
  EXPECT_EQ(ToErrno(ErrorCode::kInvalid), EINVAL);
  EXPECT_EQ(ToErrno(ErrorCode::kNotFound), ENOENT);
  EXPECT_EQ(ToErrno(ErrorCode::kExists), EEXIST);
  EXPECT_EQ(ToErrno(ErrorCode::kNotDirectory), ENOTDIR);
  EXPECT_EQ(ToErrno(ErrorCode::kIsDirectory), EISDIR);
  EXPECT_EQ(ToErrno(ErrorCode::kNotEmpty), ENOTEMPTY);
  EXPECT_EQ(ToErrno(ErrorCode::kNameTooLong), ENAMETOOLONG);
  EXPECT_EQ(ToErrno(ErrorCode::kReadOnly), EROFS);
  EXPECT_EQ(ToErrno(ErrorCode::kNotPermitted), EPERM);
  EXPECT_EQ(ToErrno(ErrorCode::kBusy), EBUSY);
  EXPECT_EQ(ToErrno(ErrorCode::kNoSpace), ENOSPC);
  EXPECT_EQ(ToErrno(ErrorCode::kTooLarge), EFBIG);
  EXPECT_EQ(ToErrno(ErrorCode::kUnsupported), EOPNOTSUPP);
  EXPECT_EQ(ToErrno(ErrorCode::kIo), EIO);
  EXPECT_EQ(ToErrno(ErrorCode::kCorrupt), EIO);
  EXPECT_EQ(ToErrno(ErrorCode::kNoData), ENXIO);
}

ErrorCode CodeOf(int error_number) { return Status(FailSystem(error_number, "x")).error().code; }

TEST(ErrorTest, SystemErrorsBecomeCodes) {
  EXPECT_EQ(CodeOf(ENOENT), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(ENOSPC), ErrorCode::kNoSpace);
  EXPECT_EQ(CodeOf(EDQUOT), ErrorCode::kNoSpace);
  EXPECT_EQ(CodeOf(EINVAL), ErrorCode::kInvalid);
  EXPECT_EQ(CodeOf(EIO), ErrorCode::kIo);
  EXPECT_EQ(CodeOf(EOPNOTSUPP), ErrorCode::kUnsupported);
  EXPECT_EQ(CodeOf(EFBIG), ErrorCode::kTooLarge);
  EXPECT_EQ(CodeOf(EPERM), ErrorCode::kAccessDenied);
  EXPECT_EQ(CodeOf(EHWPOISON), ErrorCode::kIo);  // one that the table does not know
}

TEST(ErrorTest, WhatFencingStorageAnswersEndsTheOwnership) {
  for (const int error_number : {EBADFD, ESHUTDOWN, ESTALE}) {
    EXPECT_EQ(CodeOf(error_number), ErrorCode::kLostOwnership);
  }
}

TEST(ErrorTest, ASystemErrorNamesTheActAndTheCause) {
  const Status status = FailSystem(ENOSPC, "cannot write layers/3-1");
  EXPECT_EQ(status.error().what, "cannot write layers/3-1: No space left on device");
}

Result<int> Half(int number) {
  if (number % 2 != 0) return Fail(ErrorCode::kInvalid, "odd", "double it");
  return number / 2;
}

Result<int> Quarter(int number) {
  QUOIN_ASSIGN(const int half, Half(number));
  QUOIN_TRY(Half(half));
  return half / 2;
}

TEST(ErrorTest, ErrorsPassThroughUnchanged) {
  ASSERT_OK_AND_ASSIGN(const int quarter, Quarter(12));
  EXPECT_EQ(quarter, 3);
  for (const int number : {5, 6}) {
    const Result<int> failed = Quarter(number);
    ASSERT_ERROR(kInvalid, failed);
    EXPECT_EQ(failed.error().what, "odd");
    EXPECT_EQ(failed.error().next, "double it");
  }
}

}  // namespace
}  // namespace quoin

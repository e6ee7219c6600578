// How tests state that a Result or Status is good, or is a certain error. A failure prints the
// error's whole text.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include "blockstore/base/error.h"

namespace quoin {

inline void PrintTo(ErrorCode code, std::ostream* out) { *out << ToWord(code); }

template <typename R>
::testing::AssertionResult Succeeded(const R& result) {
  if (result) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << ToWord(result.error().code) << ": " << result.error().what;
}

template <typename R>
::testing::AssertionResult FailedWith(ErrorCode code, const R& result) {
  if (result) return ::testing::AssertionFailure() << "it succeeded, expected " << ToWord(code);
  if (result.error().code == code) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << ToWord(result.error().code) << " (" << result.error().what
                                       << "), expected " << ToWord(code);
}

}  // namespace quoin

#define EXPECT_OK(expression) EXPECT_TRUE(::quoin::Succeeded(expression))
#define ASSERT_OK(expression) ASSERT_TRUE(::quoin::Succeeded(expression))
#define EXPECT_ERROR(code, expression) \
  EXPECT_TRUE(::quoin::FailedWith(::quoin::ErrorCode::code, expression))
#define ASSERT_ERROR(code, expression) \
  ASSERT_TRUE(::quoin::FailedWith(::quoin::ErrorCode::code, expression))

// Declares `target` from a Result, or ends the test with the error.
#define ASSERT_OK_AND_ASSIGN(target, expression) \
  ASSERT_OK_AND_ASSIGN_INNER(QUOIN_CONCAT(test_result_, __LINE__), target, expression)
#define ASSERT_OK_AND_ASSIGN_INNER(result, target, expression) \
  auto result = (expression);                                  \
  ASSERT_TRUE(::quoin::Succeeded(result));                     \
  target = std::move(*result)

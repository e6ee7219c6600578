#include "blockstore/base/id.h"

#include <gtest/gtest.h>

#include <string>
#include <unordered_set>

namespace quoin {
namespace {

TEST(IdTest, TextAndIdLeadToEachOther) {
  const std::string text = "0123456789abcdef00ff10e0a5b6c7d8";
  const std::optional<Id> id = Id::Parse(text);
  ASSERT_TRUE(id);
  EXPECT_EQ(id->ToString(), text);
  EXPECT_EQ(id->Prefix(), 0x0123456789abcdefu);
  for (int i = 0; i < 100; ++i) {
    const Id random = Id::Random();
    EXPECT_EQ(Id::Parse(random.ToString()), random);
  }
}

TEST(IdTest, OnlyTheOneFormIsAccepted) {
  EXPECT_FALSE(Id::Parse(""));
  EXPECT_FALSE(Id::Parse("0123456789abcdef0123456789abcde"));
  EXPECT_FALSE(Id::Parse("0123456789abcdef0123456789abcdef0"));
  EXPECT_FALSE(Id::Parse("0123456789ABCDEF0123456789ABCDEF"));
  EXPECT_FALSE(Id::Parse("0123456789abcdef0123456789abcdeg"));
  EXPECT_FALSE(Id::Parse(" 123456789abcdef0123456789abcdef"));
  EXPECT_FALSE(Id::Parse(std::string(32, '\0')));
}

TEST(IdTest, ADefaultIdIsNull) {
  EXPECT_TRUE(Id().IsNull());
  EXPECT_EQ(Id().ToString(), std::string(32, '0'));
  EXPECT_FALSE(Id::Random().IsNull());
}

TEST(IdTest, RandomIdsDiffer) {
  std::unordered_set<Id, IdHash> ids;
  for (int i = 0; i < 1'000; ++i) EXPECT_TRUE(ids.insert(Id::Random()).second);
}

TEST(IdTest, IdsAreOrderedAsTheirTextIs) {
  for (int i = 0; i < 100; ++i) {
    const Id a = Id::Random();
    const Id b = Id::Random();
    EXPECT_EQ(a < b, a.ToString() < b.ToString());
  }
}

}  // namespace
}  // namespace quoin

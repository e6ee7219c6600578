// The texts in which sessions ask each other.
#include "snapshots/owner_request.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

TEST(OwnerRequestTest, EveryMemberComesBack) {
  OwnerRequest request;
  request.verb = OwnerVerb::kRenameSnapshot;
  request.vdi = Id::Random();
  request.snapshot = "monday\xff\"";
  request.new_name = "tuesday";
  request.size_bytes = uint64_t{1} << 48;
  request.flag = true;
  request.attributes = {.mode = 0640, .uid = 1, .gid = 4'000'000'000u, .atime_ns = -5, .mtime_ns = 6};
  request.snapshots = {{Id::Random(), "a"}, {Id::Random(), std::string("\0b", 2)}};
  request.group = Id::Random();
  const Result<OwnerRequest> read = OwnerRequest::Decode(request.Encode());
  ASSERT_OK(read);
  EXPECT_EQ(read->verb, request.verb);
  EXPECT_EQ(read->group, request.group);
  EXPECT_EQ(read->vdi, request.vdi);
  EXPECT_EQ(read->snapshot, request.snapshot);
  EXPECT_EQ(read->new_name, request.new_name);
  EXPECT_EQ(read->size_bytes, request.size_bytes);
  EXPECT_EQ(read->flag, request.flag);
  EXPECT_EQ(read->attributes.mode, 0640u);
  EXPECT_EQ(read->attributes.uid, 1u);
  EXPECT_EQ(read->attributes.gid, 4'000'000'000u);
  EXPECT_EQ(read->attributes.atime_ns, -5);
  EXPECT_EQ(read->attributes.mtime_ns, 6);
  EXPECT_EQ(read->snapshots, request.snapshots);
  EXPECT_EQ(read->Vdis().size(), 3u);
}

TEST(OwnerRequestTest, WhatIsNotAskedForIsNotChanged) {
  OwnerRequest request;
  request.verb = OwnerVerb::kSetAttributes;
  request.attributes.mode = 0600;
  const Result<OwnerRequest> read = OwnerRequest::Decode(request.Encode());
  ASSERT_OK(read);
  EXPECT_FALSE(read->attributes.uid);
  EXPECT_FALSE(read->attributes.mtime_ns);
}

TEST(OwnerRequestTest, WhatIsNoRequestIsRefused) {
  EXPECT_ERROR(kUnsupported, OwnerRequest::Decode(R"({"verb":"dance"})"));
  EXPECT_ERROR(kInvalid, OwnerRequest::Decode(""));
  EXPECT_ERROR(kInvalid, OwnerRequest::Decode("[]"));
  EXPECT_ERROR(kInvalid, OwnerRequest::Decode("{}"));
  EXPECT_ERROR(kInvalid, OwnerRequest::Decode(R"({"verb":7})"));
  EXPECT_ERROR(kInvalid, OwnerRequest::Decode(R"({"verb":"seal","flag":"yes"})"));
  EXPECT_ERROR(kInvalid, OwnerRequest::Decode(R"({"verb":"seal","snapshots":[7]})"));
  EXPECT_ERROR(kInvalid, OwnerRequest::Decode(R"({"verb":"seal","snapshot":"text"})"));
}

TEST(OwnerRequestTest, AnswersComeBack) {
  OwnerAnswer answer;
  answer.text = "before\xff";
  answer.counts = {1, 2, 3, 4, 5, 6};
  OwnerAnswer read = OwnerAnswer::Decode(answer.Encode());
  ASSERT_OK(read.status);
  EXPECT_EQ(read.text, answer.text);
  EXPECT_EQ(read.counts.read_blocks, 1u);
  EXPECT_EQ(read.counts.node_bytes, 6u);

  answer.status = Fail(ErrorCode::kExists, "it is there", "another name");
  read = OwnerAnswer::Decode(answer.Encode());
  ASSERT_FALSE(read.status);
  EXPECT_EQ(read.status.error().code, ErrorCode::kExists);
  EXPECT_EQ(read.status.error().what, "it is there");
  EXPECT_EQ(read.status.error().next, "another name");
}

TEST(OwnerRequestTest, ADamagedAnswerIsAnError) {
  for (const char* text : {"", "{}", "7", R"({"error":{}})", R"({"counts":[1]})"}) {
    EXPECT_ERROR(kIo, OwnerAnswer::Decode(text).status) << text;
  }
}

}  // namespace
}  // namespace quoin

#include "snapshots/root_record.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

RootRecord OfASnapshot() {
  RootRecord record{
      Id::Random(), "lab/db02", Id::Random(), "monday", 7, 1 << 20, -5, 0440, 1, 2, {}};
  record.map.location = {Id::Random(), 9};
  record.map.height = 2;
  record.map.digest.bytes[3] = 0x77;
  record.map.data_blocks = 11;
  return record;
}

RootRecord OfABase() {
  RootRecord record = OfASnapshot();
  record.snapshot = Id();
  record.snapshot_name.clear();
  record.ordinal = 0;
  return record;
}

TEST(RootRecordTest, WhatWasEncodedIsDecoded) {
  RootRecord empty = OfASnapshot();
  empty.map = MapRoot();
  RootRecord first = OfABase();
  first.vdi_name.clear();
  for (const RootRecord& record : {OfASnapshot(), OfABase(), empty, first}) {
    ASSERT_OK_AND_ASSIGN(const RootRecord decoded, DecodeRootRecord(EncodeRootRecord(record)));
    EXPECT_TRUE(decoded == record);
  }
}

TEST(RootRecordTest, ARecordThatIsCutOrLongerIsNone) {
  const std::string bytes = EncodeRootRecord(OfASnapshot());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_ERROR(kCorrupt, DecodeRootRecord(bytes.substr(0, length))) << length;
  }
  EXPECT_ERROR(kCorrupt, DecodeRootRecord(bytes + "x"));
}

TEST(RootRecordTest, WhatNoWriterMakesIsRefused) {
  std::vector<RootRecord> impossible(11, OfASnapshot());
  impossible[0].vdi = Id();
  impossible[1].snapshot = Id();  // and yet a name
  impossible[2].snapshot_name.clear();
  impossible[3].ordinal = 0;
  impossible[4].size_bytes = 1;
  impossible[5].size_bytes = (uint64_t{256} << 40) + 512;
  impossible[6].map.location = {};
  impossible[7].map.digest = {};
  impossible[8].mode = 010000;
  impossible[9].ordinal = uint64_t{1} << 63;
  impossible[10] = OfABase();
  impossible[10].ordinal = 1;
  for (size_t n = 0; n < impossible.size(); ++n) {
    EXPECT_ERROR(kCorrupt, DecodeRootRecord(EncodeRootRecord(impossible[n]))) << n;
  }
}

}  // namespace
}  // namespace quoin

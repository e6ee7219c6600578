#include "metadata/writer_lock_record.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/metadata/sample_state.h"

namespace quoin {
namespace {

LockRecord SampleRecord() {
  LockRecord record;
  record.epoch = 7;
  record.host = SampleId(1);
  record.host_name = "node2.example-lab_1";
  record.boot = "9a1f0c3e-3a77-4c9c-9a06-5a5f4c7d2b10";
  record.session = SampleId(2);
  record.pid = 4711;
  record.since_s = 1'700'000'000;
  record.clean = false;
  return record;
}

TEST(WriterLockRecordTest, GivesBackEveryField) {
  for (const bool flag : {false, true}) {
    LockRecord record = SampleRecord();
    record.clean = flag;
    record.broken = !flag;
    record.taking_over = !flag;
    record.lease_ms = flag ? 0 : 10'000;
    if (flag) record.succeeds = SampleId(3);
    const std::string bytes = EncodeLockRecord(record);
    EXPECT_EQ(bytes.size(), 512u);
    const auto read = DecodeLockRecord(bytes);
    ASSERT_TRUE(read.has_value());
    EXPECT_TRUE(*read == record);
  }
}

TEST(WriterLockRecordTest, IsALineThatPeopleCanRead) {
  const std::string bytes = EncodeLockRecord(SampleRecord());
  EXPECT_EQ(bytes.find(R"({"epoch":7,"host":"11111111111111111111111111111111",)"
                       R"("host_name":"node2.example-lab_1",)"),
            0u);
  EXPECT_NE(bytes.find("\"pid\":4711,\"since\":1700000000,\"clean\":false,\"check\":\""),
            std::string::npos);
  EXPECT_EQ(bytes.substr(bytes.find('\n') + 1).find_first_not_of(' '), std::string::npos);
}

TEST(WriterLockRecordTest, TheLargestRecordFitsAndStrangeHostNamesAreMadeHarmless) {
  LockRecord record = SampleRecord();
  record.epoch = UINT64_MAX;
  record.pid = INT64_MIN;
  record.since_s = INT64_MIN;
  record.broken = record.taking_over = true;
  record.lease_ms = UINT32_MAX;
  record.succeeds = SampleId(3);
  record.host_name = std::string(1000, '"');
  record.boot = std::string(1000, '\x01');
  const auto read = DecodeLockRecord(EncodeLockRecord(record));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->host_name, std::string(64, '?'));
  EXPECT_EQ(read->epoch, UINT64_MAX);
  EXPECT_EQ(read->pid, INT64_MIN);
}

TEST(WriterLockRecordTest, EmptyContentIsALockThatNobodyHeld) {
  const auto read = DecodeLockRecord("");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->epoch, 0u);
  EXPECT_TRUE(read->clean);
}

TEST(WriterLockRecordTest, EveryFlippedBitAndEveryOtherLengthIsNoticed) {
  const std::string good = EncodeLockRecord(SampleRecord());
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(DecodeLockRecord(bytes).has_value()) << "bit " << bit;
  }
  for (size_t size = 1; size < good.size(); ++size) {
    EXPECT_FALSE(DecodeLockRecord(good.substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(DecodeLockRecord(good + " ").has_value());
}

}  // namespace
}  // namespace quoin

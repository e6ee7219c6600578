#include "metadata/storage_findings.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <string>

#include "metadata/superblock.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

StorageFindings Sample() {
  StorageFindings findings;
  findings.examined = "2026-11-22T10:00:00Z";
  findings.host_name = "node2";
  findings.filesystem = "fuse.glusterfs";
  findings.between_clients = true;
  findings.fencing = Fencing::kYes;
  findings.fencing_is_stated = true;
  findings.findings = {
      {"locks", ProbeVerdict::kBad, "two processes got the same lock", "2. one writer"},
      {"hole-queries", ProbeVerdict::kNote, "not exact", ""},
      {"rename", ProbeVerdict::kOk, "whole", ""}};
  return findings;
}

template <typename Storage>
class StorageFindingsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::default_logger();
    ASSERT_OK(InitialiseStore(file_system(), root_, "lz4"));
  }
  FileSystem& file_system() { return storage_.file_system; }
  Result<StorageFindings> Read() { return ReadStorageFindings(file_system(), layout_); }
  Status Keep(const StorageFindings& findings) {
    return KeepStorageFindings(file_system(), layout_, findings);
  }

  Storage storage_;
  const std::string root_ = storage_.root + "/store";
  const StoreLayout layout_{root_};
};

TYPED_TEST_SUITE(StorageFindingsTest, AllStorages);

TYPED_TEST(StorageFindingsTest, ComeBackAsTheyWereKept) {
  EXPECT_ERROR(kNotFound, this->Read());
  for (const Fencing fencing :
       {Fencing::kYes, Fencing::kNo, Fencing::kOneHost, Fencing::kUnknown}) {
    StorageFindings findings = Sample();
    findings.fencing = fencing;
    ASSERT_OK(this->Keep(findings));
    ASSERT_OK_AND_ASSIGN(const StorageFindings read, this->Read());
    EXPECT_TRUE(read == findings);
    EXPECT_EQ(StorageFences(this->file_system(), this->layout_), fencing == Fencing::kYes);
  }
  ASSERT_OK(this->Keep(StorageFindings()));
  ASSERT_OK_AND_ASSIGN(const StorageFindings read, this->Read());
  EXPECT_TRUE(read == StorageFindings());
  EXPECT_TRUE(this->file_system().List(this->layout_.Temporaries())->empty());
}

TYPED_TEST(StorageFindingsTest, AreCutToTheirLimits) {
  StorageFindings findings = Sample();
  findings.findings.resize(2 * kMaxStorageFindings,
                           {"probe", ProbeVerdict::kOk, std::string(100'000, 'x'),
                            std::string(100'000, '\xff')});
  ASSERT_OK(this->Keep(findings));
  ASSERT_OK_AND_ASSIGN(const StorageFindings read, this->Read());
  ASSERT_EQ(read.findings.size(), kMaxStorageFindings);
  EXPECT_EQ(read.findings[5].found, std::string(kMaxFindingTextBytes, 'x'));
  EXPECT_EQ(read.findings[5].guarantee.size(), 3 * kMaxFindingTextBytes);
}

TYPED_TEST(StorageFindingsTest, DamagedBytesAreNoticedAndLeaveFencingUnknown) {
  ASSERT_OK(this->Keep(Sample()));
  const std::string path = this->layout_.StorageFindings();
  const std::string whole = ReadBytes(this->file_system(), path);
  for (size_t at = 0; at < whole.size(); at += 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    WriteBytes(this->file_system(), path, damaged);
    ASSERT_ERROR(kCorrupt, this->Read()) << at;
    if (at % 50 < 7) {
      EXPECT_FALSE(StorageFences(this->file_system(), this->layout_));
    }
  }
  for (size_t length = 0; length < whole.size(); length += 11) {
    WriteBytes(this->file_system(), path, whole.substr(0, length));
    ASSERT_ERROR(kCorrupt, this->Read()) << length;
  }
  WriteBytes(this->file_system(), path, std::string(1 << 20, ' '));
  EXPECT_ERROR(kCorrupt, this->Read());
  ASSERT_OK(this->Keep(Sample()));
  EXPECT_TRUE(this->Read());
}

// The bytes of a file with this line of JSON, as they are written.
std::string Sealed(FileSystem& fs, const StoreLayout& layout, const std::string& from,
                   const std::string& to) {
  std::string text = ReadBytes(fs, layout.StorageFindings());
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text = text.substr(0, text.size() - 18).replace(at, from.size(), to);
  return text + StorageFindingsChecksum(text);
}

TYPED_TEST(StorageFindingsTest, WhatNobodyWritesIsRefusedThoughItsChecksumIsRight) {
  ASSERT_OK(this->Keep(Sample()));
  const std::string path = this->layout_.StorageFindings();
  const auto refused = [&](const char* from, const char* to) {
    ASSERT_OK(this->Keep(Sample()));
    WriteBytes(this->file_system(), path,
               Sealed(this->file_system(), this->layout_, from, to));
    EXPECT_ERROR(kCorrupt, this->Read()) << to;
  };
  refused(R"("fences":"yes")", R"("fences":"YES")");
  refused(R"("fences":"yes")", R"("fences":1)");
  refused(R"("verdict":"bad")", R"("verdict":"worse")");
  refused(R"("quoin":"storage")", R"("quoin":"store")");
  refused(R"("format":1)", R"("format":-1)");
  refused(R"("stated":true)", R"("stated":"true")");
  refused(R"("findings":[)", R"("findings":[7,)");
  refused(R"("examined":)", R"("other":)");
  ASSERT_OK(this->Keep(Sample()));
  WriteBytes(this->file_system(), path,
             Sealed(this->file_system(), this->layout_, R"("format":1)", R"("format":2)"));
  EXPECT_ERROR(kNewerFormat, this->Read());
  EXPECT_FALSE(StorageFences(this->file_system(), this->layout_));
}

// `cp -a` to other storage takes the file along.
TYPED_TEST(StorageFindingsTest, CountForNothingBesideAnotherCopyOfTheStore) {
  ASSERT_OK(this->Keep(Sample()));
  const std::string superblock = ReadBytes(this->file_system(), this->layout_.Superblock());
  ASSERT_OK(this->file_system().Remove(this->layout_.Superblock()));
  WriteBytes(this->file_system(), this->layout_.Superblock(), superblock);
  EXPECT_ERROR(kInvalid, this->Read());
  EXPECT_FALSE(StorageFences(this->file_system(), this->layout_));
  ASSERT_OK(this->Keep(Sample()));
  EXPECT_TRUE(StorageFences(this->file_system(), this->layout_));
}

TEST(StorageFindingsCrashTest, ACrashLeavesTheOldFindingsOrTheNewOnes) {
  StorageFindings newer = Sample();
  newer.fencing = Fencing::kNo;
  for (uint64_t step = 1;; ++step) {
    SCOPED_TRACE(step);
    SimulatedFileSystem fs;
    const StoreLayout layout("/store");
    ASSERT_OK(InitialiseStore(fs, "/store", "lz4"));
    ASSERT_OK(KeepStorageFindings(fs, layout, Sample()));
    fs.FailAfter(step, FaultMode::kCrash);
    const bool kept = KeepStorageFindings(fs, layout, newer).has_value();
    fs.Crash(CrashMode::kRandom, step);
    ASSERT_OK_AND_ASSIGN(const StorageFindings read, ReadStorageFindings(fs, layout));
    EXPECT_TRUE(read == newer || (!kept && read == Sample()));
    if (kept) return;
    ASSERT_LT(step, 100u);
  }
}

}  // namespace
}  // namespace quoin

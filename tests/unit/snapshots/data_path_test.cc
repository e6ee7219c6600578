// A disk's bytes over a simulated filesystem. Requests that meet in the middle of one another are
// made to meet: a call of the seam is where the other request is let in.
#include "snapshots/data_path.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "blockstore/base/block.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/simulated_file_system.h"

namespace quoin {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kDiskBytes = 64 * kMiB;

class DataPathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(fs_.MakeDirectory("/layers"));
    data_.Replace({MakeHead("1-1"), {}, kDiskBytes, 0});
  }

  std::shared_ptr<Layer> MakeHead(const std::string& name) {
    Result<std::unique_ptr<Layer>> made = Layer::Create(fs_, {"/layers", name}, kDiskBytes);
    EXPECT_OK(made);
    return made ? std::move(*made) : nullptr;
  }

  // What is there now goes below an empty head.
  void Snapshot(const std::string& new_head) {
    std::shared_ptr<Layer> head = MakeHead(new_head);
    RequestGate::Closure closure(data_.gate());
    data_.PushHead(std::move(head));
  }

  void Write(uint64_t offset, const std::string& bytes) {
    EXPECT_OK(data_.Write(offset, AsBytes(bytes)));
  }

  std::string Read(uint64_t offset, size_t length) {
    std::string bytes(length, '\xee');
    const auto done = data_.Read(offset, std::as_writable_bytes(std::span(bytes)));
    EXPECT_OK(done);
    bytes.resize(done.value_or(0));
    return bytes;
  }

  // Runs `other` in the middle of `request`: right before its first call of this kind.
  void Within(Call call, const std::function<void()>& request, const std::function<void()>& other) {
    bool done = false;
    fs_.SetObserver([&](Call seen, const std::string&) {
      if (seen != call || std::exchange(done, true)) return;
      other();
    });
    request();
    fs_.SetObserver(nullptr);
    EXPECT_TRUE(done) << "the request never made that call";
  }

  SimulatedFileSystem fs_;
  DataPath data_;
  std::thread writer_;
};

TEST_F(DataPathTest, AFirstWriteBesideOwnedBlocksLosesNoSectorThatAnotherRequestWritesMeanwhile) {
  const std::string other = PatternOf(2, kSectorBytes);
  for (const Call call : {Call::kRead, Call::kWrite}) {
    SCOPED_TRACE(call == Call::kRead ? "before it reads" : "before it writes");
    data_.Replace({MakeHead(call == Call::kRead ? "2-1" : "3-1"), {}, kDiskBytes, 0});
    Write(11 * kBlockBytes, PatternOf(1, kBlockBytes));
    // Block 10 is new and block 11 owned; the other request writes the last sector of block 11.
    const std::string mine = PatternOf(3, kBlockBytes + kSectorBytes);
    const auto request = [&] { Write(10 * kBlockBytes, mine); };
    const auto meanwhile = [&] { Write(12 * kBlockBytes - kSectorBytes, other); };
    if (call == Call::kWrite) {
      Within(call, request, meanwhile);
    } else {
      bool let_in = false;  // it may well need no read
      fs_.SetObserver([&](Call seen, const std::string&) {
        if (seen == Call::kRead && !std::exchange(let_in, true)) meanwhile();
      });
      request();
      fs_.SetObserver(nullptr);
      if (!let_in) meanwhile();
    }
    EXPECT_EQ(Read(10 * kBlockBytes, mine.size()), mine);
    EXPECT_EQ(Read(12 * kBlockBytes - kSectorBytes, kSectorBytes), other);
  }
}

TEST_F(DataPathTest, TheSameInFrontOfTheNewBlocks) {
  Write(9 * kBlockBytes, PatternOf(1, kBlockBytes));
  const std::string mine = PatternOf(3, kBlockBytes + kSectorBytes);
  const std::string other = PatternOf(2, kSectorBytes);
  Within(
      Call::kWrite, [&] { Write(10 * kBlockBytes - kSectorBytes, mine); },
      [&] { Write(9 * kBlockBytes, other); });
  EXPECT_EQ(Read(9 * kBlockBytes, kSectorBytes), other);
  EXPECT_EQ(Read(10 * kBlockBytes - kSectorBytes, mine.size()), mine);
}

TEST_F(DataPathTest, APartialFirstWriteIsCompletedFromBelow) {
  const std::string below = PatternOf(1, 3 * kBlockBytes);
  Write(8 * kBlockBytes, below);
  Snapshot("2-1");
  const std::string mine = PatternOf(2, kBlockBytes + 2 * kSectorBytes);
  Write(9 * kBlockBytes - kSectorBytes, mine);
  std::string expected = below;
  expected.replace(kBlockBytes - kSectorBytes, mine.size(), mine);
  EXPECT_EQ(Read(8 * kBlockBytes, expected.size()), expected);
  EXPECT_EQ(data_.head()->ownership().data_blocks(), 3u);
}

TEST_F(DataPathTest, ZerosOverAHoleStayAHoleAndOverDataBecomeData) {
  Write(4 * kBlockBytes, std::string(kBlockBytes, '\0'));
  EXPECT_EQ(data_.data_blocks(), 0u);
  Write(4 * kBlockBytes, PatternOf(1, kBlockBytes));
  Snapshot("2-1");
  Write(4 * kBlockBytes, std::string(kBlockBytes, '\0'));
  EXPECT_EQ(data_.data_blocks(), 1u);
  EXPECT_EQ(Read(4 * kBlockBytes, kBlockBytes), std::string(kBlockBytes, '\0'));
}

TEST_F(DataPathTest, ADiscardOverFrozenDataHidesItAndASecondSnapshotKeepsIt) {
  Write(0, PatternOf(1, 4 * kBlockBytes));
  Snapshot("2-1");
  EXPECT_OK(data_.Zero(kBlockBytes, 2 * kBlockBytes));
  Snapshot("3-1");
  EXPECT_EQ(data_.data_blocks(), 2u);
  EXPECT_EQ(Read(kBlockBytes, 2 * kBlockBytes), std::string(2 * kBlockBytes, '\0'));
  ASSERT_OK_AND_ASSIGN(const uint64_t hole, data_.SeekHole(0));
  EXPECT_EQ(hole, kBlockBytes);
  ASSERT_OK_AND_ASSIGN(const uint64_t data, data_.SeekData(hole));
  EXPECT_EQ(data, 3 * kBlockBytes);
}

// A discard up to the end of the disk takes its last block whole, though the end cuts it. A write that
// makes the disk longer meanwhile may put data into the rest of that block.
TEST_F(DataPathTest, ADiscardUpToTheEndSparesWhatIsWrittenBehindThatEndMeanwhile) {
  constexpr uint64_t kEnd = 10 * kBlockBytes + kBlockBytes / 2;
  const std::string behind = PatternOf(2, kBlockBytes / 2);
  for (const bool owned : {false, true}) {
    for (const bool snapshot : {false, true}) {
      SCOPED_TRACE((owned ? "owned" : "not owned") + std::string(snapshot ? ", data below" : ""));
      const std::string name = std::to_string(10 + 2 * owned + snapshot);
      data_.Replace({MakeHead(name + "-1"), {}, kEnd, 0});
      EXPECT_OK(data_.head()->Resize(kEnd));
      Write(9 * kBlockBytes, PatternOf(1, kBlockBytes));
      if (owned || snapshot) Write(10 * kBlockBytes, PatternOf(1, kBlockBytes / 2));
      if (snapshot) {
        std::shared_ptr<Layer> head = MakeHead(name + "-2");
        EXPECT_OK(head->Resize(kEnd));
        RequestGate::Closure closure(data_.gate());
        data_.PushHead(std::move(head));
      }
      if (owned) Write(9 * kBlockBytes, PatternOf(1, kBlockBytes + kBlockBytes / 2));
      bool met = false;
      fs_.SetObserver([&](Call, const std::string&) {
        if (std::exchange(met, true)) return;
        // Another thread, and not waited for: it may have to wait for the discard.
        writer_ = std::thread([&] {
          EXPECT_OK(data_.Grow(11 * kBlockBytes));
          Write(kEnd, behind);
        });
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      });
      constexpr uint64_t kBegin = 9 * kBlockBytes + kSectorBytes;
      EXPECT_OK(data_.Zero(kBegin, kEnd - kBegin));
      fs_.SetObserver(nullptr);
      if (writer_.joinable()) writer_.join();
      ASSERT_TRUE(met);
      EXPECT_TRUE(Read(kEnd, kBlockBytes / 2) == behind);
      EXPECT_TRUE(Read(kBegin, kEnd - kBegin) == std::string(kEnd - kBegin, '\0'));
    }
  }
}

// Data that is scattered over a large disk must not cost a map of blocks a region to discard.
TEST_F(DataPathTest, ADiscardOverScatteredDataOwnsWholeRegions) {
  constexpr uint64_t kRegions = kDiskBytes / kRegionBytes;
  for (uint64_t region = 0; region < kRegions; ++region) {
    Write(region * kRegionBytes + 7 * kBlockBytes, PatternOf(1, kBlockBytes));
    Write(region * kRegionBytes + 90 * kBlockBytes, PatternOf(1, 3 * kBlockBytes));
  }
  Snapshot("2-1");
  // From the middle of the first region to the middle of the last one.
  EXPECT_OK(data_.Zero(8 * kBlockBytes, kDiskBytes - kRegionBytes));
  const std::vector<RegionRecord> records = data_.head()->ownership().TakeDirty();
  ASSERT_EQ(records.size(), kRegions);
  for (size_t i = 1; i + 1 < kRegions; ++i) EXPECT_EQ(records[i].runs.size(), 3u) << i;
  EXPECT_EQ(data_.data_blocks(), 1 + 3u);
  EXPECT_EQ(Read(7 * kBlockBytes, kBlockBytes), PatternOf(1, kBlockBytes));
  EXPECT_EQ(Read(90 * kBlockBytes, 3 * kBlockBytes), std::string(3 * kBlockBytes, '\0'));
  ASSERT_OK_AND_ASSIGN(const uint64_t data, data_.SeekData(8 * kBlockBytes));
  EXPECT_EQ(data, kDiskBytes - kRegionBytes + 90 * kBlockBytes);
  Write(2 * kRegionBytes, PatternOf(3, kBlockBytes));
  EXPECT_EQ(data_.data_blocks(), 2 + 3u);
}

TEST_F(DataPathTest, ASnapshotNeedNotWaitForTheEndOfALongDiscard) {
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  data_.Replace({MakeHead("20-1"), {}, 4 * kGiB, 0});
  EXPECT_OK(data_.head()->Resize(4 * kGiB));
  for (uint64_t at = 0; at < 4; ++at) Write(at * kGiB, PatternOf(1, kBlockBytes));
  std::atomic<int> punched{0};
  int punched_before_snapshot = 0;
  fs_.SetObserver([&](Call call, const std::string&) {
    if (call != Call::kPunchHole || punched.fetch_add(1) > 0) return;
    writer_ = std::thread([&] {
      RequestGate::Closure closure(data_.gate());
      punched_before_snapshot = punched;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  EXPECT_OK(data_.Zero(0, 4 * kGiB));
  writer_.join();
  fs_.SetObserver(nullptr);
  EXPECT_EQ(punched, 4);
  EXPECT_EQ(punched_before_snapshot, 1);
}

TEST_F(DataPathTest, WhatIsOnlyReadRefusesWrites) {
  data_.Replace({nullptr, {}, kDiskBytes, 0});
  EXPECT_ERROR(kReadOnly, data_.Write(0, AsBytes("x")));
  EXPECT_ERROR(kReadOnly, data_.Zero(0, kBlockBytes));
  EXPECT_EQ(Read(0, 8), std::string(8, '\0'));
}

}  // namespace
}  // namespace quoin

// Threads that write, discard and read everywhere while snapshots come between them: at rest the
// bytes are right and the counts of blocks are what counting again gives.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "blockstore/base/block.h"
#include "snapshots/data_path.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"
#include "tests/support/simulated_file_system.h"

namespace quoin {
namespace {

constexpr uint64_t kBlocks = 3 * kRegionBlocks / 2;  // a whole region and part of one
constexpr uint64_t kDiskBytes = kBlocks * kBlockBytes;
constexpr int kThreads = 4;
constexpr int kRounds = 12;
constexpr int kRequestsPerRound = 400;
// Each thread has the sectors of its own residue: neighbours in every block, so that all threads meet
// in each, and yet each knows what it wrote.
constexpr uint64_t kSectorsPerBlock = kBlockBytes / kSectorBytes;

class DataPathStressTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(fs_.MakeDirectory("/layers"));
    data_.Replace({MakeHead(), {}, kDiskBytes, 0});
    for (auto& sectors : expected_) sectors.assign(kBlocks * kSectorsPerBlock / kThreads, 0);
  }

  std::shared_ptr<Layer> MakeHead() {
    const std::string name = std::to_string(++heads_) + "-1";
    Result<std::unique_ptr<Layer>> made = Layer::Create(fs_, {"/layers", name}, kDiskBytes);
    EXPECT_OK(made);
    return made ? std::move(*made) : nullptr;
  }

  static uint64_t SectorOf(int thread, uint64_t index) {
    return index * kThreads + static_cast<uint64_t>(thread);
  }

  // A sector holds one byte all over; 0 is a hole.
  void WriteOne(int thread, std::mt19937_64& random) {
    auto& mine = expected_[static_cast<size_t>(thread)];
    const uint64_t index = random() % mine.size();
    const auto value = static_cast<uint8_t>(random() % 8);
    const std::vector<std::byte> bytes(kSectorBytes, std::byte{value});
    const uint64_t offset = SectorOf(thread, index) * kSectorBytes;
    if (value == 0) {
      EXPECT_OK(data_.Zero(offset, kSectorBytes));
    } else {
      EXPECT_OK(data_.Write(offset, bytes));
    }
    mine[index] = value;
  }

  void ReadOne(int thread, std::mt19937_64& random) {
    const auto& mine = expected_[static_cast<size_t>(thread)];
    const uint64_t index = random() % mine.size();
    std::array<std::byte, kSectorBytes> bytes;
    EXPECT_OK(data_.Read(SectorOf(thread, index) * kSectorBytes, bytes));
    for (const std::byte byte : bytes) {
      if (byte == std::byte{mine[index]}) continue;
      ADD_FAILURE() << "thread " << thread << ", sector " << SectorOf(thread, index);
      return;
    }
  }

  void RunRound(uint64_t seed) {
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([this, thread, seed] {
        std::mt19937_64 random(seed * kThreads + static_cast<uint64_t>(thread));
        for (int n = 0; n < kRequestsPerRound; ++n) {
          WriteOne(thread, random);
          ReadOne(thread, random);
        }
      });
    }
    // Meanwhile a snapshot, at an instant of its own choosing.
    std::shared_ptr<Layer> head = MakeHead();
    {
      RequestGate::Closure closure(data_.gate());
      data_.PushHead(std::move(head));
      ExpectCountsExact();
    }
    for (std::thread& thread : threads) thread.join();
  }

  // What the disk says it holds, against what its blocks say one by one.
  void ExpectCountsExact() {
    uint64_t data = 0;
    uint64_t in_head = 0;
    uint64_t owned = 0;
    for (uint64_t block = 0; block < kBlocks; ++block) {
      const VisibleRun run = *ResolveOver(data_.head().get(), data_.below(), block, 1);
      data += run.state == BlockState::kData;
      const BlockState state = data_.head()->ownership().StateOf(block);
      in_head += state == BlockState::kData;
      owned += state != BlockState::kAbsent;
    }
    EXPECT_EQ(data_.VisibleDataBlocks(), data);
    EXPECT_EQ(data_.head()->ownership().data_blocks(), in_head);
    EXPECT_EQ(data_.head()->ownership().owned_blocks(), owned);
  }

  SimulatedFileSystem fs_;
  DataPath data_;
  int heads_ = 0;
  std::array<std::vector<uint8_t>, kThreads> expected_;
};

TEST_F(DataPathStressTest, SectorsOfOneBlockFromManyThreads) {
  const uint64_t seed = DrawSeed();
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    RunRound(seed + static_cast<uint64_t>(round));
    ExpectCountsExact();
    std::array<std::byte, kSectorBytes> bytes;
    for (int thread = 0; thread < kThreads; ++thread) {
      const auto& mine = expected_[static_cast<size_t>(thread)];
      for (uint64_t index = 0; index < mine.size(); ++index) {
        ASSERT_OK(data_.Read(SectorOf(thread, index) * kSectorBytes, bytes));
        ASSERT_EQ(bytes[0], std::byte{mine[index]}) << SectorOf(thread, index);
      }
    }
  }
}

// Whole blocks and discards of any length, which overlap: what is read is nobody's business, but the
// counts must not drift.
TEST_F(DataPathStressTest, OverlappingDiscardsAndWritesKeepTheCounts) {
  const uint64_t seed = DrawSeed();
  const std::string pattern = PatternOf(1, 64 * kBlockBytes);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::mt19937_64 random(seed + static_cast<uint64_t>(round * kThreads + thread));
        for (int n = 0; n < kRequestsPerRound / 4; ++n) {
          const uint64_t offset = random() % kDiskBytes / kSectorBytes * kSectorBytes;
          const uint64_t room = kDiskBytes - offset;
          if (random() % 3 == 0) {
            EXPECT_OK(data_.Zero(offset, std::min(room, (random() % kDiskBytes) + 1)));
          } else {
            const uint64_t length =
                std::min(room, random() % pattern.size() / kSectorBytes * kSectorBytes);
            EXPECT_OK(data_.Write(offset, AsBytes(pattern).first(length)));
          }
        }
      });
    }
    std::shared_ptr<Layer> head = round % 2 == 0 ? MakeHead() : nullptr;
    if (head != nullptr) {
      RequestGate::Closure closure(data_.gate());
      data_.PushHead(std::move(head));
      ExpectCountsExact();
    }
    for (std::thread& thread : threads) thread.join();
    ExpectCountsExact();
  }
}

}  // namespace
}  // namespace quoin

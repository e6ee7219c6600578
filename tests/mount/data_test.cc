// Reading, writing and mapping VDIs.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

using DataTest = MountTest;

TEST_F(DataTest, NewVdiTakesItsSizeFromTruncateAndHoldsNoData) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 20 * kGiB), 0);
  const struct stat facts = StatOf(tree_.vdi("a"));
  EXPECT_EQ(static_cast<uint64_t>(facts.st_size), 20 * kGiB);
  EXPECT_EQ(facts.st_blocks, 0);
  EXPECT_TRUE(S_ISREG(facts.st_mode));
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 19 * kGiB, 4 * kKiB), std::string(4 * kKiB, '\0'));
}

TEST_F(DataTest, QemuImgCreatesAVdi) {
  const Outcome made = RunProgram({"qemu-img", "create", "-f", "raw", tree_.vdi("a"), "20G"});
  ASSERT_EQ(made.exit_status, 0) << made.output;
  EXPECT_EQ(static_cast<uint64_t>(StatOf(tree_.vdi("a")).st_size), 20 * kGiB);
  EXPECT_LE(StatOf(tree_.vdi("a")).st_blocks, 8);  // qemu-img writes zeros to the first block
}

TEST_F(DataTest, FallocateMakesAVdiAsLargeWithoutTakingSpace) {
  const OpenFile file(tree_.vdi("a"), O_RDWR | O_CREAT);
  ASSERT_TRUE(file.is_open()) << file.error();
  ASSERT_EQ(ErrnoOf([&] { return fallocate(file.get(), 0, 0, 8 * kMiB); }), 0);
  EXPECT_EQ(static_cast<uint64_t>(StatOf(tree_.vdi("a")).st_size), 8 * kMiB);
  EXPECT_EQ(StatOf(tree_.vdi("a")).st_blocks, 0);
}

TEST_F(DataTest, WhatIsWrittenIsReadAndSurvivesARemount) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 16 * kMiB), 0);
  const std::string bytes = Pattern(1, 3 * kMiB + 700);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 5000, bytes), 0);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 5000, bytes.size()), bytes);
  ASSERT_TRUE(tree_.Remount());
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 5000, bytes.size()), bytes);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 5000), std::string(5000, '\0'));
}

TEST_F(DataTest, DirectWritesOfAnySectorLeaveTheirNeighboursAlone) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  std::string expected = Pattern(2, kMiB);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, expected), 0);
  const OpenFile file(tree_.vdi("a"), O_RDWR | O_DIRECT);
  ASSERT_TRUE(file.is_open()) << file.error();
  for (const auto& [offset, bytes] : std::vector<std::pair<size_t, size_t>>{
           {0, 512}, {512, 512}, {3584, 512}, {3584, 1024}, {4096, 4096}, {8704, 12800}, {65536, 512},
           {kMiB - 512, 512}}) {
    AlignedBuffer buffer(bytes);
    const std::string piece = Pattern(offset + 7, bytes);
    std::memcpy(buffer.data(), piece.data(), bytes);
    ASSERT_EQ(pwrite(file.get(), buffer.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes))
        << offset;
    expected.replace(offset, bytes, piece);
    AlignedBuffer back(bytes);
    ASSERT_EQ(pread(file.get(), back.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
    EXPECT_BYTES(back.text(), piece) << offset;
  }
  EXPECT_BYTES(ReadWhole(tree_.vdi("a")), expected);
}

TEST_F(DataTest, DirectIoThatIsNoMultipleOfASectorIsRefused) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  const OpenFile file(tree_.vdi("a"), O_RDWR | O_DIRECT);
  AlignedBuffer buffer(4096, 'x');
  EXPECT_EQ(ErrnoOf([&] { return pread(file.get(), buffer.data(), 100, 0); }), EINVAL);
  EXPECT_EQ(ErrnoOf([&] { return pread(file.get(), buffer.data(), 512, 100); }), EINVAL);
  EXPECT_EQ(ErrnoOf([&] { return pwrite(file.get(), buffer.data(), 1000, 0); }), EINVAL);
  EXPECT_EQ(ErrnoOf([&] { return pwrite(file.get(), buffer.data(), 512, 256); }), EINVAL);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 4096), std::string(4096, '\0'));
}

TEST_F(DataTest, DirectReadsOfMoreThanOneRequestAndPastTheEnd) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 5 * kMiB), 0);
  const std::string bytes = Pattern(3, 5 * kMiB);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, bytes), 0);
  const OpenFile file(tree_.vdi("a"), O_RDONLY | O_DIRECT);
  AlignedBuffer buffer(8 * kMiB);
  EXPECT_EQ(pread(file.get(), buffer.data(), buffer.size(), 0), static_cast<ssize_t>(5 * kMiB));
  EXPECT_BYTES(buffer.text().substr(0, 5 * kMiB), bytes);
  EXPECT_EQ(pread(file.get(), buffer.data(), 4096, static_cast<off_t>(5 * kMiB)), 0);
}

TEST_F(DataTest, AWriteBeyondTheEndGrowsTheVdiToAWholeSector) {
  OpenFile file(tree_.vdi("a"), O_RDWR | O_CREAT);
  ASSERT_EQ(WriteAt(file.get(), 0, "hi\n"), 0);
  EXPECT_EQ(StatOf(tree_.vdi("a")).st_size, 512);
  EXPECT_BYTES(ReadWhole(tree_.vdi("a")), std::string("hi\n") + std::string(509, '\0'));
  ASSERT_EQ(WriteAt(file.get(), 10 * kMiB, std::string(4096, 'x')), 0);
  EXPECT_EQ(static_cast<uint64_t>(StatOf(tree_.vdi("a")).st_size), 10 * kMiB + 4096);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 512, 4096), std::string(4096, '\0'));
}

TEST_F(DataTest, AppendWritesAtTheEnd) {
  OpenFile file(tree_.vdi("a"), O_WRONLY | O_CREAT | O_APPEND);
  ASSERT_EQ(write(file.get(), std::string(512, 'a').data(), 512), 512);
  ASSERT_EQ(write(file.get(), std::string(512, 'b').data(), 512), 512);
  EXPECT_BYTES(ReadWhole(tree_.vdi("a")), std::string(512, 'a') + std::string(512, 'b'));
}

TEST_F(DataTest, SharedMappingsAreWrittenBackAndSeenByReaders) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  {
    const OpenFile file(tree_.vdi("a"), O_RDWR);
    void* const mapped = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED) << errno;
    std::memcpy(static_cast<char*>(mapped) + 4000, "across a page", 13);
    EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 4000, 13), "across a page");
    ASSERT_EQ(msync(mapped, kMiB, MS_SYNC), 0);
    munmap(mapped, kMiB);
  }
  ASSERT_TRUE(tree_.Remount());
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 4000, 13), "across a page");
}

TEST_F(DataTest, AMappingSeesWhatAnotherProcessWrites) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  const OpenFile file(tree_.vdi("a"), O_RDONLY);
  auto* const mapped =
      static_cast<char*>(mmap(nullptr, kMiB, PROT_READ, MAP_SHARED, file.get(), 0));
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(mapped[8192], '\0');
  EXPECT_EQ(InAnotherProcess([&] { return WriteTo(tree_.vdi("a"), 8192, "seen"); }), 0);
  EXPECT_EQ(std::string(mapped + 8192, 4), "seen");
  munmap(mapped, kMiB);
}

TEST_F(DataTest, AFileOpenedDirectCanBeMapped) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  const OpenFile file(tree_.vdi("a"), O_RDWR | O_DIRECT);
  void* const mapped = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED) << errno;
  std::memcpy(mapped, "mapped", 6);
  ASSERT_EQ(msync(mapped, kMiB, MS_SYNC), 0);
  munmap(mapped, kMiB);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 6), "mapped");
}

// The kernel may send RELEASE before the thread that answered the open has done anything else.
TEST_F(DataTest, FilesThatAreClosedAsSoonAsTheyAreOpenDoNoHarm) {
  constexpr int kThreads = 4;
  constexpr int kTimes = 4000;
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      const std::string path = number % 2 == 0 ? tree_.vdi("a") : tree_.control("version");
      for (int i = 0; i < kTimes; ++i) {
        ASSERT_TRUE(OpenFile(path, O_RDONLY).is_open()) << errno;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// fio writes with checksums and reads all of it back, at depth, through each of the interfaces that a
// hypervisor uses.
// With mappings each of its hundred flushes takes a tenth of a second and more.
constexpr std::chrono::seconds kFioLimit{150};

class FioTest : public MountTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(FioTest, VerifiesItsOwnWritesAtDepth) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), 32 * kMiB), 0);
  const Outcome done = RunProgram(
      {"fio", "--name=verify", "--filename=" + tree_.vdi("a"), fmt::format("--ioengine={}", GetParam()),
       "--direct=1", "--rw=randwrite", GetParam() == std::string("mmap") ? "--bs=4k" : "--bsrange=512-64k",
       "--iodepth=16",
       "--size=32m", "--io_size=24m", "--verify=crc32c", "--verify_fatal=1", "--fsync=64",
       "--output-format=terse"},
      kFioLimit);
  EXPECT_EQ(done.exit_status, 0) << done.output;
}

INSTANTIATE_TEST_SUITE_P(Engines, FioTest,
                         ::testing::Values("io_uring", "libaio", "psync", "mmap"),
                         [](const auto& engine) { return std::string(engine.param); });

TEST_F(DataTest, ManyThreadsWriteSectorsOfTheSameBlocksWithoutLosingOne) {
  constexpr size_t kThreads = 8;
  constexpr size_t kBytes = 64 * kKiB;
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kBytes), 0);
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      const OpenFile file(tree_.vdi("a"), O_WRONLY | O_DIRECT);
      AlignedBuffer sector(512, static_cast<char>('a' + thread));
      for (size_t at = thread * 512; at < kBytes; at += kThreads * 512) {
        if (pwrite(file.get(), sector.data(), 512, static_cast<off_t>(at)) != 512) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  std::string expected;
  for (size_t at = 0; at < kBytes; at += 512) {
    expected += std::string(512, static_cast<char>('a' + at / 512 % kThreads));
  }
  EXPECT_BYTES(ReadWhole(tree_.vdi("a")), expected);
}

TEST_F(DataTest, BothEndsOfTheLargestVdiCanBeUsed) {
  constexpr uint64_t kMost = 256 * 1024 * kGiB;
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMost), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, "first"), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), kMost - 4, "last"), 0);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 5), "first");
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), kMost - 4, 100), "last");
  EXPECT_EQ(WriteTo(tree_.vdi("a"), kMost, "beyond"), EFBIG);
  EXPECT_EQ(StatOf(tree_.vdi("a")).st_blocks, 16);
}

}  // namespace
}  // namespace quoin

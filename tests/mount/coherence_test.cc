// Programs on one host see one content, whether they use the page cache or not.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

class CoherenceTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
    ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(64 * kKiB, 'o')), 0);
  }

  int WriteDirect(off_t offset, char fill) const {
    const OpenFile file(tree_.vdi("a"), O_WRONLY | O_DIRECT);
    AlignedBuffer block(4096, fill);
    return pwrite(file.get(), block.data(), 4096, offset) == 4096 ? 0 : 1;
  }

  std::string ReadDirect(off_t offset) const {
    const OpenFile file(tree_.vdi("a"), O_RDONLY | O_DIRECT);
    AlignedBuffer block(4096);
    if (pread(file.get(), block.data(), 4096, offset) != 4096) return "unreadable";
    return block.text();
  }
};

TEST_F(CoherenceTest, ACachedReaderSeesADirectWriteOfAnotherProcess) {
  const OpenFile cached(tree_.vdi("a"), O_RDONLY);
  ASSERT_BYTES(ReadAt(cached.get(), 4096, 4096), std::string(4096, 'o'));
  ASSERT_EQ(InAnotherProcess([this] { return WriteDirect(4096, 'n'); }), 0);
  EXPECT_BYTES(ReadAt(cached.get(), 4096, 4096), std::string(4096, 'n'));
  EXPECT_BYTES(ReadAt(cached.get(), 0, 4096), std::string(4096, 'o'));
}

TEST_F(CoherenceTest, AMappingSeesADirectWriteOfAnotherProcess) {
  const OpenFile cached(tree_.vdi("a"), O_RDONLY);
  auto* const mapped =
      static_cast<char*>(mmap(nullptr, kMiB, PROT_READ, MAP_SHARED, cached.get(), 0));
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(mapped[4096], 'o');
  ASSERT_EQ(InAnotherProcess([this] { return WriteDirect(4096, 'n'); }), 0);
  EXPECT_EQ(mapped[4096], 'n');
  munmap(mapped, kMiB);
}

TEST_F(CoherenceTest, ADirectReaderSeesACachedWriteOfAnotherProcess) {
  ASSERT_EQ(InAnotherProcess([this] {
              return WriteTo(tree_.vdi("a"), 4096, std::string(4096, 'n'));
            }),
            0);
  EXPECT_BYTES(ReadDirect(4096), std::string(4096, 'n'));
}

TEST_F(CoherenceTest, ADirectReaderSeesWhatAMappingHoldsUnwritten) {
  const OpenFile cached(tree_.vdi("a"), O_RDWR);
  auto* const mapped = static_cast<char*>(
      mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, cached.get(), 0));
  ASSERT_NE(mapped, MAP_FAILED);
  std::memset(mapped + 4096, 'm', 4096);
  EXPECT_BYTES(ReadDirect(4096), std::string(4096, 'm'));
  munmap(mapped, kMiB);
}

TEST_F(CoherenceTest, AFileClosedAndOpenedAgainShowsWhatWasWrittenDirectMeanwhile) {
  ASSERT_BYTES(ReadFrom(tree_.vdi("a"), 0, 4096), std::string(4096, 'o'));
  ASSERT_EQ(WriteDirect(0, 'n'), 0);
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 4096), std::string(4096, 'n'));
}

// A writer counts up with direct writes; a cached reader must never see a count that is older than
// the last one that the writer had finished before the read began.
TEST_F(CoherenceTest, ACachedReaderNeverFallsBehindAFinishedDirectWrite) {
  constexpr int kRounds = 2000;
  std::atomic<int> finished{0};
  std::atomic<int> stale{0};
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(4096, '\0')), 0);
  std::thread reader([&] {
    const OpenFile cached(tree_.vdi("a"), O_RDONLY);
    while (finished < kRounds) {
      const int before = finished;
      int seen = 0;
      if (pread(cached.get(), &seen, sizeof seen, 0) != sizeof seen || seen < before) ++stale;
    }
  });
  const OpenFile direct(tree_.vdi("a"), O_WRONLY | O_DIRECT);
  AlignedBuffer block(4096);
  for (int round = 1; round <= kRounds; ++round) {
    std::memcpy(block.data(), &round, sizeof round);
    if (pwrite(direct.get(), block.data(), 4096, 0) != 4096) break;
    finished = round;
  }
  const int reached = finished;
  finished = kRounds;
  reader.join();
  EXPECT_EQ(reached, kRounds);
  EXPECT_EQ(stale, 0);
}

TEST_F(CoherenceTest, ADirectWriteBesideADirtyMappingLosesNeither) {
  const OpenFile cached(tree_.vdi("a"), O_RDWR);
  auto* const mapped = static_cast<char*>(
      mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, cached.get(), 0));
  ASSERT_NE(mapped, MAP_FAILED);
  std::memset(mapped + 8192, 'm', 4096);
  ASSERT_EQ(WriteDirect(4096, 'd'), 0);
  ASSERT_EQ(msync(mapped, kMiB, MS_SYNC), 0);
  munmap(mapped, kMiB);
  EXPECT_BYTES(ReadDirect(4096), std::string(4096, 'd'));
  EXPECT_BYTES(ReadDirect(8192), std::string(4096, 'm'));
}

TEST_F(CoherenceTest, RollbackByTheCommandReplacesWhatTheKernelHasCached) {
  ASSERT_EQ(Touch(tree_.snapshot("a", "before")), 0);
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(4096, 'n')), 0);
  ASSERT_BYTES(ReadFrom(tree_.vdi("a"), 0, 4096), std::string(4096, 'n'));
  const Outcome rolled = tree_.Quoin({"rollback", "a@before"});
  ASSERT_EQ(rolled.exit_status, 0) << rolled.output;
  EXPECT_BYTES(ReadFrom(tree_.vdi("a"), 0, 4096), std::string(4096, 'o'));
}

TEST_F(CoherenceTest, ChangesByTheCommandShowAtOnceInTheTree) {
  ASSERT_EQ(StatOf(tree_.vdi("a")).st_size, static_cast<off_t>(kMiB));
  ASSERT_EQ(tree_.Quoin({"resize", "a", "2M"}).exit_status, 0);
  EXPECT_EQ(StatOf(tree_.vdi("a")).st_size, static_cast<off_t>(2 * kMiB));
  ASSERT_EQ(tree_.Quoin({"snap", "create", "a@one"}).exit_status, 0);
  EXPECT_BYTES(ReadFrom(tree_.snapshot("a", "one"), 0, 4), "oooo");
  ASSERT_EQ(tree_.Quoin({"snap", "rm", "a@one"}).exit_status, 0);
  EXPECT_EQ(NamesIn(tree_.snapshots("a")), std::vector<std::string>{});
  EXPECT_EQ(OpenFile(tree_.snapshot("a", "one"), O_RDONLY).error(), ENOENT);
  ASSERT_EQ(tree_.Quoin({"mv", "a", "b"}).exit_status, 0);
  EXPECT_EQ(OpenFile(tree_.vdi("a"), O_RDONLY).error(), ENOENT);
  EXPECT_BYTES(ReadFrom(tree_.vdi("b"), 0, 4), "oooo");
}

}  // namespace
}  // namespace quoin

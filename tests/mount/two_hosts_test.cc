// One store mounted by two hosts (two daemons with identities of their own): who may write, and that
// neither the daemon nor the kernel of one host shows what another has changed since.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

// The daemon looks every second for what others have left. A busy machine may take longer.
constexpr std::chrono::seconds kFollowLimit{20};
constexpr uint64_t kBytes = 4 * kMiB;

class TwoHostsTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_TRUE(other_.Join(tree_.store()));
    ASSERT_EQ(CreateWithSize(here(), kBytes), 0);
    ASSERT_EQ(WriteTo(here(), 0, old_), 0);
    // The owner lets go some time after close(2).
    ASSERT_TRUE(Becomes([&] { return ReadFrom(there(), 0, kBytes) == old_; }));
  }

  std::string here() const { return tree_.vdi("a"); }
  std::string there() const { return other_.vdi("a"); }

  static bool Becomes(const std::function<bool()>& is_so) {
    for (const auto end = Clock::now() + kFollowLimit; Clock::now() < end;) {
      if (is_so()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return is_so();
  }

  const std::string old_ = Pattern(1, kBytes);
  const std::string new_ = Pattern(2, kBytes);
  MountedStore other_;
};

TEST_F(TwoHostsTest, TheNextOwnerReadsWhatTheLastOneWroteHoweverMuchItsKernelHadCached) {
  const OpenFile reader(there(), O_RDONLY);
  for (int round = 1; round <= 4; ++round) {
    SCOPED_TRACE(round);
    const std::string bytes = Pattern(100 + round, kBytes);
    ReadAt(reader.get(), 0, kBytes);
    ASSERT_EQ(WriteTo(here(), 0, bytes), 0);
    const OpenFile owner(there(), O_RDWR);
    ASSERT_TRUE(owner.is_open()) << std::strerror(owner.error());
    EXPECT_BYTES(ReadAt(owner.get(), 0, kBytes), bytes);
    EXPECT_BYTES(ReadAt(reader.get(), 0, kBytes), bytes);
  }
}

TEST_F(TwoHostsTest, AMappingShowsWhatTheLastOwnerWroteOnceItsHostIsTheOwner) {
  const OpenFile reader(there(), O_RDONLY);
  const auto* const mapped = static_cast<const char*>(
      mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, reader.get(), 0));
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_BYTES(std::string(mapped, kBytes), old_);
  ASSERT_EQ(WriteTo(here(), 0, new_), 0);
  const OpenFile owner(there(), O_RDWR);
  ASSERT_TRUE(owner.is_open()) << std::strerror(owner.error());
  EXPECT_BYTES(std::string(mapped, kBytes), new_);
  munmap(const_cast<char*>(mapped), kBytes);
}

TEST_F(TwoHostsTest, WhoKeepsItOpenForReadingSeesWhatAnotherHostLeft) {
  const OpenFile cached(there(), O_RDONLY);
  const OpenFile direct(there(), O_RDONLY | O_DIRECT);
  const auto* const mapped = static_cast<const char*>(
      mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, cached.get(), 0));
  ASSERT_NE(mapped, MAP_FAILED);
  ASSERT_BYTES(ReadAt(cached.get(), 0, kBytes), old_);
  ASSERT_BYTES(std::string(mapped, kBytes), old_);

  ASSERT_EQ(WriteTo(here(), 0, new_), 0);
  ASSERT_EQ(Truncate(here(), 2 * kBytes), 0);
  EXPECT_TRUE(Becomes([&] { return ReadAt(cached.get(), 0, kBytes) == new_; }));
  EXPECT_BYTES(std::string(mapped, kBytes), new_);
  AlignedBuffer block(4096);
  ASSERT_EQ(pread(direct.get(), block.data(), 4096, 8192), 4096);
  EXPECT_BYTES(block.text(), new_.substr(8192, 4096));
  EXPECT_TRUE(Becomes([&] { return ReadAt(cached.get(), 0, 3 * kBytes).size() == 2 * kBytes; }));
  munmap(const_cast<char*>(mapped), kBytes);
}

// The command makes the daemon the owner for a moment; no open(2) tells the kernel of that.
TEST_F(TwoHostsTest, ACommandThatMakesItsHostTheOwnerDropsWhatTheKernelHadCached) {
  const OpenFile cached(there(), O_RDONLY);
  ASSERT_BYTES(ReadAt(cached.get(), 0, kBytes), old_);
  ASSERT_EQ(WriteTo(here(), 0, new_), 0);
  const Outcome taken = other_.Quoin({"snap", "create", "a@one"});
  ASSERT_EQ(taken.exit_status, 0) << taken.output;
  EXPECT_BYTES(ReadFrom(other_.snapshot("a", "one"), 0, kBytes), new_);
  EXPECT_TRUE(Becomes([&] { return ReadAt(cached.get(), 0, kBytes) == new_; }));
}

TEST_F(TwoHostsTest, AnOpenForWritingWaitsUntilTheOtherHostLetsGo) {
  OpenFile owner(here(), O_RDWR);
  ASSERT_TRUE(owner.is_open()) << std::strerror(owner.error());
  constexpr std::chrono::milliseconds kHeld{700};
  const auto begin = Clock::now();
  std::thread letting_go([&] {
    std::this_thread::sleep_for(kHeld);
    EXPECT_EQ(WriteAt(owner.get(), 0, new_), 0);
    EXPECT_EQ(owner.Close(), 0);
  });
  const OpenFile next(there(), O_RDWR);
  const auto waited = Clock::now() - begin;
  letting_go.join();
  ASSERT_TRUE(next.is_open()) << std::strerror(next.error());
  EXPECT_GE(waited, kHeld);
  EXPECT_BYTES(ReadAt(next.get(), 0, kBytes), new_);
}

TEST_F(TwoHostsTest, AnOpenForWritingIsRefusedWhileTheOtherHostGoesOnWriting) {
  const OpenFile owner(here(), O_RDWR);
  ASSERT_TRUE(owner.is_open());
  const auto begin = Clock::now();
  EXPECT_EQ(OpenFile(there(), O_RDWR).error(), EBUSY);
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(2900)) << "--ownership-wait is 3 s";
  EXPECT_EQ(WriteAt(owner.get(), 0, new_), 0);
  EXPECT_EQ(OpenFile(there(), O_RDONLY).error(), 0);
}

// libvirt does so at the end of a migration that waits.
TEST_F(TwoHostsTest, AskingForTheOwnerThatAVdiHasIsGrantedWhileTheOtherHostWrites) {
  ASSERT_EQ(chown(here().c_str(), 107, 107), 0);
  const OpenFile owner(here(), O_RDWR);
  ASSERT_TRUE(owner.is_open());
  const auto begin = Clock::now();
  EXPECT_EQ(ErrnoOf([&] { return chown(there().c_str(), 107, 107); }), 0);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(2)) << "it has waited for the other host";
  // What changes something, its owner is asked for.
  EXPECT_EQ(ErrnoOf([&] { return chown(there().c_str(), 108, 107); }), 0);
  struct stat facts = {};
  ASSERT_EQ(fstat(owner.get(), &facts), 0);
  EXPECT_EQ(facts.st_uid, 108u);
}

// Back and forth, with what a paused end of a migration keeps open on the host that let go.
TEST_F(TwoHostsTest, BytesGoBackAndForthBetweenHostsThatBothKeepItOpen) {
  const OpenFile reader_here(here(), O_RDONLY);
  const OpenFile reader_there(there(), O_RDONLY);
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    ReadAt(reader_here.get(), 0, kBytes);
    ReadAt(reader_there.get(), 0, kBytes);
    OpenFile owner(round % 2 == 0 ? there() : here(), O_RDWR);
    ASSERT_TRUE(owner.is_open()) << std::strerror(owner.error());
    if (round > 0) {
      EXPECT_BYTES(ReadAt(owner.get(), 0, kBytes), Pattern(200 + round - 1, kBytes));
    }
    ASSERT_EQ(WriteAt(owner.get(), 0, Pattern(200 + round, kBytes)), 0);
    ASSERT_EQ(owner.Close(), 0);
  }
}

}  // namespace
}  // namespace quoin

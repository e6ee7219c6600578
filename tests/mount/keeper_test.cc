// Guests outlive the daemon: it is killed and replaced again and again while disks are written and read,
// and no request fails, no byte is wrong, nothing takes long.
//
// QUOIN_KEEPER_KILLS and QUOIN_KEEPER_RELOADS in the environment choose how often (20 and 5).
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <vector>

#include "tests/mount/mounted_store.h"
#include "tests/support/seed.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kBlock = 4096;
constexpr uint64_t kBlocksEach = 4096;  // of one user, spread over its part of the disk
constexpr uint64_t kStride = 16;

int FromEnvironment(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// How long requests took, and when.
class Latencies {
 public:
  void Add(Clock::time_point begin) {
    const Clock::time_point end = Clock::now();
    if (end - begin < milliseconds(20)) return;
    const std::lock_guard lock(mutex_);
    slow_.emplace_back(begin, end);
  }
  // The longest that was under way within `span` of the moment.
  milliseconds LongestAt(Clock::time_point moment, milliseconds span) const {
    const std::lock_guard lock(mutex_);
    Clock::duration longest{0};
    for (const auto& [begin, end] : slow_) {
      if (end >= moment && begin <= moment + span) longest = std::max(longest, end - begin);
    }
    return std::chrono::duration_cast<milliseconds>(longest);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::pair<Clock::time_point, Clock::time_point>> slow_;
};

// One thread of a guest: has blocks of a disk to itself and knows what was answered. Reads what it wrote,
// flushed or not, and expects exactly that.
class DiskUser {
 public:
  DiskUser(std::string path, uint64_t number, uint64_t seed, Latencies& latencies)
      : path_(std::move(path)), number_(number), random_(seed), latencies_(latencies),
        versions_(kBlocksEach, 0) {}

  void Run(const std::atomic<bool>& stop) {
    const OpenFile file(path_, O_RDWR | (number_ % 2 == 0 ? O_DIRECT : 0));
    AlignedBuffer buffer(kBlock, 0);
    if (!file.is_open()) return Fail("open");
    while (!stop && problem_.empty()) {
      const uint64_t block = random_() % kBlocksEach;
      const uint64_t act = random_() % 100;
      const Clock::time_point begin = Clock::now();
      if (act < 55) {
        Write(file.get(), buffer.data(), block);
        latencies_.Add(begin);
      } else if (act < 95) {
        Read(file.get(), buffer.data(), block);
        latencies_.Add(begin);
      } else if (act < 98) {
        Discard(file.get(), block);
        latencies_.Add(begin);
      } else if (fdatasync(file.get()) != 0) {
        Fail("fdatasync");
      }
      ++requests_;
    }
  }

  // All of it, after the end.
  void Verify() {
    const OpenFile file(path_, O_RDONLY | O_DIRECT);
    AlignedBuffer buffer(kBlock, 0);
    for (uint64_t block = 0; block < kBlocksEach && problem_.empty(); ++block) {
      Read(file.get(), buffer.data(), block);
    }
  }

  const std::string& problem() const { return problem_; }
  uint64_t requests() const { return requests_; }

 private:
  off_t OffsetOf(uint64_t block) const {
    return static_cast<off_t>(((number_ * kBlocksEach + block) * kStride + block % kStride) * kBlock);
  }
  void Fill(char* bytes, uint64_t block) const {
    std::memset(bytes, 0, kBlock);
    if (versions_[block] == 0) return;
    for (size_t i = 0; i < kBlock; i += 24) {
      const uint64_t words[3] = {number_, block, versions_[block]};
      std::memcpy(bytes + i, words, std::min(sizeof words, kBlock - i));
    }
  }
  void Write(int file, char* bytes, uint64_t block) {
    versions_[block] = ++next_version_;
    Fill(bytes, block);
    if (pwrite(file, bytes, kBlock, OffsetOf(block)) != static_cast<ssize_t>(kBlock)) Fail("write");
  }
  void Discard(int file, uint64_t block) {
    if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, OffsetOf(block), kBlock) != 0) {
      return Fail("discard");
    }
    versions_[block] = 0;
  }
  void Read(int file, char* bytes, uint64_t block) {
    if (pread(file, bytes, kBlock, OffsetOf(block)) != static_cast<ssize_t>(kBlock)) {
      return Fail("read");
    }
    std::vector<char> expected(kBlock);
    Fill(expected.data(), block);
    if (std::memcmp(bytes, expected.data(), kBlock) == 0) return;
    uint64_t version = 0;
    std::memcpy(&version, bytes + 16, sizeof version);
    problem_ = path_ + ": block " + std::to_string(block) + " of user " + std::to_string(number_) +
               " has version " + std::to_string(version) + " and not " +
               std::to_string(versions_[block]);
  }
  void Fail(const std::string& act) {
    problem_ = path_ + ": " + act + " failed: " + std::strerror(errno);
  }

  const std::string path_;
  const uint64_t number_;
  std::mt19937_64 random_;
  Latencies& latencies_;
  std::vector<uint64_t> versions_;
  uint64_t next_version_ = 0;
  std::string problem_;
  uint64_t requests_ = 0;
};

class KeeperTest : public MountTest {
 protected:
  void SetUp() override {
    tree_.UseKeeper();
    MountTest::SetUp();
  }
  nlohmann::json Status() const {
    const Outcome outcome = tree_.Quoin({"status", tree_.mount(), "--json"});
    const auto list = nlohmann::json::parse(outcome.output, nullptr, false);
    return list.is_array() && !list.empty() ? list[0] : nlohmann::json::object();
  }
  ::testing::AssertionResult WaitForState(const std::string& state, milliseconds limit) const {
    const Clock::time_point deadline = Clock::now() + limit;
    std::string last;
    do {
      last = Status().value("state", "none");
      if (last == state) return ::testing::AssertionSuccess();
      usleep(20'000);
    } while (Clock::now() < deadline);
    return ::testing::AssertionFailure() << "its state is " << last << " and not " << state;
  }
  // Of the daemon that serves now. False if none did in time.
  bool KillDaemon() const {
    const Clock::time_point deadline = Clock::now() + std::chrono::seconds(20);
    pid_t daemon = tree_.present_daemon();
    while (daemon == 0 && Clock::now() < deadline) {
      usleep(5'000);
      daemon = tree_.present_daemon();
    }
    return daemon != 0 && kill(daemon, SIGKILL) == 0;
  }
};

std::string Percentiles(std::vector<milliseconds> pauses) {
  std::sort(pauses.begin(), pauses.end());
  const auto at = [&](double share) {
    const auto index = static_cast<size_t>(share * static_cast<double>(pauses.size() - 1) + 0.5);
    return std::to_string(pauses[index].count());
  };
  if (pauses.empty()) return "none";
  return std::to_string(pauses.size()) + " pauses, ms: p50 " + at(0.5) + ", p90 " + at(0.9) +
         ", p99 " + at(0.99) + ", longest " + at(1);
}

TEST_F(KeeperTest, DeathsAndReloadsOfTheDaemonAreNotNoticedByThoseWhoUseDisks) {
  const int kills = FromEnvironment("QUOIN_KEEPER_KILLS", 20);
  const int reloads = FromEnvironment("QUOIN_KEEPER_RELOADS", 5);
  std::mt19937_64 random(DrawSeed());
  constexpr int kDisks = 3;
  constexpr uint64_t kUsersEach = 4;
  Latencies latencies;
  std::vector<std::unique_ptr<DiskUser>> users;
  for (int disk = 0; disk < kDisks; ++disk) {
    const std::string path = tree_.vdi("disk" + std::to_string(disk));
    ASSERT_EQ(CreateWithSize(path, kUsersEach * kBlocksEach * kStride * kBlock), 0);
    for (uint64_t number = 0; number < kUsersEach; ++number) {
      users.push_back(std::make_unique<DiskUser>(path, number, random(), latencies));
    }
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (const auto& user : users) threads.emplace_back([&stop, raw = user.get()] { raw->Run(stop); });
  std::atomic<int> snapshots{0};
  std::atomic<int> failed_snapshots{0};
  threads.emplace_back([&] {
    for (int n = 0; !stop; ++n) {
      const bool taken = Touch(tree_.snapshot("disk0", "s" + std::to_string(n))) == 0;
      ++(taken ? snapshots : failed_snapshots);
      usleep(300'000);
    }
  });
  std::vector<char> acts(static_cast<size_t>(kills), 'k');
  acts.insert(acts.end(), static_cast<size_t>(reloads), 'r');
  std::shuffle(acts.begin(), acts.end(), random);
  std::vector<std::pair<char, Clock::time_point>> moments;
  int failed_acts = 0;
  for (const char act : acts) {
    usleep(static_cast<useconds_t>(600'000 + random() % 800'000));
    moments.emplace_back(act, Clock::now());
    const bool done = act == 'k' ? KillDaemon()
                                 : tree_.Quoin({"reload", tree_.mount()}).exit_status == 0;
    if (!done) ++failed_acts;
  }
  usleep(500'000);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  uint64_t requests = 0;
  for (const auto& user : users) {
    EXPECT_EQ(user->problem(), "");
    requests += user->requests();
    user->Verify();
    EXPECT_EQ(user->problem(), "") << "afterwards";
  }
  EXPECT_EQ(failed_acts, 0);
  EXPECT_EQ(failed_snapshots, 0);
  std::vector<milliseconds> after_kills, after_reloads;
  for (const auto& [act, moment] : moments) {
    (act == 'k' ? after_kills : after_reloads)
        .push_back(latencies.LongestAt(moment, milliseconds(600)));
  }
  std::cout << requests << " requests, " << snapshots << " snapshots\nkills: "
            << Percentiles(after_kills) << "\nreloads: " << Percentiles(after_reloads) << '\n';
  EXPECT_EQ(Status().value("restarts", -1), kills);
  ASSERT_TRUE(tree_.Remount());
  for (const auto& user : users) {
    user->Verify();
    EXPECT_EQ(user->problem(), "") << "after a remount";
  }
  ASSERT_TRUE(tree_.Unmount());
  const Outcome check = tree_.Quoin({"check"});
  EXPECT_EQ(check.exit_status, 0) << check.output;
}

TEST_F(KeeperTest, WhatFioWritesAtDepth16IsRightThoughTheDaemonIsKilledMeanwhile) {
  const int kills = std::max(3, FromEnvironment("QUOIN_KEEPER_KILLS", 20) / 4);
  std::mt19937_64 random(DrawSeed());
  std::vector<std::thread> threads;
  std::vector<Outcome> outcomes(2);
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const std::string path = tree_.vdi("fio" + std::to_string(i));
    ASSERT_EQ(CreateWithSize(path, 256 * kMiB), 0);
    threads.emplace_back([&outcome = outcomes[i], path, kills] {
      outcome = RunProgram(
          {"fio", "--name=load", "--filename=" + path, "--rw=randwrite", "--bs=4k", "--size=256m",
           "--direct=1", "--ioengine=libaio", "--iodepth=16", "--verify=crc32c",
           "--verify_backlog=1024", "--verify_fatal=1", "--allow_file_create=0",
           "--verify_state_save=0", "--thread", "--time_based=1",
           "--runtime=" + std::to_string(kills + 2)},
          std::chrono::seconds(kills + 60));
    });
  }
  usleep(500'000);
  for (int n = 0; n < kills; ++n) {
    usleep(static_cast<useconds_t>(600'000 + random() % 500'000));
    EXPECT_TRUE(KillDaemon());
  }
  for (std::thread& thread : threads) thread.join();
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
}

TEST_F(KeeperTest, NamesSnapshotsAndFoldersThatAreOpenStayWhatTheyAre) {
  ASSERT_EQ(mkdir((tree_.mount() + "/vdis/lab").c_str(), 0755), 0);
  const std::string path = tree_.vdi("lab/web01");
  ASSERT_EQ(CreateWithSize(path, kMiB), 0);
  const OpenFile writer(path, O_RDWR);
  ASSERT_EQ(pwrite(writer.get(), "monday", 6, 0), 6);
  ASSERT_EQ(Touch(tree_.snapshot("lab/web01", "monday")), 0);
  ASSERT_EQ(pwrite(writer.get(), "tuesday", 7, 0), 7);
  const OpenFile snapshot(tree_.snapshot("lab/web01", "monday"), O_RDONLY | O_DIRECT);
  const OpenFile folder(tree_.mount() + "/vdis/lab", O_RDONLY | O_DIRECTORY);
  const ino_t number = StatOf(path).st_ino;
  ASSERT_TRUE(KillDaemon());
  ASSERT_EQ(StatOf(path).st_ino, number) << "waits for the next daemon";
  AlignedBuffer block(kBlock, 0);
  ASSERT_EQ(pread(snapshot.get(), block.data(), kBlock, 0), static_cast<ssize_t>(kBlock));
  EXPECT_EQ(std::string(block.data(), 6), "monday");
  EXPECT_EQ(openat(folder.get(), "nothing", O_RDONLY), -1);
  EXPECT_EQ(errno, ENOENT);
  const int again = openat(folder.get(), "web01", O_RDONLY);
  EXPECT_GE(again, 0);
  close(again);
  char text[8] = {};
  ASSERT_EQ(pread(writer.get(), text, 7, 0), 7);
  EXPECT_EQ(std::string(text), "tuesday");
  ASSERT_EQ(pwrite(writer.get(), "friday!", 7, 0), 7);
  ASSERT_EQ(fdatasync(writer.get()), 0);
  EXPECT_EQ(NamesIn(tree_.snapshots("lab/web01")).size(), 2u);
  // One that is gone by the time of the next daemon is an error, and not somebody else's bytes.
  ASSERT_EQ(unlink(tree_.snapshot("lab/web01", "monday").c_str()), 0);
  ASSERT_TRUE(KillDaemon());
  EXPECT_EQ(pread(snapshot.get(), block.data(), kBlock, 0), -1);
  EXPECT_EQ(errno, ESTALE);
}

TEST_F(KeeperTest, AFileGrowsByWritesThatNoFlushRecorded) {
  const std::string path = tree_.vdi("grown");
  ASSERT_EQ(CreateWithSize(path, 0), 0);
  const OpenFile file(path, O_RDWR);
  const std::string bytes(300 * kKiB, 'x');
  ASSERT_EQ(pwrite(file.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  ASSERT_TRUE(KillDaemon());
  EXPECT_EQ(StatOf(path).st_size, static_cast<off_t>(bytes.size()));
  EXPECT_EQ(ReadFrom(path, 0, bytes.size()), bytes);
}

TEST_F(KeeperTest, ADaemonThatCannotStartIsTriedForAWhileAndThenWaitsForAReload) {
  const std::string path = tree_.vdi("web01");
  ASSERT_EQ(CreateWithSize(path, kMiB), 0);
  // Closed again: a child of this process would wait for the next daemon when it closes its copy.
  {
    const OpenFile file(path, O_RDWR);
    ASSERT_EQ(pwrite(file.get(), "before", 6, 0), 6);
  }
  for (int i = 0; i < 200 && Status().value("vdis_open", -1) != 0; ++i) usleep(20'000);
  const std::string away = tree_.store() + ".away";
  std::filesystem::rename(tree_.store(), away);
  ASSERT_TRUE(KillDaemon());
  ASSERT_TRUE(WaitForState("waiting", std::chrono::seconds(30)));
  const nlohmann::json status = Status();
  EXPECT_EQ(status["keeper_pid"], tree_.keeper());
  EXPECT_TRUE(status["daemon_pid"].is_null());
  std::filesystem::rename(away, tree_.store());
  const Outcome reloaded = tree_.Quoin({"reload", tree_.mount()});
  ASSERT_EQ(reloaded.exit_status, 0) << reloaded.output;
  EXPECT_EQ(ReadFrom(path, 0, 6), "before");
  EXPECT_TRUE(WaitForState("mounted", std::chrono::seconds(5)));
}

TEST_F(KeeperTest, ATreeWithoutADaemonCanBeUnmounted) {
  std::filesystem::rename(tree_.store(), tree_.store() + ".away");
  ASSERT_TRUE(KillDaemon());
  ASSERT_TRUE(WaitForState("waiting", std::chrono::seconds(30)));
  EXPECT_TRUE(tree_.Unmount());
}

// A keeper of its own binary, which the test replaces.
class ReplacedBinaryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy_file(QuoinBinary(), binary());
    setenv("QUOIN_BINARY", binary().c_str(), 1);
    tree_.UseKeeper();
    ASSERT_TRUE(tree_.Start());
  }
  void TearDown() override {
    if (before_ != nullptr) {
      setenv("QUOIN_BINARY", before_, 1);
    } else {
      unsetenv("QUOIN_BINARY");
    }
  }
  // As a package's upgrade does it: another file under the same name.
  void Replace(const std::string& with) const {
    const std::string temporary = binary() + ".new";
    std::filesystem::copy_file(with, temporary);
    std::filesystem::permissions(temporary, std::filesystem::perms::owner_all);
    std::filesystem::rename(temporary, binary());
  }
  std::string binary() const { return tree_.folder() + "/quoin"; }

  const char* const before_ = std::getenv("QUOIN_BINARY");
  const std::string original_ = QuoinBinary();
  MountedStore tree_;
};

TEST_F(ReplacedBinaryTest, ReloadGoesOnWithTheBinaryThatIsThereNow) {
  const std::string path = tree_.vdi("web01");
  ASSERT_EQ(CreateWithSize(path, kMiB), 0);
  const OpenFile file(path, O_RDWR);
  ASSERT_EQ(pwrite(file.get(), "before", 6, 0), 6);
  Replace(original_);
  const Outcome reloaded = tree_.Quoin({"reload", tree_.mount(), "--json"});
  ASSERT_EQ(reloaded.exit_status, 0) << reloaded.output;
  const auto facts = nlohmann::json::parse(reloaded.output, nullptr, false);
  EXPECT_EQ(facts["version_before"], facts["version"]);
  EXPECT_EQ(facts["keeper_pid"], tree_.keeper());
  char text[7] = {};
  ASSERT_EQ(pread(file.get(), text, 6, 0), 6);
  EXPECT_EQ(std::string(text), "before");
  EXPECT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(tree_.keeper()) + "/exe"),
            binary())
      << "the keeper goes on as the new binary too";
  ASSERT_EQ(kill(tree_.present_daemon(), SIGKILL), 0);
  ASSERT_EQ(pread(file.get(), text, 6, 0), 6) << "and still keeps";
}

TEST_F(ReplacedBinaryTest, ABinaryThatDoesNotStartLeavesTheOldOneInPlace) {
  const std::string path = tree_.vdi("web01");
  ASSERT_EQ(CreateWithSize(path, kMiB), 0);
  const OpenFile file(path, O_RDWR);
  const pid_t daemon = tree_.present_daemon();
  const std::string kept = tree_.folder() + "/kept";
  std::filesystem::copy_file(binary(), kept);
  Replace("/bin/false");
  setenv("QUOIN_BINARY", kept.c_str(), 1);
  const Outcome reloaded = tree_.Quoin({"reload", tree_.mount()});
  EXPECT_EQ(reloaded.exit_status, 1);
  EXPECT_NE(reloaded.output.find("cannot reload"), std::string::npos) << reloaded.output;
  EXPECT_EQ(tree_.present_daemon(), daemon) << "it was not disturbed";
  ASSERT_EQ(pwrite(file.get(), "after", 5, 0), 5);
  ASSERT_EQ(kill(daemon, SIGKILL), 0);
  char text[6] = {};
  ASSERT_EQ(pread(file.get(), text, 5, 0), 5) << "the old binary is started again";
  EXPECT_EQ(std::string(text), "after");
}

TEST_F(KeeperTest, WithoutItsKeeperTheDaemonGoesOnAndSaysSo) {
  const std::string path = tree_.vdi("web01");
  ASSERT_EQ(CreateWithSize(path, kMiB), 0);
  ASSERT_EQ(kill(tree_.keeper(), SIGKILL), 0);
  const OpenFile file(path, O_RDWR);
  ASSERT_EQ(pwrite(file.get(), "alone", 5, 0), 5);
  usleep(200'000);
  const nlohmann::json status = Status();
  EXPECT_EQ(status["state"], "mounted");
  EXPECT_TRUE(status["keeper_pid"].is_null());
  EXPECT_EQ(status["survives_kill"], false);
  const Outcome reloaded = tree_.Quoin({"reload", tree_.mount()});
  EXPECT_EQ(reloaded.exit_status, 1);
  EXPECT_NE(reloaded.output.find("no keeper"), std::string::npos) << reloaded.output;
}

}  // namespace
}  // namespace quoin

// The daemon dies by SIGKILL, twenty times, while fio and a writer that remembers are at work and
// snapshots are taken. After each death the tree is mounted again: every block that the writer flushed
// is there (or a later version of it), snapshots are whole or absent, the store is sound.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "tests/mount/mounted_store.h"
#include "tests/support/seed.h"

extern char** environ;

namespace quoin {
namespace {

constexpr int kDeaths = 20;
constexpr uint64_t kBlocks = 512;
constexpr size_t kBlock = 4096;

// Writes whole blocks, each filled with its number and version, and flushes now and then. Knows the
// versions that a flush has promised, and the newest that it tried to write.
class RememberingWriter {
 public:
  explicit RememberingWriter(uint64_t seed)
      : random_(seed), promised_(kBlocks, 0), tried_(kBlocks, 0) {}

  // Until an I/O error: the daemon's death.
  void Run(const std::string& path) {
    const OpenFile file(path, O_RDWR | O_DIRECT);
    AlignedBuffer block(kBlock, 0);
    if (!file.is_open()) return;
    std::vector<uint64_t> written = promised_;
    for (uint64_t n = 1;; ++n) {
      const uint64_t at = random_() % kBlocks;
      ++tried_[at];
      Fill(block.data(), at, tried_[at]);
      if (pwrite(file.get(), block.data(), kBlock, static_cast<off_t>(at * kBlock)) !=
          static_cast<ssize_t>(kBlock)) {
        return;
      }
      written[at] = tried_[at];
      if (n % 16 != 0) continue;
      if (fdatasync(file.get()) != 0) return;
      promised_ = written;
      ++flushes_;
    }
  }

  // The versions on the disk must lie between those promised and those tried; they are the start of
  // the next run.
  void Verify(const std::string& path) {
    const std::string content = ReadFrom(path, 0, kBlocks * kBlock);
    ASSERT_EQ(content.size(), kBlocks * kBlock);
    for (uint64_t at = 0; at < kBlocks; ++at) {
      const char* block = content.data() + at * kBlock;
      uint64_t version = 0;
      std::memcpy(&version, block + 8, sizeof version);
      std::vector<char> expected(kBlock, 0);
      if (version != 0) Fill(expected.data(), at, version);
      ASSERT_EQ(std::memcmp(block, expected.data(), kBlock), 0) << "block " << at << " is torn";
      ASSERT_GE(version, promised_[at]) << "block " << at << " lost what was flushed";
      ASSERT_LE(version, tried_[at]) << "block " << at << " was never written so";
      promised_[at] = tried_[at] = version;
    }
  }

  uint64_t flushes() const { return flushes_; }

 private:
  static void Fill(char* block, uint64_t number, uint64_t version) {
    for (size_t i = 0; i < kBlock; i += 16) {
      std::memcpy(block + i, &number, 8);
      std::memcpy(block + i + 8, &version, 8);
    }
  }

  std::mt19937_64 random_;
  std::vector<uint64_t> promised_;
  std::vector<uint64_t> tried_;
  uint64_t flushes_ = 0;
};

// fio at depth 16 with checksums in every block. Without `seconds` it writes everything once, reads it
// back and compares.
std::vector<std::string> Fio(const std::string& file, int seconds = 0) {
  std::vector<std::string> words = {
      "fio",        "--name=load", "--filename=" + file, "--rw=randwrite", "--bs=4k",
      "--size=16m", "--direct=1",  "--ioengine=libaio",  "--iodepth=16",   "--verify=crc32c",
      "--allow_file_create=0", "--verify_state_save=0", "--thread"};  // one process: it is killed
  if (seconds > 0) {
    words.insert(words.end(), {"--time_based=1", "--runtime=" + std::to_string(seconds),
                               "--fdatasync=32"});
  }
  return words;
}

pid_t StartInBackground(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_WRONLY, 0);
  }
  pid_t child = -1;
  const int error =
      posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? child : -1;
}

TEST(KillTest, TwentyDeathsLoseNothingThatWasFlushed) {
  std::mt19937_64 random(DrawSeed());
  MountedStore tree;
  ASSERT_TRUE(tree.Start());
  ASSERT_EQ(CreateWithSize(tree.vdi("remembered"), kBlocks * kBlock), 0);
  ASSERT_EQ(CreateWithSize(tree.vdi("loaded"), 64 * kMiB), 0);
  RememberingWriter writer(random());
  for (int death = 1; death <= kDeaths; ++death) {
    SCOPED_TRACE("death " + std::to_string(death));
    const pid_t fio = StartInBackground(Fio(tree.vdi("loaded"), 30));
    ASSERT_GT(fio, 0) << "fio cannot be started";
    std::atomic<bool> stop{false};
    std::thread writes([&] { writer.Run(tree.vdi("remembered")); });
    std::thread snapshots([&] {
      for (int n = 0; !stop && n < 20; ++n) {
        (void)Touch(tree.snapshot("remembered", "d" + std::to_string(death) + "-" +
                                                    std::to_string(n)));
      }
    });
    usleep(static_cast<useconds_t>(200'000 + random() % 500'000));
    const ::testing::AssertionResult crashed = tree.Crash();
    stop = true;
    writes.join();
    snapshots.join();
    kill(fio, SIGKILL);
    waitpid(fio, nullptr, 0);
    ASSERT_TRUE(crashed);
    // A fio that started late has made folders where the tree was.
    for (const auto& left : std::filesystem::directory_iterator(tree.mount())) {
      std::filesystem::remove_all(left.path());
    }
    ASSERT_TRUE(tree.Mount());
    writer.Verify(tree.vdi("remembered"));
    ASSERT_FALSE(::testing::Test::HasFatalFailure());
    const Outcome check = tree.Quoin({"check"});
    ASSERT_EQ(check.exit_status, 0) << check.output;
  }
  EXPECT_GT(writer.flushes(), static_cast<uint64_t>(kDeaths)) << "hardly anything was flushed";
  // A snapshot that is listed is whole.
  uint64_t taken = 0;
  for (const std::string& name : NamesIn(tree.snapshots("remembered"))) {
    EXPECT_EQ(ReadFrom(tree.snapshot("remembered", name), 0, kBlocks * kBlock).size(),
              kBlocks * kBlock);
    ++taken;
  }
  EXPECT_GT(taken, 0u);
  // The disk still works as one: fio writes all of it once, reads it back and compares.
  const Outcome verified = RunProgram(Fio(tree.vdi("loaded")));
  EXPECT_EQ(verified.exit_status, 0) << verified.output;
  ASSERT_TRUE(tree.Unmount());
  const Outcome check = tree.Quoin({"check"});
  EXPECT_EQ(check.exit_status, 0) << check.output;
}

}  // namespace
}  // namespace quoin

// The same random calls on the real filesystem and on the simulated one must give the same answers.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "blockstore/base/posix_file_system.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"
#include "tests/support/simulated_file_system.h"
#include "tests/support/temporary_directory.h"

namespace quoin {
namespace {

constexpr int kOperations = 20'000;
constexpr size_t kHandles = 6;
constexpr uint64_t kMaxBytes = 100'000;

template <typename R>
std::string WordOf(const R& result) {
  return result ? "done" : std::string(ToWord(result.error().code));
}

// One filesystem under random calls; every call's outcome becomes a line.
class Walker {
 public:
  Walker(FileSystem& file_system, std::string root, uint64_t seed)
      : fs_(file_system), root_(std::move(root)), random_(seed), handles_(kHandles) {}

  std::string Step() {
    switch (random_() % 16) {
      case 0:
      case 1:
        return Open();
      case 2:
        return "link " + WordOf(TwoPaths([this](auto& a, auto& b) { return fs_.Link(a, b); }));
      case 3:
        return "rename " + WordOf(TwoPaths([this](auto& a, auto& b) { return fs_.Rename(a, b); }));
      case 4:
        return "remove " + WordOf(fs_.Remove(AnyPath()));
      case 5:
        return "mkdir " + WordOf(fs_.MakeDirectory(AnyPath(), 0700));
      case 6:
        return "rmdir " + WordOf(fs_.RemoveDirectory(AnyPath()));
      case 7:
        return List();
      case 8:
        return Facts();
      default:
        return UseHandle();
    }
  }

 private:
  std::string AnyPath() {
    constexpr const char* kNames[] = {"a", "b", "c", "d"};
    std::string path = root_;
    for (uint64_t depth = 1 + random_() % 3; depth > 0; --depth) {
      path += std::string("/") + kNames[random_() % 4];
    }
    return path;
  }

  template <typename Act>
  Status TwoPaths(Act act) {
    const std::string from = AnyPath();
    const std::string to = AnyPath();
    return act(from, to);
  }

  std::string Open() {
    const std::string path = AnyPath();
    const auto creation = static_cast<Creation>(random_() % 3);
    std::unique_ptr<File>& slot = handles_[random_() % kHandles];
    auto file = fs_.Open(path, {Access::kReadWrite, creation, 0600});
    const std::string outcome = "open " + WordOf(file);
    slot = file ? std::move(*file) : nullptr;
    return outcome;
  }

  std::string List() {
    const auto entries = fs_.List(AnyPath());
    if (!entries) return "list " + WordOf(entries);
    std::vector<std::string> lines;
    for (const DirectoryEntry& entry : *entries) {
      lines.push_back(entry.name + (entry.kind == EntryKind::kDirectory ? "/ " : " "));
    }
    std::sort(lines.begin(), lines.end());
    std::string outcome = "list ";
    for (const std::string& line : lines) outcome += line;
    return outcome;
  }

  std::string Facts() {
    const auto facts = fs_.Facts(AnyPath());
    if (!facts) return "facts " + WordOf(facts);
    if (facts->kind == EntryKind::kDirectory) return "facts folder";
    return "facts " + std::to_string(facts->size_bytes) + " " + std::to_string(facts->link_count);
  }

  std::string UseHandle() {
    const std::unique_ptr<File>& file = handles_[random_() % kHandles];
    const uint64_t offset = random_() % kMaxBytes;
    const uint64_t length = 1 + random_() % 10'000;
    const uint64_t choice = random_() % 10;
    if (!file) return "no handle";
    switch (choice) {
      case 0:
      case 1:
        return "write " + WordOf(file->Write(offset, AsBytes(PatternOf(offset, length))));
      case 2:
        return "truncate " + WordOf(file->Truncate(offset));
      case 3:
        return "punch " + WordOf(file->PunchHole(offset, length * 3));
      case 4:
        return "lock " + (file->TryLock().value_or(false) ? std::string("taken") : "refused");
      case 5:
        return "unlock " + WordOf(file->Unlock());
      case 6:
        return "share " + (file->TryLockShared().value_or(false) ? std::string("taken") : "refused");
      case 7:
        return "held " + (file->IsLockedElsewhere().value_or(false) ? std::string("yes") : "no");
      default: {
        const auto text = ReadText(*file, offset / 2, length * 10);
        return "read " + WordOf(text) + " " + text.value_or("");
      }
    }
  }

  FileSystem& fs_;
  const std::string root_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<File>> handles_;
};

TEST(SimulatedAgreesTest, RandomCallsGiveTheSameAnswersAsTheRealFilesystem) {
  const uint64_t seed = DrawSeed();
  TemporaryDirectory directory;
  PosixFileSystem posix;
  SimulatedFileSystem simulated;
  ASSERT_OK(simulated.MakeDirectory("/root"));
  const auto probe = posix.Open(directory / "probe", {Access::kReadWrite, Creation::kExclusive});
  ASSERT_OK(probe);
  if (FailedWith(ErrorCode::kUnsupported, (*probe)->PunchHole(0, 1))) {
    simulated.SetPunchingSupported(false);
  }
  ASSERT_OK(posix.Remove(directory / "probe"));
  Walker real(posix, directory.path(), seed);
  Walker simulation(simulated, "/root", seed);
  for (int i = 0; i < kOperations; ++i) {
    ASSERT_EQ(real.Step(), simulation.Step()) << "operation " << i << ", seed " << seed;
  }
}

}  // namespace
}  // namespace quoin

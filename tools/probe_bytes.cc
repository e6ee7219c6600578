// Probes of what happens to bytes: durability and its cost, holes, sizes, the database, room.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "blockstore/base/block.h"
#include "blockstore/base/posix_file_system.h"
#include "metadata/vdi_database.h"
#include "tools/local_socket.h"
#include "tools/storage_probes.h"
#include "tools/units.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSamples = 20;
constexpr const char* kDurable = "durable means durable: data could be lost after fsync returned";
constexpr const char* kNothing = "";

Descriptor NewFile(const std::string& path) {
  return Descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
}

bool WriteBlock(int file, uint64_t offset) {
  std::array<char, kBlockBytes> block;
  block.fill('q');
  return pwrite(file, block.data(), block.size(), static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(block.size());
}

// The median time of an act in milliseconds; negative if it fails, with its errno.
double MedianMilliseconds(const std::function<bool(int)>& act) {
  std::vector<double> times;
  for (int i = 0; i < kSamples; ++i) {
    const Clock::time_point start = Clock::now();
    if (!act(i)) return -1;
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + kSamples / 2, times.end());
  return times[kSamples / 2];
}

ProbeReport Measured(double milliseconds, const char* what) {
  ProbeReport report;
  report.found = fmt::format("{}: {:.2f} ms (median of {})", what, milliseconds, kSamples);
  report.milliseconds = milliseconds;
  return report;
}

// Allocated bytes as st_blocks tells them, after they were settled by an fsync.
int64_t AllocatedBytes(int file) {
  struct stat facts = {};
  if (fsync(file) != 0 || fstat(file, &facts) != 0) return -1;
  return int64_t{facts.st_blocks} * 512;
}

}  // namespace

ProbeReport ProbeSync(const std::string& folder) {
  const Descriptor file = NewFile(folder + "/file");
  const Descriptor directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file || !directory) return ProbeFailed("fsync", "cannot open a file", kDurable);
  const double milliseconds = MedianMilliseconds([&](int i) {
    return WriteBlock(file.number(), static_cast<uint64_t>(i) * kBlockBytes) &&
           fsync(file.number()) == 0;
  });
  if (milliseconds < 0) return ProbeFailed("fsync", "fsync of a file fails", kDurable);
  if (fsync(directory.number()) != 0) {
    return ProbeFailed("fsync", "fsync of a folder fails", kDurable);
  }
  return Measured(milliseconds, "a new block and fsync");
}

ProbeReport ProbeDataSync(const std::string& folder) {
  const Descriptor file = NewFile(folder + "/file");
  if (!file || !WriteBlock(file.number(), 0) || fsync(file.number()) != 0) {
    return ProbeFailed("fdatasync", "cannot write a file", kDurable);
  }
  const double milliseconds = MedianMilliseconds(
      [&](int) { return WriteBlock(file.number(), 0) && fdatasync(file.number()) == 0; });
  if (milliseconds < 0) return ProbeFailed("fdatasync", "fdatasync fails", kDurable);
  return Measured(milliseconds, "a block written again and fdatasync");
}

ProbeReport ProbeSparseFiles(const std::string& folder) {
  constexpr uint64_t kFar = uint64_t{1} << 30;
  constexpr int64_t kMostAllocated = 1 << 20;
  const Descriptor file = NewFile(folder + "/file");
  if (!file || !WriteBlock(file.number(), kFar)) {
    return ProbeFailed("sparse-files", "cannot write a block at 1 GiB", "VDIs need sparse files");
  }
  const int64_t allocated = AllocatedBytes(file.number());
  if (allocated < 0 || allocated > kMostAllocated) {
    return ProbeReport{
        "", Verdict::kMissing,
        fmt::format("a file with one block at 1 GiB takes {}",
                    FormatSize(static_cast<uint64_t>(std::max<int64_t>(allocated, 0)))),
        "space is used only as data is written"};
  }
  return ProbeReport{"", Verdict::kOk, "holes take no space, and st_blocks shows it", ""};
}

ProbeReport ProbeHoleQueries(const std::string& folder) {
  constexpr uint64_t kData = uint64_t{64} << 20;
  const Descriptor file = NewFile(folder + "/file");
  if (!file || !WriteBlock(file.number(), kData) || fsync(file.number()) != 0) {
    return ProbeFailed("hole-queries", "cannot write a file", kNothing);
  }
  const off_t data = lseek(file.number(), 0, SEEK_DATA);
  const off_t hole = lseek(file.number(), 0, SEEK_HOLE);
  if (data != static_cast<off_t>(kData) || hole != 0) {
    return ProbeReport{"", Verdict::kMissing, "SEEK_DATA and SEEK_HOLE are not exact here",
                       "none: quoin keeps its own record of holes; only other tools that copy the "
                       "store's files lose by it"};
  }
  return ProbeReport{"", Verdict::kOk, "SEEK_DATA and SEEK_HOLE are exact", ""};
}

ProbeReport ProbePunchHole(const std::string& folder) {
  constexpr uint64_t kBlocks = 256;
  const char* const guarantee = "discarded blocks give their space back";
  const Descriptor file = NewFile(folder + "/file");
  bool written = static_cast<bool>(file);
  for (uint64_t i = 0; written && i < kBlocks; ++i) {
    written = WriteBlock(file.number(), i * kBlockBytes);
  }
  if (!written) return ProbeFailed("punch-hole", "cannot write a file", guarantee);
  const int64_t before = AllocatedBytes(file.number());
  if (fallocate(file.number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                kBlocks * kBlockBytes) != 0) {
    return ProbeReport{"", Verdict::kMissing,
                       fmt::format("holes cannot be punched: {}", std::strerror(errno)), guarantee};
  }
  std::array<char, kBlockBytes> block;
  const bool zeros =
      pread(file.number(), block.data(), block.size(), 0) == static_cast<ssize_t>(block.size()) &&
      std::all_of(block.begin(), block.end(), [](char byte) { return byte == 0; });
  if (!zeros)
    return ProbeReport{"", Verdict::kFatal, "a punched hole does not read zero", kDurable};
  if (AllocatedBytes(file.number()) >= before) {
    return ProbeReport{"", Verdict::kMissing, "a punched hole keeps its space", guarantee};
  }
  return ProbeReport{"", Verdict::kOk, "a punched hole reads zero and gives its space back", ""};
}

ProbeReport ProbeLargeFiles(const std::string& folder) {
  const Descriptor file = NewFile(folder + "/file");
  if (!file) return ProbeFailed("large-files", "cannot create a file", kNothing);
  uint64_t largest = 0;
  for (uint64_t size = uint64_t{1} << 30; size <= kLayerSegmentBytes; size *= 2) {
    if (!WriteBlock(file.number(), size - kBlockBytes)) break;
    largest = size;
  }
  if (largest < kLayerSegmentBytes) {
    return ProbeReport{"", Verdict::kMissing,
                       fmt::format("the largest file is about {}", FormatSize(largest)),
                       "VDIs of up to 256 TiB: larger ones than that fail when they are written"};
  }
  return ProbeReport{"", Verdict::kOk,
                     fmt::format("a file may have {}", FormatSize(kLayerSegmentBytes)), ""};
}

// --- the database --------------------------------------------------------------------------------

namespace {

VdiState SmallestState() {
  VdiState state;
  state.vdi.id = Id::Random();
  state.vdi.epoch = 1;
  state.vdi.head_seq = 1;
  state.vdi.next_seq = 2;
  LayerRecord head;
  head.seq = 1;
  head.state = LayerState::kHead;
  head.name = "1-1";
  state.layers.push_back(head);
  return state;
}

// Commits as a guest's flush does; the error of the first that fails.
Status CommitOnce(VdiDatabase& database, VdiState& state) {
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database.Begin());
  ++state.vdi.data_blocks;
  QUOIN_TRY(transaction.PutVdi(state.vdi));
  return transaction.Commit();
}

}  // namespace

ProbeReport ProbeDatabase(const std::string& folder) {
  constexpr const char* kGuarantee = "each VDI's metadata is kept in an SQLite database";
  const auto fatal = [&](const std::string& found) {
    return ProbeReport{"", Verdict::kFatal, found, kGuarantee};
  };
  PosixFileSystem file_system;
  const std::string path = folder + "/vdi.db";
  VdiState state = SmallestState();
  Result<std::unique_ptr<VdiDatabase>> database = VdiDatabase::Create(file_system, path, state);
  if (!database) return fatal(database.error().what);
  Status committed;
  const double milliseconds = MedianMilliseconds([&](int) {
    committed = CommitOnce(**database, state);
    return committed.has_value();
  });
  if (milliseconds < 0) return fatal(committed.error().what);
  if (VdiDatabase::Open(file_system, path)) {
    return fatal("an SQLite database can be opened twice although it is held exclusively");
  }
  database->reset();
  database = VdiDatabase::Open(file_system, path);
  if (!database) return fatal(database.error().what);
  const Result<VdiState> loaded = (*database)->Load();
  if (!loaded) return fatal(loaded.error().what);
  if (loaded->vdi.data_blocks != state.vdi.data_blocks) return fatal("commits are lost");
  return Measured(milliseconds, "SQLite works exclusively with a WAL; a commit");
}

// --- room ----------------------------------------------------------------------------------------

ProbeReport ProbeSpace(const std::string& folder) {
  constexpr uint64_t kLittleBytes = uint64_t{1} << 30;
  constexpr uint64_t kFewFiles = 10'000;
  struct statvfs facts = {};
  if (statvfs(folder.c_str(), &facts) != 0) {
    return ProbeFailed("space", "cannot learn how much room there is", "ENOSPC in time");
  }
  const uint64_t free_bytes = uint64_t{facts.f_bavail} * facts.f_frsize;
  // Filesystems that make inodes as they need them say that they have none.
  const bool counts_files = facts.f_files != 0;
  ProbeReport report;
  report.found = fmt::format(
      "{} free{}", FormatSize(free_bytes),
      counts_files ? fmt::format(", room for {} files", facts.f_favail) : std::string());
  if (free_bytes < kLittleBytes || (counts_files && facts.f_favail < kFewFiles)) {
    report.verdict = Verdict::kMissing;
    report.guarantee = "room: guests will soon be told that the disk is full";
  }
  return report;
}

}  // namespace quoin

// Probes of what happens to bytes: durability and its cost, holes, sizes, room.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>

#include "blockstore/base/block.h"
#include "tools/local_socket.h"
#include "tools/probe_times.h"
#include "tools/storage_probes.h"
#include "tools/units.h"

namespace quoin {
namespace {

// A file that cannot be written at all is a storage on which nothing is durable.
constexpr const char* kDurable = kDurableFalls;

Descriptor NewFile(const std::string& path) {
  return Descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
}

bool WriteBlock(int file, uint64_t offset) {
  std::array<char, kBlockBytes> block;
  block.fill('q');
  return pwrite(file, block.data(), block.size(), static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(block.size());
}

bool IsZero(int file, uint64_t offset) {
  std::array<char, kBlockBytes> block;
  return pread(file, block.data(), block.size(), static_cast<off_t>(offset)) ==
             static_cast<ssize_t>(block.size()) &&
         std::all_of(block.begin(), block.end(), [](char byte) { return byte == 0; });
}

// Allocated bytes as st_blocks tells them, after they were settled by an fsync.
int64_t AllocatedBytes(int file) {
  struct stat facts = {};
  if (fsync(file) != 0 || fstat(file, &facts) != 0) return -1;
  return int64_t{facts.st_blocks} * 512;
}

}  // namespace

ProbeReport ProbeSync(const ProbePlace& place) {
  const Descriptor file = NewFile(place.first + "/file");
  const Descriptor directory(open(place.first.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file || !directory) return ProbeFailed("cannot open a file", kDurable);
  const std::optional<ProbeTimes> times = ProbeTimes::Take([&](int i) {
    return WriteBlock(file.number(), static_cast<uint64_t>(i) * kBlockBytes) &&
           fsync(file.number()) == 0;
  });
  if (!times) return ProbeFailed("fsync of a file fails", kDurable);
  if (fsync(directory.number()) != 0) return ProbeFailed("fsync of a folder fails", kDurable);
  return times->Report("a new block and fsync");
}

ProbeReport ProbeDataSync(const ProbePlace& place) {
  const Descriptor file = NewFile(place.first + "/file");
  if (!file || !WriteBlock(file.number(), 0) || fsync(file.number()) != 0) {
    return ProbeFailed("cannot write a file", kDurable);
  }
  const std::optional<ProbeTimes> times = ProbeTimes::Take(
      [&](int) { return WriteBlock(file.number(), 0) && fdatasync(file.number()) == 0; });
  if (!times) return ProbeFailed("fdatasync fails", kDurable);
  return times->Report("a block written again and fdatasync");
}

ProbeReport ProbeSparseFiles(const ProbePlace& place) {
  constexpr uint64_t kFar = uint64_t{1} << 30;
  constexpr int64_t kMostAllocated = 1 << 20;
  const Descriptor file = NewFile(place.first + "/file");
  if (!file || !WriteBlock(file.number(), kFar)) {
    return ProbeFailed("cannot write a block at 1 GiB", kDurable);
  }
  if (!IsZero(file.number(), 0) || !IsZero(file.number(), kFar - kBlockBytes)) {
    return ProbeBad("what was never written does not read zero", kDurable);
  }
  const int64_t allocated = AllocatedBytes(file.number());
  if (allocated < 0 || allocated > kMostAllocated) {
    return ProbeNote(fmt::format("a file with one block at 1 GiB takes {}",
                    FormatSize(static_cast<uint64_t>(std::max<int64_t>(allocated, 0)))),
        "space is used only as data is written");
  }
  return ProbeOk("holes take no space, and st_blocks shows it");
}

ProbeReport ProbeHoleQueries(const ProbePlace& place) {
  constexpr uint64_t kData = uint64_t{64} << 20;
  const Descriptor file = NewFile(place.first + "/file");
  if (!file || !WriteBlock(file.number(), kData) || fsync(file.number()) != 0) {
    return ProbeFailed("cannot write a file", kDurable);
  }
  const off_t data = lseek(file.number(), 0, SEEK_DATA);
  const off_t hole = lseek(file.number(), 0, SEEK_HOLE);
  if (data != static_cast<off_t>(kData) || hole != 0) {
    return ProbeNote("SEEK_DATA and SEEK_HOLE are not exact here",
                       "none: quoin keeps its own record of holes; only other tools that copy the "
                     "store's files lose by it");
  }
  return ProbeOk("SEEK_DATA and SEEK_HOLE are exact");
}

ProbeReport ProbePunchHole(const ProbePlace& place) {
  constexpr uint64_t kBlocks = 256;
  const char* const guarantee = "discarded blocks give their space back";
  const Descriptor file = NewFile(place.first + "/file");
  bool written = static_cast<bool>(file);
  for (uint64_t i = 0; written && i < kBlocks; ++i) {
    written = WriteBlock(file.number(), i * kBlockBytes);
  }
  if (!written) return ProbeFailed("cannot write a file", guarantee);
  const int64_t before = AllocatedBytes(file.number());
  if (fallocate(file.number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                kBlocks * kBlockBytes) != 0) {
    return ProbeNote(fmt::format("holes cannot be punched: {}", std::strerror(errno)), guarantee);
  }
  if (!IsZero(file.number(), 0) || !IsZero(file.number(), (kBlocks - 1) * kBlockBytes)) {
    return ProbeBad("a punched hole does not read zero", kDurable);
  }
  if (AllocatedBytes(file.number()) >= before) {
    return ProbeNote("a punched hole keeps its space", guarantee);
  }
  return ProbeOk("a punched hole reads zero and gives its space back");
}

ProbeReport ProbeLargeFiles(const ProbePlace& place) {
  const Descriptor file = NewFile(place.first + "/file");
  if (!file) return ProbeFailed("cannot create a file", kDurable);
  uint64_t largest = 0;
  for (uint64_t size = uint64_t{1} << 30; size <= kLayerSegmentBytes; size *= 2) {
    if (!WriteBlock(file.number(), size - kBlockBytes)) break;
    largest = size;
  }
  if (largest < kLayerSegmentBytes) {
    return ProbeNote(fmt::format("the largest file is about {}", FormatSize(largest)),
                       "VDIs of up to 256 TiB: larger ones than that fail when they are written");
  }
  return ProbeOk(fmt::format("a file may have {}", FormatSize(kLayerSegmentBytes)));
}

// --- room ----------------------------------------------------------------------------------------

ProbeReport ProbeSpace(const ProbePlace& place) {
  constexpr uint64_t kLittleBytes = uint64_t{1} << 30;
  constexpr uint64_t kFewFiles = 10'000;
  struct statvfs facts = {};
  if (statvfs(place.first.c_str(), &facts) != 0) {
    return ProbeNote(
        fmt::format("cannot learn how much room there is: {}", std::strerror(errno)),
        "room: df of a tree shows nothing, and a collection begins too late");
  }
  const uint64_t free_bytes = uint64_t{facts.f_bavail} * facts.f_frsize;
  // Filesystems that make inodes as they need them say that they have none.
  const bool counts_files = facts.f_files != 0;
  ProbeReport report;
  report.found = fmt::format(
      "{} free{}", FormatSize(free_bytes),
      counts_files ? fmt::format(", room for {} files", facts.f_favail) : std::string());
  if (free_bytes < kLittleBytes || (counts_files && facts.f_favail < kFewFiles)) {
    report.verdict = ProbeVerdict::kNote;
    report.guarantee = "room: guests will soon be told that the disk is full";
  }
  return report;
}

}  // namespace quoin

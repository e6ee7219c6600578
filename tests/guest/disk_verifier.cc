// Runs in the test guest: writes a disk at random and knows each byte that must be on it.
//
//   disk_verifier DEVICE BYTES LOG STOP
//
// until the file STOP exists, then reads the whole disk once more. DEVICE holds zeros at the start. What
// it must hold is remembered here, in the guest's memory, so that a guest that is moved brings along what
// its disk has to show at the other end. LOG gets the number of finished writes, a line each few
// milliseconds: its gaps are the guest's pauses. Status 0 and one line of counts, or 1 and what was wrong.
//
// Linked statically: it is handed to the guest as it is.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr size_t kBlockBytes = 4096;
constexpr size_t kMaxBlocks = 16;  // in one request
constexpr int kRequestsPerFlush = 32;
constexpr int64_t kLogEveryNs = 4'000'000;
constexpr unsigned kPercentRead = 45;
constexpr unsigned kPercentZeroed = 5;

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1'000'000'000) + now.tv_nsec;
}

uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9;
  x ^= x >> 27;
  x *= 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

[[noreturn]] void Fail(const char* act, size_t block, const char* why) {
  std::fprintf(stderr, "FAILED: %s of block %zu: %s\n", act, block, why);
  std::exit(1);
}

class Disk {
 public:
  Disk(const char* path, size_t bytes)
      : file_(open(path, O_RDWR | O_DIRECT)),
        times_written_(bytes / kBlockBytes),
        buffer_(static_cast<uint64_t*>(std::aligned_alloc(kBlockBytes, kMaxBlocks * kBlockBytes))) {
    if (file_ < 0 || buffer_ == nullptr) Fail("opening", 0, std::strerror(errno));
  }

  size_t blocks() const { return times_written_.size(); }

  void Write(size_t first, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      ++times_written_[first + i];
      Fill(BlockOf(i), first + i);
    }
    Check("write", first, pwrite(file_, buffer_, count * kBlockBytes, At(first)), count);
  }

  // Also past what was ever written: zeros.
  void Verify(size_t first, size_t count) {
    Check("read", first, pread(file_, buffer_, count * kBlockBytes, At(first)), count);
    uint64_t expected[kBlockBytes / 8];
    for (size_t i = 0; i < count; ++i) {
      Fill(expected, first + i);
      if (std::memcmp(expected, BlockOf(i), kBlockBytes) == 0) continue;
      char why[200];
      std::snprintf(why, sizeof why, "begins with %016llx %016llx and not with %016llx %016llx",
                    static_cast<unsigned long long>(BlockOf(i)[0]),
                    static_cast<unsigned long long>(BlockOf(i)[1]),
                    static_cast<unsigned long long>(expected[0]),
                    static_cast<unsigned long long>(expected[1]));
      Fail("verification", first + i, why);
    }
  }

  void Zero(size_t first, size_t count) {
    const uint64_t range[] = {static_cast<uint64_t>(At(first)), count * kBlockBytes};
    if (ioctl(file_, BLKZEROOUT, range) != 0) Fail("zeroing", first, std::strerror(errno));
    for (size_t i = 0; i < count; ++i) times_written_[first + i] = 0;
  }

  void Flush() {
    if (fdatasync(file_) != 0) Fail("flush", 0, std::strerror(errno));
  }

 private:
  static off_t At(size_t block) { return static_cast<off_t>(block * kBlockBytes); }
  uint64_t* BlockOf(size_t index) { return buffer_ + index * kBlockBytes / 8; }

  // Its number, how often it was written, and what follows from the two.
  void Fill(uint64_t* words, size_t block) const {
    const uint32_t times = times_written_[block];
    if (times == 0) {
      std::memset(words, 0, kBlockBytes);
      return;
    }
    words[0] = block;
    words[1] = times;
    uint64_t state = Mix(block * 0x9e3779b97f4a7c15 + times);
    for (size_t i = 2; i < kBlockBytes / 8; ++i) words[i] = state += 0x9e3779b97f4a7c15;
  }

  static void Check(const char* act, size_t block, ssize_t done, size_t count) {
    if (done < 0) Fail(act, block, std::strerror(errno));
    if (static_cast<size_t>(done) != count * kBlockBytes) Fail(act, block, "short");
  }

  const int file_;
  std::vector<uint32_t> times_written_;  // 0: zeros
  uint64_t* const buffer_;
};

class Log {
 public:
  explicit Log(const char* path) : file_(open(path, O_WRONLY | O_NOCTTY)) {
    if (file_ < 0) Fail("opening the log", 0, std::strerror(errno));
  }
  void Tell(unsigned long writes) {
    const int64_t now = Now();
    if (now - last_ < kLogEveryNs) return;
    last_ = now;
    char line[32];
    const int length = std::snprintf(line, sizeof line, "%lu\n", writes);
    if (write(file_, line, static_cast<size_t>(length)) != length) {
      Fail("writing the log", 0, std::strerror(errno));
    }
  }

 private:
  const int file_;
  int64_t last_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  Disk disk(argv[1], std::strtoull(argv[2], nullptr, 10));
  Log log(argv[3]);
  uint64_t random = 1;
  unsigned long writes = 0;
  unsigned long reads = 0;
  for (int requests = 1; access(argv[4], F_OK) != 0; ++requests) {
    random = Mix(random + 0x9e3779b97f4a7c15);
    const size_t count = 1 + random % kMaxBlocks;
    const size_t first = (random >> 8) % (disk.blocks() - count + 1);
    const unsigned dice = (random >> 48) % 100;
    if (dice < kPercentRead) {
      disk.Verify(first, count);
      ++reads;
    } else if (dice < kPercentRead + kPercentZeroed) {
      disk.Zero(first, count);
    } else {
      disk.Write(first, count);
      log.Tell(++writes);
    }
    if (requests % kRequestsPerFlush == 0) disk.Flush();
  }
  disk.Flush();
  for (size_t first = 0; first < disk.blocks(); first += kMaxBlocks) {
    disk.Verify(first, disk.blocks() - first < kMaxBlocks ? disk.blocks() - first : kMaxBlocks);
  }
  std::printf("verified: %lu writes, %lu reads, all %zu blocks at the end\n", writes, reads,
              disk.blocks());
  return 0;
}

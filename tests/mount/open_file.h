// A file descriptor that closes itself, and whole-file helpers for tests: all by plain system calls,
// so that what is tested is what a program would do.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace quoin {

class OpenFile {
 public:
  OpenFile(const std::string& path, int flags, mode_t mode = 0644)
      : descriptor_(open(path.c_str(), flags | O_CLOEXEC, mode)), error_(descriptor_ < 0 ? errno : 0) {}
  ~OpenFile() { Close(); }
  OpenFile(OpenFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), error_(other.error_) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int get() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }
  int error() const { return error_; }  // errno of the open, 0 if it is open
  int Close();                          // errno of close(2), or 0

 private:
  int descriptor_;
  int error_;
};

// Memory aligned for O_DIRECT.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(size_t bytes, char fill = 0);
  ~AlignedBuffer();
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  char* data() { return data_; }
  size_t size() const { return size_; }
  std::string text() const { return {data_, size_}; }

 private:
  char* data_;
  size_t size_;
};

// errno of a call that returns -1 on failure, else 0.
template <typename Call>
int ErrnoOf(Call call) {
  errno = 0;
  return call() == -1 ? errno : 0;
}

// Each returns errno, or 0.
int WriteAt(int file, uint64_t offset, const std::string& bytes);
int WriteTo(const std::string& path, uint64_t offset, const std::string& bytes);
int Truncate(const std::string& path, uint64_t size_bytes);
int CreateWithSize(const std::string& path, uint64_t size_bytes);
int Touch(const std::string& path);  // as touch(1): creates it, then sets its times to now

// The bytes; "errno N" if they cannot be read.
std::string ReadAt(int file, uint64_t offset, size_t bytes);
std::string ReadFrom(const std::string& path, uint64_t offset, size_t bytes);
std::string ReadWhole(const std::string& path);

struct stat StatOf(const std::string& path);  // all zero if there is none
std::vector<std::string> NamesIn(const std::string& folder);  // sorted, without "." and ".."

// Says where the first difference is instead of showing megabytes.
::testing::AssertionResult SameBytes(const std::string& actual, const std::string& expected);

// Bytes that differ at every place and between seeds.
std::string Pattern(uint64_t seed, size_t bytes);

}  // namespace quoin

#define EXPECT_BYTES(actual, expected) EXPECT_TRUE(::quoin::SameBytes(actual, expected))
#define ASSERT_BYTES(actual, expected) ASSERT_TRUE(::quoin::SameBytes(actual, expected))

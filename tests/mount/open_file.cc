#include "tests/mount/open_file.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace quoin {
namespace {

constexpr size_t kAlignment = 4096;

}  // namespace

int OpenFile::Close() {
  if (descriptor_ < 0) return 0;
  return ErrnoOf([this] { return close(std::exchange(descriptor_, -1)); });
}

AlignedBuffer::AlignedBuffer(size_t bytes, char fill)
    : data_(static_cast<char*>(
          std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment))),
      size_(bytes) {
  if (data_ == nullptr) std::abort();
  std::memset(data_, fill, bytes);
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

int WriteAt(int file, uint64_t offset, const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = pwrite(file, bytes.data() + done, bytes.size() - done,
                               static_cast<off_t>(offset + done));
    if (put < 0) return errno;
    done += static_cast<size_t>(put);
  }
  return 0;
}

int WriteTo(const std::string& path, uint64_t offset, const std::string& bytes) {
  OpenFile file(path, O_WRONLY);
  if (!file.is_open()) return file.error();
  const int written = WriteAt(file.get(), offset, bytes);
  const int closed = file.Close();
  return written != 0 ? written : closed;
}

int Truncate(const std::string& path, uint64_t size_bytes) {
  return ErrnoOf([&] { return truncate(path.c_str(), static_cast<off_t>(size_bytes)); });
}

int CreateWithSize(const std::string& path, uint64_t size_bytes) {
  OpenFile file(path, O_WRONLY | O_CREAT | O_EXCL);
  if (!file.is_open()) return file.error();
  return ErrnoOf([&] { return ftruncate(file.get(), static_cast<off_t>(size_bytes)); });
}

int Touch(const std::string& path) {
  OpenFile file(path, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, 0666);
  if (!file.is_open()) return file.error();
  return ErrnoOf([&] { return futimens(file.get(), nullptr); });
}

std::string ReadAt(int file, uint64_t offset, size_t bytes) {
  std::string out(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    const ssize_t got =
        pread(file, out.data() + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0) return "errno " + std::to_string(errno);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  out.resize(done);
  return out;
}

std::string ReadFrom(const std::string& path, uint64_t offset, size_t bytes) {
  const OpenFile file(path, O_RDONLY);
  if (!file.is_open()) return "errno " + std::to_string(file.error());
  return ReadAt(file.get(), offset, bytes);
}

std::string ReadWhole(const std::string& path) {
  constexpr size_t kMost = size_t{64} << 20;
  return ReadFrom(path, 0, kMost);
}

struct stat StatOf(const std::string& path) {
  struct stat facts {};
  if (lstat(path.c_str(), &facts) != 0) return {};
  return facts;
}

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  DIR* const open_folder = opendir(folder.c_str());
  if (open_folder == nullptr) return {"errno " + std::to_string(errno)};
  while (const dirent* const entry = readdir(open_folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(open_folder);
  std::sort(names.begin(), names.end());
  return names;
}

::testing::AssertionResult SameBytes(const std::string& actual, const std::string& expected) {
  if (actual == expected) return ::testing::AssertionSuccess();
  constexpr size_t kShown = 24;
  const auto first_difference =
      std::mismatch(actual.begin(), actual.end(), expected.begin(), expected.end()).first;
  const auto at = static_cast<size_t>(first_difference - actual.begin());
  return ::testing::AssertionFailure()
         << "of " << actual.size() << " bytes the first that differs is " << at << ": "
         << ::testing::PrintToString(actual.substr(at, kShown)) << ", expected "
         << ::testing::PrintToString(expected.substr(at, kShown)) << " of " << expected.size();
}

std::string Pattern(uint64_t seed, size_t bytes) {
  std::string out(bytes, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (size_t i = 0; i < bytes; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    out[i] = static_cast<char>(1 + (state >> 33) % 255);  // never zero: no byte looks like a hole
  }
  return out;
}

}  // namespace quoin

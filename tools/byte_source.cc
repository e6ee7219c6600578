#include "tools/byte_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace quoin {

Result<std::unique_ptr<ByteSource>> ByteSource::Open(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return FailSystem(errno, fmt::format("cannot open {}", path));
  struct stat facts{};
  if (fstat(file.number(), &facts) != 0) {
    return FailSystem(errno, fmt::format("cannot look at {}", path));
  }
  if (S_ISDIR(facts.st_mode)) return FailSystem(EISDIR, fmt::format("cannot read {}", path));
  const bool regular = S_ISREG(facts.st_mode);
  if (regular) (void)posix_fadvise(file.number(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return std::unique_ptr<ByteSource>(
      new ByteSource(path, std::move(file), regular ? int64_t{facts.st_size} : -1));
}

size_t ByteSource::HoleHere(size_t wanted) {
  if (size_bytes_ < 0) return 0;
  if (offset_ >= data_end_) {
    const off_t data = lseek(file_.number(), offset_, SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
      data_ = data_end_ = size_bytes_;
    } else if (data < 0) {
      data_ = offset_;  // a filesystem that knows no holes
      data_end_ = size_bytes_;
    } else {
      const off_t hole = lseek(file_.number(), data, SEEK_HOLE);
      data_ = data;
      data_end_ = hole < 0 ? size_bytes_ : int64_t{hole};
    }
  }
  return offset_ < data_ ? std::min<uint64_t>(wanted, static_cast<uint64_t>(data_ - offset_)) : 0;
}

Result<size_t> ByteSource::Read(std::span<std::byte> buffer) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    const auto rest = buffer.subspan(filled);
    if (const size_t hole = HoleHere(rest.size()); hole > 0) {
      std::memset(rest.data(), 0, hole);
      filled += hole;
      offset_ += static_cast<int64_t>(hole);
      continue;
    }
    const ssize_t n = size_bytes_ < 0
                          ? read(file_.number(), rest.data(), rest.size())
                          : pread(file_.number(), rest.data(), rest.size(), offset_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailSystem(errno, fmt::format("cannot read {}", path_));
    if (n == 0) break;
    filled += static_cast<size_t>(n);
    offset_ += n;
  }
  return filled;
}

}  // namespace quoin

// A file or pipe that is read from its beginning to its end. Holes of files are not read, and are
// zeros. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "blockstore/base/error.h"
#include "tools/local_socket.h"

namespace quoin {

class ByteSource {
 public:
  static Result<std::unique_ptr<ByteSource>> Open(const std::string& path);

  // 0 if it is not known.
  uint64_t size_bytes() const { return size_bytes_ < 0 ? 0 : static_cast<uint64_t>(size_bytes_); }

  // Fills the buffer; fewer bytes only at the end.
  Result<size_t> Read(std::span<std::byte> buffer);

 private:
  ByteSource(std::string path, Descriptor file, int64_t size_bytes)
      : path_(std::move(path)), file_(std::move(file)), size_bytes_(size_bytes) {}

  // How many of the `wanted` bytes from here on lie in a hole.
  size_t HoleHere(size_t wanted);

  const std::string path_;
  const Descriptor file_;
  const int64_t size_bytes_;  // of a regular file; -1: not known, and there are no holes
  int64_t offset_ = 0;
  int64_t data_ = 0;      // where data begins next, as last asked
  int64_t data_end_ = 0;  // and where it ends
};

}  // namespace quoin

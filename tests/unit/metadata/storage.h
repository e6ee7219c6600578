// The two filesystems on which this room's tests run.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <string>

#include "blockstore/base/posix_file_system.h"
#include "tests/support/result_matchers.h"
#include "tests/support/simulated_file_system.h"
#include "tests/support/temporary_directory.h"

namespace quoin {

struct PosixStorage {
  TemporaryDirectory directory;
  PosixFileSystem file_system;
  std::string root = directory.path();
};

struct SimulatedStorage {
  SimulatedFileSystem file_system;
  std::string root;  // "" + "/name" lies in the top folder, which is durable
};

using AllStorages = ::testing::Types<PosixStorage, SimulatedStorage>;

inline void WriteBytes(FileSystem& file_system, const std::string& path, const std::string& bytes) {
  ASSERT_OK_AND_ASSIGN(const auto file,
                       file_system.Open(path, {Access::kReadWrite, Creation::kIfMissing, 0600}));
  ASSERT_OK(file->Truncate(0));
  ASSERT_OK(file->Write(0, std::as_bytes(std::span(bytes))));
  ASSERT_OK(file->Sync(SyncKind::kFull));
}

inline std::string ReadBytes(FileSystem& file_system, const std::string& path) {
  const auto file = file_system.Open(path, {});
  if (!file) return "(no such file)";
  std::string bytes((*file)->Facts()->size_bytes, '\0');
  EXPECT_OK((*file)->Read(0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

}  // namespace quoin

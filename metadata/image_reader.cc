#include "metadata/image_reader.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>

#include "metadata/database_page.h"
#include "metadata/vdi_rows.h"

namespace quoin {
namespace {

constexpr int kOpenFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

// Of SQLite's file header, big-endian; frozen by its format.
constexpr size_t kPagesOffset = 28;
constexpr size_t kUserVersionOffset = 60;
constexpr size_t kApplicationIdOffset = 68;
constexpr size_t kNumberBytes = 4;

bool HaveSame(const unsigned char* a, const char* b, size_t offset) {
  return std::memcmp(a + offset, b + offset, kNumberBytes) == 0;
}

// What lies behind an image in the reader's memory is another one's: none may reach beyond its end.
bool IsWhole(const std::string& bytes) {
  if (bytes.size() < kDatabasePageBytes) return false;
  uint64_t pages = 0;
  for (size_t i = 0; i < kNumberBytes; ++i) {
    pages = pages << 8 | static_cast<unsigned char>(bytes[kPagesOffset + i]);
  }
  return pages * kDatabasePageBytes == bytes.size();
}

}  // namespace

ImageReader::ImageReader(const std::string& empty)
    : image_(std::make_unique<unsigned char[]>(kMaxImageBytes)), database_(":memory:", kOpenFlags) {
  used_ = std::min(empty.size(), kMaxImageBytes);
  std::memcpy(image_.get(), empty.data(), used_);
  // The header of an image says how many of the pages there are.
  database_.check(sqlite3_deserialize(database_.getHandle(), "main", image_.get(), kMaxImageBytes,
                                      kMaxImageBytes, SQLITE_DESERIALIZE_READONLY));
  schema_ = ReadSchema();
}

void ImageReader::Load(const std::string& bytes) {
  std::memcpy(image_.get(), bytes.data(), bytes.size());
  if (used_ > bytes.size()) std::memset(image_.get() + bytes.size(), 0, used_ - bytes.size());
  used_ = bytes.size();
  database_.check(
      sqlite3_file_control(database_.getHandle(), "main", SQLITE_FCNTL_RESET_CACHE, nullptr));
}

std::string ImageReader::ReadSchema() {
  std::string schema;
  StatementUse select = statements_.Prepare("SELECT rootpage, sql FROM sqlite_schema");
  while (select->executeStep()) {
    const SQLite::Column sql = select->getColumn(1);
    schema += select->getColumn(0).getString() + " ";
    schema.append(sql.getText(), static_cast<size_t>(sql.getBytes()));
    schema += '\n';
  }
  return schema;
}

std::optional<Result<VdiState>> ImageReader::Read(const std::string& bytes,
                                                  const std::string& path) {
  if (bytes.size() > kMaxImageBytes || !IsWhole(bytes)) return std::nullopt;
  if (!HaveSame(image_.get(), bytes.data(), kUserVersionOffset) ||
      !HaveSame(image_.get(), bytes.data(), kApplicationIdOffset)) {
    return std::nullopt;
  }
  Load(bytes);
  if (ReadSchema() != schema_) return std::nullopt;
  return ReadState(statements_, path);
}

}  // namespace quoin

// Reads images of VDIs' databases, one after the other, through one connection. To open a connection and have
// SQLite understand the schema takes several times as long as to read the few rows that most VDIs have, and a
// listing reads ten thousand images.
//
// What the connection knows of the schema holds for an image only if that has the very same tables in the very
// same pages, which is looked at before anything else of it. An image that has not, or is too large, is left to
// those who open a connection for it.
//
// SQLite's exceptions pass through; a reader is not to be used any more after one. Not thread-safe.
#pragma once

#include <SQLiteCpp/Database.h>

#include <memory>
#include <optional>
#include <string>

#include "blockstore/base/error.h"
#include "metadata/prepared_statements.h"
#include "metadata/vdi_records.h"

namespace quoin {

class ImageReader {
 public:
  // More than most have, and less than is worth keeping for a thread. 8 pages of 10 are the schema's.
  static constexpr size_t kMaxImageBytes = 256 << 10;

  // `empty`: an intact image in rollback form with the present schema.
  explicit ImageReader(const std::string& empty);

  // Nothing if the image, whose checksums fit, cannot be read in this way. `path` is for messages.
  std::optional<Result<VdiState>> Read(const std::string& bytes, const std::string& path);

 private:
  void Load(const std::string& bytes);
  std::string ReadSchema();

  const std::unique_ptr<unsigned char[]> image_;  // what the connection takes for its file
  size_t used_ = 0;                               // its first bytes; the rest is zero
  SQLite::Database database_;
  PreparedStatements statements_{database_};
  std::string schema_;
};

}  // namespace quoin

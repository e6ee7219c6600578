// Decoding one image after the other on one thread: nothing of an image is ever taken for the next one's.
#include "metadata/image_reader.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <thread>
#include <vector>

#include "metadata/database_image.h"
#include "metadata/database_page.h"
#include "tests/support/result_matchers.h"
#include "tests/unit/metadata/sample_state.h"

namespace quoin {
namespace {

std::string ImageOf(const VdiState& state) {
  const Result<std::string> image = EncodeDatabase(state, JournalForm::kRollback);
  EXPECT_OK(image);
  return image.value_or("");
}

// The image with other SQL run on it, and with right checksums.
std::string Changed(const std::string& image, const std::string& sql) {
  SQLite::Database database(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  auto* const copy = static_cast<unsigned char*>(sqlite3_malloc64(image.size()));
  std::copy(image.begin(), image.end(), copy);
  const auto size = static_cast<sqlite3_int64>(image.size());
  database.check(sqlite3_deserialize(database.getHandle(), "main", copy, size, size,
                                     SQLITE_DESERIALIZE_FREEONCLOSE |
                                         SQLITE_DESERIALIZE_RESIZEABLE));
  database.exec(sql);
  sqlite3_int64 bytes = 0;
  unsigned char* const out = sqlite3_serialize(database.getHandle(), "main", &bytes, 0);
  std::string changed(reinterpret_cast<const char*>(out), static_cast<size_t>(bytes));
  sqlite3_free(out);
  for (size_t offset = 0; offset < changed.size(); offset += kDatabasePageBytes) {
    StampPage(std::as_writable_bytes(std::span(changed)).subspan(offset, kDatabasePageBytes),
              offset / kDatabasePageBytes);
  }
  return changed;
}

VdiState StateOfSize(uint64_t size_bytes) {
  VdiState state = PlainState();
  state.vdi.size_bytes = size_bytes;
  return state;
}

TEST(ImageReaderTest, EachImageIsReadAsItIsWhateverWasReadBefore) {
  const std::vector<VdiState> states = {PlainState(),     FullState(),     ChainState(20),
                                        StateOfSize(512), ChainState(300), PlainState()};
  for (int round = 0; round < 3; ++round) {
    for (const VdiState& state : states) {
      ASSERT_OK_AND_ASSIGN(const VdiState read, DecodeDatabase(ImageOf(state), "an image"));
      EXPECT_TRUE(read == state);
    }
  }
}

TEST(ImageReaderTest, OneReaderReadsAllThatFit) {
  ImageReader reader(ImageOf(PlainState()));
  for (uint64_t sectors = 1; sectors < 100; ++sectors) {
    const VdiState state = StateOfSize(sectors * 512);
    const auto read = reader.Read(ImageOf(state), "an image");
    ASSERT_TRUE(read.has_value());
    ASSERT_OK(*read);
    EXPECT_TRUE(**read == state);
  }
  EXPECT_GT(ImageOf(ChainState(3000)).size(), ImageReader::kMaxImageBytes);
  EXPECT_FALSE(reader.Read(ImageOf(ChainState(3000)), "an image").has_value());
}

// What lies behind it is the last one's, and may look like its own.
TEST(ImageReaderTest, AnImageThatIsCutOffIsNeverReadToItsEnd) {
  const std::string image = ImageOf(ChainState(20));
  for (size_t size = kDatabasePageBytes; size < image.size(); size += kDatabasePageBytes) {
    EXPECT_OK(DecodeDatabase(image, "an image"));
    EXPECT_ERROR(kCorrupt, DecodeDatabase(image.substr(0, size), "an image"));
  }
}

TEST(ImageReaderTest, AnotherSchemaIsLeftToOthers) {
  ImageReader reader(ImageOf(PlainState()));
  const std::string image = ImageOf(StateOfSize(1024));
  for (const char* const sql :
       {"CREATE TABLE more (number INTEGER)", "DROP INDEX snapshot_by_layer",
        "ALTER TABLE vdi ADD COLUMN more INTEGER", "PRAGMA user_version = 2",
        "PRAGMA application_id = 7"}) {
    SCOPED_TRACE(sql);
    EXPECT_FALSE(reader.Read(Changed(image, sql), "an image").has_value());
    const auto read = reader.Read(image, "an image");
    ASSERT_TRUE(read.has_value()) << "the reader has kept what it saw";
    ASSERT_OK(*read);
    EXPECT_EQ((*read)->vdi.size_bytes, 1024u);
  }
  // The same tables in other pages.
  const std::string moved = Changed(
      image, "DROP INDEX layer_by_parent; CREATE INDEX layer_by_parent ON layer (parent_seq)");
  const auto read = reader.Read(moved, "an image");
  EXPECT_TRUE(!read || (*read)->vdi.size_bytes == 1024u);
}

TEST(ImageReaderTest, WhatCannotBeIsDamageEachTime) {
  const std::string image = ImageOf(PlainState());
  const std::string damaged = Changed(image, "PRAGMA ignore_check_constraints = 1; "
                                             "UPDATE vdi SET head_seq = 9");
  for (int round = 0; round < 3; ++round) {
    EXPECT_ERROR(kCorrupt, DecodeDatabase(damaged, "an image"));
    EXPECT_OK(DecodeDatabase(image, "an image"));
  }
  EXPECT_ERROR(kNewerFormat, DecodeDatabase(Changed(image, "PRAGMA user_version = 99"), "an image"));
  EXPECT_ERROR(kCorrupt, DecodeDatabase(Changed(image, "DROP TABLE vdi"), "an image"));
  EXPECT_OK(DecodeDatabase(image, "an image"));
}

TEST(ImageReaderTest, ThreadsReadBesideEachOther) {
  std::vector<std::thread> threads;
  for (uint64_t thread = 1; thread <= 4; ++thread) {
    threads.emplace_back([thread] {
      for (uint64_t i = 1; i <= 50; ++i) {
        const VdiState state = StateOfSize(512 * (thread * 1000 + i));
        const Result<VdiState> read = DecodeDatabase(ImageOf(state), "an image");
        ASSERT_OK(read);
        EXPECT_TRUE(*read == state);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace quoin

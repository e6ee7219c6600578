#include "metadata/superblock.h"

#include <gtest/gtest.h>

#include <string>

#include "metadata/store_layout.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

template <typename Storage>
class SuperblockTest : public ::testing::Test {
 protected:
  FileSystem& file_system() { return storage_.file_system; }

  Storage storage_;
  const std::string root_ = storage_.root + "/store";
};

TYPED_TEST_SUITE(SuperblockTest, AllStorages);

TYPED_TEST(SuperblockTest, AStoreIsMadeInAFolderThatDoesNotExistYet) {
  ASSERT_OK_AND_ASSIGN(const Superblock made,
                       InitialiseStore(this->file_system(), this->root_, "zstd"));
  ASSERT_OK_AND_ASSIGN(const Superblock read, ReadSuperblock(this->file_system(), this->root_));
  EXPECT_EQ(read.store_id, made.store_id);
  EXPECT_FALSE(read.store_id.IsNull());
  EXPECT_EQ(read.compression, "zstd");
  EXPECT_EQ(read.format, kStoreFormat);
  EXPECT_EQ(read.created, made.created);
  EXPECT_EQ(read.created.size(), std::string("2026-11-22T10:00:00Z").size());
  const StoreLayout layout(this->root_);
  for (const std::string& folder : {layout.Names(), layout.Vdis(), layout.Groups(), layout.Hosts(),
                                    layout.Temporaries(), layout.Packs(), layout.Collection()}) {
    ASSERT_OK_AND_ASSIGN(const FileFacts facts, this->file_system().Facts(folder));
    EXPECT_EQ(facts.kind, EntryKind::kDirectory);
  }
  EXPECT_TRUE(this->file_system().List(layout.Temporaries())->empty());
}

TYPED_TEST(SuperblockTest, AStoreOfAnOlderQuoinGetsTheFoldersThatItLacks) {
  ASSERT_OK(InitialiseStore(this->file_system(), this->root_, "lz4"));
  const StoreLayout layout(this->root_);
  ASSERT_OK(CompleteStore(this->file_system(), this->root_));
  ASSERT_OK(this->file_system().RemoveDirectory(layout.Packs()));
  ASSERT_OK(this->file_system().RemoveDirectory(layout.Collection()));
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(CompleteStore(this->file_system(), this->root_));
    EXPECT_OK(this->file_system().List(layout.Packs()));
    EXPECT_OK(this->file_system().List(layout.Collection()));
  }
}

TYPED_TEST(SuperblockTest, AStoreIsMadeInAnEmptyFolderAndInAFreshFilesystem) {
  ASSERT_OK(this->file_system().MakeDirectory(this->root_, 0700));
  ASSERT_OK(this->file_system().MakeDirectory(this->root_ + "/lost+found", 0700));
  EXPECT_OK(InitialiseStore(this->file_system(), this->root_, "lz4"));
}

TYPED_TEST(SuperblockTest, AStoreIsNotMadeTwice) {
  ASSERT_OK_AND_ASSIGN(const Superblock first,
                       InitialiseStore(this->file_system(), this->root_, "none"));
  EXPECT_ERROR(kExists, InitialiseStore(this->file_system(), this->root_, "lz4"));
  EXPECT_EQ(ReadSuperblock(this->file_system(), this->root_)->store_id, first.store_id);
}

TYPED_TEST(SuperblockTest, AFolderWithOtherThingsIsRefusedAndLeftAlone) {
  ASSERT_OK(this->file_system().MakeDirectory(this->root_, 0700));
  ASSERT_OK(this->file_system().MakeDirectory(this->root_ + "/vdis", 0700));
  ASSERT_OK(this->file_system().MakeDirectory(this->root_ + "/vdis/photos", 0700));
  const auto made = InitialiseStore(this->file_system(), this->root_, "lz4");
  ASSERT_ERROR(kNotEmpty, made);
  EXPECT_NE(made.error().what.find("vdis"), std::string::npos);
  EXPECT_EQ(this->file_system().List(this->root_)->size(), 1u);
}

TYPED_TEST(SuperblockTest, RefusesUnknownCompressionAMissingParentAndAFile) {
  EXPECT_ERROR(kInvalid, InitialiseStore(this->file_system(), this->root_, "gzip"));
  EXPECT_ERROR(kNotFound, ReadSuperblock(this->file_system(), this->root_));
  EXPECT_ERROR(kNotFound, InitialiseStore(this->file_system(), this->root_ + "/a/b", "lz4"));
  WriteBytes(this->file_system(), this->root_, "a file");
  EXPECT_FALSE(InitialiseStore(this->file_system(), this->root_, "lz4"));
  EXPECT_ERROR(kNotAStore, ReadSuperblock(this->file_system(), this->root_));
}

TYPED_TEST(SuperblockTest, WhatIsNotAStoreIsRefusedWithWhatToDo) {
  const auto missing = ReadSuperblock(this->file_system(), this->root_);
  ASSERT_ERROR(kNotFound, missing);
  EXPECT_NE(missing.error().next.find("quoin init"), std::string::npos);
  ASSERT_OK(this->file_system().MakeDirectory(this->root_, 0700));
  const auto empty = ReadSuperblock(this->file_system(), this->root_);
  ASSERT_ERROR(kNotAStore, empty);
  EXPECT_NE(empty.error().next.find("quoin init"), std::string::npos);
}

TYPED_TEST(SuperblockTest, ANewerFormatIsRefusedWhateverElseItHolds) {
  ASSERT_OK(this->file_system().MakeDirectory(this->root_, 0700));
  for (const std::string& text :
       {std::string(R"({"quoin": "store", "format": 2})"),
        std::string(R"({"quoin": "store", "format": 18446744073709551615, "id": 7})")}) {
    WriteBytes(this->file_system(), this->root_ + "/quoin.store", text);
    const auto read = ReadSuperblock(this->file_system(), this->root_);
    ASSERT_ERROR(kNewerFormat, read) << text;
    EXPECT_NE(read.error().next.find("newer quoin"), std::string::npos);
  }
}

TYPED_TEST(SuperblockTest, AStoreThatNamesNoCompressionHasLz4) {
  ASSERT_OK(this->file_system().MakeDirectory(this->root_, 0700));
  WriteBytes(this->file_system(), this->root_ + "/quoin.store",
             R"({"quoin": "store", "format": 1, "id": ")" + std::string(32, 'a') + "\"}");
  ASSERT_OK_AND_ASSIGN(const Superblock read, ReadSuperblock(this->file_system(), this->root_));
  EXPECT_EQ(read.compression, "lz4");
}

TYPED_TEST(SuperblockTest, AnUnknownCompressionIsRefusedByItsName) {
  ASSERT_OK(this->file_system().MakeDirectory(this->root_, 0700));
  WriteBytes(this->file_system(), this->root_ + "/quoin.store",
             R"({"quoin": "store", "format": 1, "compression": "rar", "id": ")" +
                 std::string(32, 'a') + "\"}");
  const auto read = ReadSuperblock(this->file_system(), this->root_);
  ASSERT_ERROR(kNewerFormat, read);
  EXPECT_NE(read.error().what.find("'rar'"), std::string::npos);
  EXPECT_NE(read.error().next.find("newer quoin"), std::string::npos);
}

TYPED_TEST(SuperblockTest, DamageIsCorrupt) {
  ASSERT_OK(InitialiseStore(this->file_system(), this->root_, "lz4"));
  const std::string path = this->root_ + "/quoin.store";
  const std::string good = ReadBytes(this->file_system(), path);
  const std::string id(32, 'a');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("7"), std::string("null"),
        std::string(4096, '['), std::string(5000, ' '), good.substr(0, good.size() / 2),
        std::string(R"({"quoin": "shop", "format": 1})"),
        std::string(R"({"quoin": "store", "format": 0})"),
        std::string(R"({"quoin": "store", "format": -1})"),
        std::string(R"({"quoin": "store", "format": "1"})"),
        std::string(R"({"quoin": "store", "format": 1, "compression": "lz4"})"),
        std::string(R"({"quoin": "store", "format": 1, "id": "x", "compression": "lz4"})"),
        R"({"quoin": "store", "format": 1, "compression": "", "id": ")" + id + "\"}",
        R"({"quoin": "store", "format": 1, "compression": 7, "id": ")" + id + "\"}"}) {
    WriteBytes(this->file_system(), path, text);
    EXPECT_ERROR(kCorrupt, ReadSuperblock(this->file_system(), this->root_)) << text.substr(0, 80);
  }
  // Any one wrong byte: an error, or a value that is not checked. Never a crash.
  for (size_t i = 0; i < good.size(); ++i) {
    std::string text = good;
    text[i] = static_cast<char>(text[i] ^ 0x80);
    WriteBytes(this->file_system(), path, text);
    EXPECT_ERROR(kCorrupt, ReadSuperblock(this->file_system(), this->root_)) << i;
  }
}

TEST(SuperblockCrashTest, ACrashLeavesNoStoreAndASecondAttemptFinishesIt) {
  bool finished = false;
  for (uint64_t step = 1; !finished; ++step) {
    for (const CrashMode mode :
         {CrashMode::kLoseAll, CrashMode::kRandom, CrashMode::kProcessOnly}) {
      SimulatedFileSystem file_system;
      file_system.FailAfter(step, FaultMode::kCrash);
      const auto made = InitialiseStore(file_system, "/store", "lz4");
      finished = !file_system.stopped();
      file_system.Crash(mode, step);
      const auto read = ReadSuperblock(file_system, "/store");
      if (made) {
        ASSERT_OK(read);
        EXPECT_EQ(read->store_id, made->store_id);
      } else if (!read) {
        EXPECT_NE(read.error().code, ErrorCode::kCorrupt) << "step " << step;
        EXPECT_OK(InitialiseStore(file_system, "/store", "lz4")) << "step " << step;
      }
    }
    ASSERT_LT(step, 40u);
  }
}

}  // namespace
}  // namespace quoin

#include "metadata/published.h"

#include <gtest/gtest.h>

#include <string>

#include "metadata/database_image.h"
#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

template <typename Storage>
class PublishedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(storage_.file_system.MakeDirectory(layout_.Temporaries(), 0700));
    ASSERT_OK(storage_.file_system.MakeDirectory(vdi_, 0700));
  }

  Storage storage_;
  const StoreLayout layout_{storage_.root};
  const std::string vdi_ = storage_.root + "/vdi";
};

TYPED_TEST_SUITE(PublishedTest, AllStorages);

TYPED_TEST(PublishedTest, WhatWasPublishedLastIsRead) {
  FileSystem& file_system = this->storage_.file_system;
  for (const VdiState& state : {FullState(), PlainState(), ChainState(300)}) {
    ASSERT_OK(WritePublished(file_system, this->layout_, this->vdi_, state));
    ASSERT_OK_AND_ASSIGN(const VdiState read, ReadPublished(file_system, this->vdi_));
    EXPECT_TRUE(read == state);
  }
  ASSERT_OK_AND_ASSIGN(const auto left, file_system.List(this->layout_.Temporaries()));
  EXPECT_TRUE(left.empty());
}

TYPED_TEST(PublishedTest, NothingPublishedIsNotFound) {
  EXPECT_ERROR(kNotFound, ReadPublished(this->storage_.file_system, this->vdi_));
}

TYPED_TEST(PublishedTest, AStateThatCannotBeIsRefusedAndTheOldCopyStays) {
  FileSystem& file_system = this->storage_.file_system;
  ASSERT_OK(WritePublished(file_system, this->layout_, this->vdi_, PlainState()));
  VdiState state = PlainState();
  state.vdi.head_seq = 9;
  EXPECT_ERROR(kInvalid, WritePublished(file_system, this->layout_, this->vdi_, state));
  ASSERT_OK_AND_ASSIGN(const VdiState read, ReadPublished(file_system, this->vdi_));
  EXPECT_TRUE(read == PlainState());
}

TEST(PublishedCrashTest, AReaderSeesTheOldCopyOrTheNewOneWhateverTheStep) {
  const StoreLayout layout("");
  for (uint64_t step = 1;; ++step) {
    SimulatedFileSystem file_system;
    ASSERT_OK(file_system.MakeDirectory(layout.Temporaries()));
    ASSERT_OK(file_system.MakeDirectory("/vdi"));
    ASSERT_OK(file_system.SyncDirectory("/"));
    ASSERT_OK(WritePublished(file_system, layout, "/vdi", PlainState()));
    file_system.FailAfter(step, FaultMode::kCrash);
    const Status written = WritePublished(file_system, layout, "/vdi", FullState());
    const bool finished = !file_system.stopped();
    file_system.Crash(CrashMode::kRandom, step);
    ASSERT_OK_AND_ASSIGN(const VdiState read, ReadPublished(file_system, "/vdi"));
    EXPECT_TRUE(read == FullState() || (!written && read == PlainState())) << "step " << step;
    if (finished) {
      EXPECT_GE(step, 4u);
      break;
    }
  }
}

TEST(DatabaseImageTest, EqualStatesGiveEqualBytes) {
  EXPECT_EQ(EncodeDatabase(FullState(), JournalForm::kRollback).value(),
            EncodeDatabase(FullState(), JournalForm::kRollback).value());
}

}  // namespace
}  // namespace quoin

// Handles for reading, while in the same process another handle makes it owner or lets go.
#include <gtest/gtest.h>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class ReadersTest : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    id_ = CreateWith("a", content_);
    layers_ = "/store/vdis/" + id_.ToString() + "/layers/";
  }

  const std::string content_ = PatternOf(1, 4 * kBlockBytes);
  Id id_;
  std::string layers_;
};

TEST_F(ReadersTest, AReaderSeesEverythingWhileAWriterOpensAndCloses) {
  VdiHandle reader = OpenVdi(id_, Access::kRead);
  int looked = 0;
  bool looking = false;
  fs_.SetObserver([&](Call, const std::string&) {
    if (std::exchange(looking, true)) return;
    EXPECT_TRUE(Read(*reader, 0, content_.size()) == content_);
    EXPECT_EQ(reader->size_bytes(), content_.size());
    ++looked;
    looking = false;
  });
  VdiHandle writer = OpenVdi(id_);
  ASSERT_OK(writer->Flush());
  ASSERT_OK(writer.Close());
  fs_.SetObserver(nullptr);
  EXPECT_GT(looked, 10);
}

TEST_F(ReadersTest, AnOpenForWritingThatFailsLeavesReadersWhatTheyHave) {
  VdiHandle reader = OpenVdi(id_, Access::kRead);
  for (const Call call : {Call::kList, Call::kOpen, Call::kLock}) {
    SCOPED_TRACE(static_cast<int>(call));
    fs_.Plan({.mode = FaultMode::kErrors, .only_call = call, .only_path_part = "/layers"});
    EXPECT_ERROR(kIo, store_->OpenVdi(id_, Access::kReadWrite));
    EXPECT_TRUE(Read(*reader, 0, content_.size()) == content_);
    fs_.ClearFaults();
    EXPECT_TRUE(Read(*reader, 0, content_.size()) == content_);
  }
  VdiHandle writer = OpenVdi(id_);
  EXPECT_TRUE(Read(*writer, 0, content_.size()) == content_);
}

TEST_F(ReadersTest, IfTheHeadCannotBeOpenedAgainForReadersTheyGetAnErrorAndNeverZeros) {
  VdiHandle reader = OpenVdi(id_, Access::kRead);
  VdiHandle writer = OpenVdi(id_);
  const std::string changed = PatternOf(2, content_.size());
  ASSERT_OK(writer->Write(0, AsBytes(changed)));
  fs_.Plan({.mode = FaultMode::kErrors, .only_call = Call::kOpen, .only_path_part = layers_ + "1-"});
  EXPECT_FALSE(writer.Close());
  fs_.ClearFaults();
  std::string bytes(content_.size(), '\xee');
  EXPECT_ERROR(kIo, reader->Read(0, std::as_writable_bytes(std::span(bytes))));
  EXPECT_ERROR(kIo, reader->SeekData(0));
  EXPECT_OK(store_->Describe(id_));
  // What was written is there for whoever opens it, and readers get it back as well.
  EXPECT_TRUE(Content(id_) == changed);
  EXPECT_TRUE(Read(*reader, 0, changed.size()) == changed);
  VdiHandle again = OpenVdi(id_);
  EXPECT_TRUE(Read(*again, 0, changed.size()) == changed);
}

TEST_F(ReadersTest, AWriterThatCannotLetGoCleanlyTakesTheContentsFromReadersButNotFromTheVdi) {
  VdiHandle reader = OpenVdi(id_, Access::kRead);
  VdiHandle writer = OpenVdi(id_);
  ASSERT_OK(writer->Write(0, AsBytes(PatternOf(2, kBlockBytes))));
  fs_.Plan({.mode = FaultMode::kErrorOnce, .only_call = Call::kSync, .only_path_part = layers_});
  EXPECT_FALSE(writer.Close());
  std::string bytes(kBlockBytes, '\xee');
  EXPECT_ERROR(kIo, reader->Read(0, std::as_writable_bytes(std::span(bytes))));
  EXPECT_TRUE(Content(id_).substr(kBlockBytes) == content_.substr(kBlockBytes));
}

}  // namespace
}  // namespace quoin

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

// --- readers of what another host writes -------------------------------------------------------------

// Counts what the kernel's caches would be told.
class CountingObserver final : public StoreObserver {
 public:
  void NameChanged(const std::string&) override {}
  void SnapshotChanged(const Id&, const std::string&) override {}
  void SizeOrAttributesChanged(const Id&) override {}
  void ContentReplaced(const Id&) override { ++replaced_; }
  int TakeReplaced() { return replaced_.exchange(0); }

 private:
  std::atomic<int> replaced_{0};
};

class ReadersOfAnotherHostTest : public ReadersTest {
 protected:
  void SetUp() override {
    ReadersTest::SetUp();
    other_ = OpenAs(2);
    other_->SetObserver(&observer_);
    reader_ = OpenThere(Access::kRead);
  }

  VdiHandle OpenThere(Access access) {
    Result<VdiHandle> handle = other_->OpenVdi(id_, access);
    EXPECT_OK(handle);
    return handle ? std::move(*handle) : VdiHandle();
  }

  void WriteHere(const std::string& bytes) {
    VdiHandle writer = OpenVdi(id_);
    ASSERT_OK(writer->Write(0, AsBytes(bytes)));
    ASSERT_OK(writer.Close());
  }

  std::string SeenThere() { return Read(*reader_, 0, reader_->size_bytes()); }

  // What the other store's follower does.
  int Follow() {
    reader_->FollowPublished();
    return reader_->TakeNewContent() ? 1 : 0;
  }

  const std::string changed_ = PatternOf(2, content_.size());
  std::unique_ptr<Store> other_;
  CountingObserver observer_;
  VdiHandle reader_;
};

TEST_F(ReadersOfAnotherHostTest, WhoFollowsSeesWhatTheOwnerLeft) {
  EXPECT_EQ(Follow(), 0);
  WriteHere(changed_);
  EXPECT_EQ(Follow(), 1);
  EXPECT_TRUE(SeenThere() == changed_);
  EXPECT_EQ(Follow(), 0);
}

TEST_F(ReadersOfAnotherHostTest, WhoFollowsSeesAVdiGrow) {
  WriteHere(changed_ + changed_);
  EXPECT_EQ(Follow(), 1);
  EXPECT_TRUE(SeenThere() == changed_ + changed_);
}

// Removing a snapshot publishes what is below the head only: to go there would be to go back in time.
TEST_F(ReadersOfAnotherHostTest, WhoFollowsNeverGoesBackToWhatIsPublishedWithoutTheHead) {
  Snapshot("a", "one");
  WriteHere(changed_);
  EXPECT_EQ(Follow(), 1);
  VdiHandle writer = OpenVdi(id_);
  ASSERT_OK(store_->RenameSnapshot(id_, "one", "two"));
  ASSERT_OK(other_->FindSnapshot(id_, "two"));
  EXPECT_EQ(Follow(), 0);
  EXPECT_TRUE(SeenThere() == changed_);
  const std::string last = PatternOf(3, content_.size());
  ASSERT_OK(writer->Write(0, AsBytes(last)));
  ASSERT_OK(writer.Close());
  EXPECT_EQ(Follow(), 1);
  EXPECT_TRUE(SeenThere() == last);
}

TEST_F(ReadersOfAnotherHostTest, TheKernelIsToldWhenTheirHostBecomesTheOwnerAfterAnother) {
  WriteHere(changed_);
  EXPECT_EQ(observer_.TakeReplaced(), 0);
  VdiHandle writer = OpenThere(Access::kReadWrite);
  EXPECT_EQ(observer_.TakeReplaced(), 1);
  EXPECT_TRUE(SeenThere() == changed_);
  ASSERT_OK(writer.Close());
  // Nobody else came in between.
  writer = OpenThere(Access::kReadWrite);
  EXPECT_EQ(observer_.TakeReplaced(), 0);
}

TEST_F(ReadersOfAnotherHostTest, TheKernelIsToldWhenAnotherReaderOpensWhatIsNewer) {
  WriteHere(changed_);
  const VdiHandle second = OpenThere(Access::kRead);
  EXPECT_EQ(observer_.TakeReplaced(), 1);
  EXPECT_TRUE(SeenThere() == changed_);
}

TEST_F(ReadersOfAnotherHostTest, WhoFollowsKeepsWhatItHasWhileTheNewCannotBeRead) {
  WriteHere(changed_);
  fs_.Plan({.mode = FaultMode::kErrors, .only_call = Call::kOpen, .only_path_part = "published.db"});
  EXPECT_EQ(Follow(), 0);
  fs_.ClearFaults();
  EXPECT_EQ(Follow(), 1);
  EXPECT_TRUE(SeenThere() == changed_);
}

// --- readers of what another host publishes anew meanwhile --------------------------------------------

class ReadersOfWhatIsSealedTest : public ReadersTest {
 protected:
  void SetUp() override {
    ReadersTest::SetUp();
    owner_ = OpenVdi(id_);
    snapshot_ = Snapshot("a", "one");
    ASSERT_OK(owner_->FinishFrozen());
    other_ = OpenAs(2);
  }

  // Right before the other host opens the snapshot's layer, its owner seals and removes it.
  template <typename Request>
  void WhileTheLayerIsSealed(Call call, Request request) {
    Within(call, "/layers/", request, [this] { EXPECT_OK(store_->SealVdi(id_, false)); });
  }

  VdiHandle owner_;
  Id snapshot_;
  std::unique_ptr<Store> other_;
};

TEST_F(ReadersOfWhatIsSealedTest, TheSnapshotIsOpened) {
  WhileTheLayerIsSealed(Call::kOpen, [this] {
    const Result<std::shared_ptr<Image>> image = other_->OpenSnapshot(id_, snapshot_);
    ASSERT_OK(image);
    EXPECT_TRUE(Read(**image, 0, content_.size()) == content_);
  });
}

TEST_F(ReadersOfWhatIsSealedTest, TheVdiIsOpened) {
  WhileTheLayerIsSealed(Call::kOpen, [this] {
    const Result<VdiHandle> handle = other_->OpenVdi(id_, Access::kRead);
    ASSERT_OK(handle);
    EXPECT_TRUE(Read(**handle, 0, content_.size()) == content_);
  });
}

TEST_F(ReadersOfWhatIsSealedTest, ACloneIsMade) {
  WhileTheLayerIsSealed(Call::kLink, [this] {
    const Result<Id> clone = other_->CloneVdi(id_, "one", "copy", Attributes());
    ASSERT_OK(clone);
    EXPECT_TRUE(Content(*clone) == content_);
  });
}

TEST_F(ReadersOfWhatIsSealedTest, ALayerThatIsNowhereIsAnError) {
  const Result<std::vector<DirectoryEntry>> entries = fs_.List(layers_);
  ASSERT_OK(entries);
  for (const DirectoryEntry& entry : *entries) {
    if (!entry.name.starts_with("1-")) continue;
    ASSERT_OK(fs_.Remove(layers_ + entry.name));
  }
  EXPECT_ERROR(kCorrupt, other_->OpenSnapshot(id_, snapshot_));
}

TEST_F(ReadersOfAnotherHostTest, AFollowerLooksByItself) {
  StoreOptions options = TestOptions();
  options.announces_itself = true;  // as a daemon's
  const Result<std::unique_ptr<Store>> third =
      Store::Open(fs_, "/store", TestHost(3), options);
  ASSERT_OK(third);
  CountingObserver observer;
  (*third)->SetObserver(&observer);
  Result<VdiHandle> reader = (*third)->OpenVdi(id_, Access::kRead);
  ASSERT_OK(reader);
  WriteHere(changed_);
  std::string seen;
  for (int i = 0; i < 500 && seen != changed_; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    seen = Read(**reader, 0, changed_.size());
  }
  EXPECT_TRUE(seen == changed_);
  // It is told a moment after the bytes are there.
  int replaced = 0;
  for (int i = 0; i < 500 && replaced == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    replaced = observer.TakeReplaced();
  }
  EXPECT_GE(replaced, 1);
  (*third)->SetObserver(nullptr);
}

}  // namespace
}  // namespace quoin

// What a snapshot and its removal leave to be published later, and who does not wait for that.
#include <gtest/gtest.h>

#include <algorithm>

#include "metadata/published.h"
#include "metadata/store_layout.h"
#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class PublishingTest : public StoreWorld {
 protected:
  std::string Folder(const Id& id) const { return "/store/vdis/" + id.ToString(); }

  bool IsPublished(const Id& id, const std::string& snapshot) {
    const Result<VdiState> state = ReadPublished(fs_, Folder(id));
    EXPECT_OK(state);
    return state && std::any_of(state->snapshots.begin(), state->snapshots.end(),
                                [&](const auto& s) { return s.name == snapshot; });
  }

  size_t LayerFiles(const Id& id) {
    const Result<std::vector<DirectoryEntry>> entries = fs_.List(StoreLayout::Layers(Folder(id)));
    EXPECT_OK(entries);
    return entries ? entries->size() : 0;
  }

  const std::string old_ = PatternOf(1, 4 * kBlockBytes);
  const std::string new_ = PatternOf(2, 4 * kBlockBytes);
};

TEST_F(PublishingTest, AGuestWritesAndFlushesWhileItsSnapshotsArePublished) {
  const Id id = CreateWith("a", old_);
  VdiHandle guest = OpenVdi(id);
  Within(
      Call::kRename, "/published.db",
      [&] {
        Snapshot("a", "s");
        EXPECT_OK(guest->FinishFrozen());
      },
      [&] {
        EXPECT_OK(guest->Write(0, AsBytes(new_)));
        EXPECT_OK(guest->Flush());
      });
  EXPECT_TRUE(IsPublished(id, "s"));
  KillProcess({&guest});
  store_ = OpenAs(1);
  EXPECT_TRUE(Content(id) == new_);
}

// What it shows is published before the older state is, or after it; never is the older one left.
TEST_F(PublishingTest, ASnapshotThatIsTakenWhileOthersArePublishedIsPublishedToo) {
  const Id id = CreateWith("a", old_);
  VdiHandle guest = OpenVdi(id);
  Within(
      Call::kRename, "/published.db",
      [&] {
        Snapshot("a", "s");
        EXPECT_OK(guest->FinishFrozen());
      },
      [&] {
        EXPECT_OK(guest->Write(0, AsBytes(new_)));
        Snapshot("a", "t");
      });
  EXPECT_OK(guest->FinishFrozen());
  EXPECT_TRUE(IsPublished(id, "s") && IsPublished(id, "t"));
}

TEST_F(PublishingTest, ARemovedSnapshotIsGoneAtOnceAndItsFilesOnceThatIsPublished) {
  const Id id = CreateWith("a", old_);
  Snapshot("a", "s");
  VdiHandle guest = OpenVdi(id);
  ASSERT_OK(guest->Write(0, AsBytes(new_)));
  ASSERT_OK(guest.Close());
  // The head becomes a layer that only the safety snapshot needs.
  ASSERT_OK_AND_ASSIGN(const std::string safety, store_->Rollback(id, "s"));
  guest = OpenVdi(id);
  ASSERT_OK(guest->FinishFrozen());
  const size_t files = LayerFiles(id);

  fs_.Plan({.mode = FaultMode::kErrors,
            .only_call = Call::kRename,
            .only_path_part = "/published.db"});
  ASSERT_OK(store_->RemoveSnapshot(id, safety));
  EXPECT_ERROR(kNotFound, store_->FindSnapshot(id, safety));
  EXPECT_ERROR(kIo, guest->FinishFrozen());
  EXPECT_TRUE(IsPublished(id, safety));
  EXPECT_EQ(LayerFiles(id), files);

  fs_.ClearFaults();
  EXPECT_OK(guest->FinishFrozen());
  EXPECT_FALSE(IsPublished(id, safety));
  EXPECT_TRUE(IsPublished(id, "s"));
  EXPECT_EQ(LayerFiles(id), files - 2);
  EXPECT_TRUE(Read(*guest, 0, old_.size()) == old_);
}

}  // namespace
}  // namespace quoin

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

  // Takes the snapshot "s" and publishes it; `other` comes just before it is there.
  template <typename Other>
  void WhileASnapshotIsPublished(VdiHandle& guest, Other other) {
    Within(
        Call::kRename, "/published.db",
        [&] {
          Snapshot("a", "s");
          EXPECT_OK(guest->FinishFrozen());
        },
        other);
  }

  // Rolls the VDI back to a snapshot "s" and opens it. Its snapshot `safety_` alone needs one of its
  // layers; if `unfinished`, that layer's list of blocks is still to be written.
  VdiHandle RollBack(const Id& id, bool unfinished) {
    Snapshot("a", "s");
    VdiHandle guest = OpenVdi(id);
    EXPECT_OK(guest->Write(0, AsBytes(new_)));
    EXPECT_OK(guest.Close());
    if (unfinished) Refuse(Call::kRename, ".owned");
    EXPECT_EQ(store_->Rollback(id, "s").has_value(), !unfinished);
    fs_.ClearFaults();
    guest = OpenVdi(id);
    const Result<std::vector<SnapshotRecord>> snapshots = store_->ListSnapshots(id);
    EXPECT_OK(snapshots);
    for (const SnapshotRecord& snapshot : snapshots.value_or(std::vector<SnapshotRecord>())) {
      if (snapshot.name != "s") safety_ = snapshot.name;
    }
    return guest;
  }

  void Refuse(Call call, const std::string& path_part, uint64_t at = 1) {
    fs_.Plan({.at = at, .mode = FaultMode::kErrors, .only_call = call, .only_path_part = path_part});
  }

  std::string safety_;
  const std::string old_ = PatternOf(1, 4 * kBlockBytes);
  const std::string new_ = PatternOf(2, 4 * kBlockBytes);
};

TEST_F(PublishingTest, AGuestWritesAndFlushesWhileItsSnapshotsArePublished) {
  const Id id = CreateWith("a", old_);
  VdiHandle guest = OpenVdi(id);
  WhileASnapshotIsPublished(guest, [&] {
    EXPECT_OK(guest->Write(0, AsBytes(new_)));
    EXPECT_OK(guest->Flush());
  });
  EXPECT_TRUE(IsPublished(id, "s"));
  KillProcess({&guest});
  store_ = OpenAs(1);
  EXPECT_TRUE(Content(id) == new_);
}

// Never is the older state the one that is left.
TEST_F(PublishingTest, ASnapshotThatIsTakenWhileOthersArePublishedIsPublishedToo) {
  const Id id = CreateWith("a", old_);
  VdiHandle guest = OpenVdi(id);
  WhileASnapshotIsPublished(guest, [&] {
    EXPECT_OK(guest->Write(0, AsBytes(new_)));
    Snapshot("a", "t");
  });
  EXPECT_OK(guest->FinishFrozen());
  EXPECT_TRUE(IsPublished(id, "s") && IsPublished(id, "t"));
}

TEST_F(PublishingTest, ARemovedSnapshotIsGoneAtOnceAndItsFilesOnceThatIsPublished) {
  const Id id = CreateWith("a", old_);
  VdiHandle guest = RollBack(id, false);
  const size_t files = LayerFiles(id);
  Refuse(Call::kRename, "/published.db");
  ASSERT_OK(store_->RemoveSnapshot(id, safety_));
  EXPECT_ERROR(kNotFound, store_->FindSnapshot(id, safety_));
  EXPECT_ERROR(kIo, guest->FinishFrozen());
  EXPECT_TRUE(IsPublished(id, safety_));
  EXPECT_EQ(LayerFiles(id), files);

  fs_.ClearFaults();
  EXPECT_OK(guest->FinishFrozen());
  EXPECT_FALSE(IsPublished(id, safety_));
  EXPECT_TRUE(IsPublished(id, "s"));
  EXPECT_EQ(LayerFiles(id), files - 2);
  EXPECT_TRUE(Read(*guest, 0, old_.size()) == old_);
}

// What is being published still shows it, so its files stay for the readers of that.
TEST_F(PublishingTest, ASnapshotThatIsRemovedWhileItIsPublishedKeepsItsFilesUntilTheNextTime) {
  const Id id = CreateWith("a", old_);
  VdiHandle guest = RollBack(id, false);
  const size_t files = LayerFiles(id);
  ASSERT_OK(guest->Write(0, AsBytes(new_)));
  Within(
      Call::kRename, "/published.db",
      [&] {
        Snapshot("a", "t");
        (void)guest->FinishFrozen();
      },
      [&] {
        ASSERT_OK(store_->RemoveSnapshot(id, safety_));
        Refuse(Call::kRename, "/published.db", 2);  // not this one
      });
  EXPECT_ERROR(kIo, guest->FinishFrozen());
  EXPECT_TRUE(IsPublished(id, safety_) && IsPublished(id, "t"));
  EXPECT_EQ(LayerFiles(id), files + 2);  // the new head and the list of the old one

  fs_.ClearFaults();
  EXPECT_OK(guest->FinishFrozen());
  EXPECT_FALSE(IsPublished(id, safety_));
  EXPECT_EQ(LayerFiles(id), files);
}

// Its row must not come back.
TEST_F(PublishingTest, ASnapshotThatIsRemovedWhileItsLayerIsWrittenDownIsGone) {
  const Id id = CreateWith("a", old_);
  VdiHandle guest = RollBack(id, true);
  Within(
      Call::kRename, ".owned", [&] { EXPECT_OK(guest->FinishFrozen()); },
      [&] { ASSERT_OK(store_->RemoveSnapshot(id, safety_)); });
  ASSERT_OK(guest->FinishFrozen());
  ASSERT_OK(guest.Close());
  store_ = OpenAs(1);
  guest = OpenVdi(id);  // from its database
  ASSERT_OK(guest->Write(0, AsBytes(old_)));
  ASSERT_OK(guest.Close());
  ASSERT_OK_AND_ASSIGN(const VdiState published, ReadPublished(fs_, Folder(id)));
  EXPECT_EQ(published.snapshots.size(), 1u);
  EXPECT_EQ(published.layers.size(), 2u) << "what s shows, and the head";
  EXPECT_TRUE(Content(id) == old_);
}

}  // namespace
}  // namespace quoin

#include "fuse/inodes.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/result_matchers.h"

namespace quoin {
namespace {

Id IdWithPrefix(const std::string& prefix, char rest) {
  return *Id::Parse(prefix + std::string(32 - prefix.size(), rest));
}

NodeKey VdiKey(const Id& id) { return {NodeKind::kVdi, id, {}, 0}; }
NodeKey FolderKey(uint64_t number) { return {NodeKind::kFolder, {}, {}, number}; }
NodeKey MirrorKey(uint64_t number) { return {NodeKind::kSnapshotFolder, {}, {}, number}; }

class InodesTest : public ::testing::Test {
 protected:
  std::shared_ptr<Node> Fixed(NodeKind kind) const {
    return inodes_.Find(PreferredNumber({kind, {}, {}, 0}));
  }
  std::shared_ptr<Node> Add(const NodeKey& key, const Node& parent, const std::string& name) {
    return inodes_.Remember(key, parent, name, nullptr);
  }

  Inodes inodes_;
};

TEST_F(InodesTest, TheRootIsTheKernelsRoot) {
  ASSERT_NE(Fixed(NodeKind::kRoot), nullptr);
  EXPECT_EQ(Fixed(NodeKind::kRoot)->number, 1U);
}

TEST_F(InodesTest, FixedNodesAreNeverForgotten) {
  inodes_.Forget(1, 1000);
  EXPECT_NE(Fixed(NodeKind::kRoot), nullptr);
}

TEST_F(InodesTest, NumbersComeFromIdsAndFitSignedColumns) {
  const Id id = IdWithPrefix("ffffffffffffff01", '7');
  EXPECT_EQ(PreferredNumber(VdiKey(id)), 0x7fffffffffffff01U);
}

TEST_F(InodesTest, TheNodesOfOneObjectHaveDifferentNumbers) {
  const Id id = IdWithPrefix("1234567890abcdef", '7');
  std::set<uint64_t> numbers;
  for (const NodeKind kind : {NodeKind::kVdi, NodeKind::kSnapshotVdi, NodeKind::kLatest}) {
    numbers.insert(PreferredNumber({kind, id, {}, 0}));
  }
  numbers.insert(PreferredNumber(FolderKey(77)));
  numbers.insert(PreferredNumber(MirrorKey(77)));
  EXPECT_EQ(numbers.size(), 5U);
}

TEST_F(InodesTest, SmallIdsDoNotTakeTheNumbersOfFixedNodes) {
  for (int i = 0; i < 16; ++i) {
    const std::string digit(1, "0123456789abcdef"[i]);
    const Id id = IdWithPrefix("000000000000000" + digit, '7');
    EXPECT_GE(PreferredNumber(VdiKey(id)), kFirstFreeNumber);
  }
}

TEST_F(InodesTest, CollidingIdsGetDifferentNumbersAndKeepThem) {
  const auto vdis = Fixed(NodeKind::kVdis);
  const Id first = IdWithPrefix("1234567890abcdef", '1');
  const Id second = IdWithPrefix("1234567890abcdef", '2');
  const auto first_node = Add(VdiKey(first), *vdis, "first");
  const auto second_node = Add(VdiKey(second), *vdis, "second");
  EXPECT_NE(first_node->number, second_node->number);
  EXPECT_EQ(inodes_.Find(first_node->number)->key.vdi, first);
  EXPECT_EQ(inodes_.Find(second_node->number)->key.vdi, second);
  // Even after the one that took the number first is gone.
  inodes_.Forget(first_node->number, 1);
  EXPECT_EQ(inodes_.NumberOf(VdiKey(second)), second_node->number);
  EXPECT_EQ(Add(VdiKey(second), *vdis, "second"), second_node);
}

TEST_F(InodesTest, ANodeLivesUntilAllReferencesAreForgotten) {
  const auto vdis = Fixed(NodeKind::kVdis);
  const NodeKey key = VdiKey(IdWithPrefix("1234567890abcdef", '1'));
  const uint64_t number = Add(key, *vdis, "a")->number;
  Add(key, *vdis, "a");
  inodes_.Forget(number, 1);
  EXPECT_NE(inodes_.Find(number), nullptr);
  inodes_.Forget(number, 1);
  EXPECT_EQ(inodes_.Find(number), nullptr);
}

TEST_F(InodesTest, PathsFollowAFolderWhereverItIsMovedOnBothSides) {
  const auto vdis = Fixed(NodeKind::kVdis);
  const auto snapshots = Fixed(NodeKind::kSnapshots);
  const auto lab = Add(FolderKey(1), *vdis, "lab");
  const auto deep = Add(FolderKey(2), *lab, "deep");
  const auto lab_mirror = Add(MirrorKey(1), *snapshots, "lab");
  const auto deep_mirror = Add(MirrorKey(2), *lab_mirror, "deep");
  const auto other = Add(FolderKey(3), *vdis, "other");
  ASSERT_OK_AND_ASSIGN(const std::string before, inodes_.PathIn(*deep_mirror, "db02"));
  EXPECT_EQ(before, "lab/deep/db02");
  inodes_.MoveFolder(1, *other, "new");
  ASSERT_OK_AND_ASSIGN(const std::string after, inodes_.PathIn(*deep, "db02"));
  EXPECT_EQ(after, "other/new/deep/db02");
  ASSERT_OK_AND_ASSIGN(const std::string mirrored, inodes_.PathIn(*deep_mirror, "db02"));
  EXPECT_EQ(mirrored, "other/new/deep/db02");
}

TEST_F(InodesTest, FoldersInACircleAreAnErrorAndNotALoop) {
  const auto vdis = Fixed(NodeKind::kVdis);
  const auto a = Add(FolderKey(1), *vdis, "a");
  const auto b = Add(FolderKey(2), *a, "b");
  Add(FolderKey(1), *b, "a");  // as another host's two renames can make it look
  EXPECT_ERROR(kNotFound, inodes_.PathOf(*a));
  Add(FolderKey(1), *vdis, "a");
  EXPECT_OK(inodes_.PathOf(*b));
}

TEST_F(InodesTest, OnlyTheToucherOfASnapshotIsItsCreator) {
  const auto vdis = Fixed(NodeKind::kVdis);
  const auto node = Add(VdiKey(IdWithPrefix("1234567890abcdef", '1')), *vdis, "a");
  EXPECT_FALSE(inodes_.WasJustCreatedBy(*node, 0));
  inodes_.SetCreator(*node, 4711);
  EXPECT_TRUE(inodes_.WasJustCreatedBy(*node, 4711));
  EXPECT_FALSE(inodes_.WasJustCreatedBy(*node, 4712));
}

}  // namespace
}  // namespace quoin

// Removing a VDI while others rename, create and open stores.
#include <gtest/gtest.h>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class RemovalTest : public StoreWorld {
 protected:
  std::vector<std::string> AllNames() {
    std::vector<std::string> names;
    const Result<std::vector<NamedVdi>> all = store_->ListAll("");
    EXPECT_OK(all);
    if (!all) return names;
    for (const NamedVdi& named : *all) names.push_back(named.name);
    return names;
  }
};

TEST_F(RemovalTest, ANameThatLeadsToAnotherVdiMeanwhileIsNotRemoved) {
  const Id a = CreateWith("a", PatternOf(1, kBlockBytes));
  const std::unique_ptr<Store> other = OpenAs(1);
  Id replacement;
  Status removed;
  Within(
      Call::kOpen, a.ToString() + "/writer.lock", [&] { removed = store_->RemoveVdi("a", false); },
      [&] {
        ASSERT_OK(other->Rename("a", "c"));
        ASSERT_OK_AND_ASSIGN(replacement, other->CreateVdi("a", kBlockBytes, Attributes()));
      });
  EXPECT_ERROR(kNotFound, removed);
  EXPECT_EQ(AllNames(), (std::vector<std::string>{"a", "c"}));
  ASSERT_OK_AND_ASSIGN(const NameFacts facts, store_->Lookup("a"));
  EXPECT_EQ(facts.vdi, replacement);
  EXPECT_TRUE(Content(a) == PatternOf(1, kBlockBytes));
}

TEST_F(RemovalTest, ARemovedVdiKeepsNoNameThoughItsFolderIsRenamedMeanwhile) {
  ASSERT_OK(store_->MakeFolder("lab"));
  const Id a = CreateWith("lab/a", PatternOf(1, kBlockBytes));
  const std::unique_ptr<Store> other = OpenAs(1);
  Within(
      Call::kRename, a.ToString(), [&] { EXPECT_OK(store_->RemoveVdi("lab/a", false)); },
      [&] { ASSERT_OK(other->Rename("lab", "lab2")); });
  EXPECT_EQ(AllNames(), std::vector<std::string>());
}

// Opening a store sweeps what removals have left. One that meets a removal under way must not fail,
// nor make it fail.
TEST_F(RemovalTest, AStoreThatIsOpenedDuringARemovalFailsNeither) {
  for (int n = 1; n < 200; ++n) {
    SCOPED_TRACE(n);
    CreateWith("a", PatternOf(1, kBlockBytes));
    int calls = 0;
    bool opened = false;
    fs_.SetObserver([&](Call, const std::string&) {
      if (opened || ++calls < n) return;
      opened = true;
      const std::unique_ptr<Store> other = OpenAs(1);
    });
    EXPECT_OK(store_->RemoveVdi("a", false));
    fs_.SetObserver(nullptr);
    EXPECT_EQ(AllNames(), std::vector<std::string>());
    ASSERT_OK_AND_ASSIGN(const std::vector<DirectoryEntry> left, fs_.List("/store/vdis"));
    EXPECT_TRUE(left.empty());
    if (!opened) return;
  }
  FAIL() << "a removal has more calls than expected";
}

// The same of creations and of other stores that are just being opened.
TEST_F(RemovalTest, AStoreThatIsOpenedDuringACreationFailsNeither) {
  for (int n = 1; n < 300; ++n) {
    SCOPED_TRACE(n);
    int calls = 0;
    bool opened = false;
    fs_.SetObserver([&](Call, const std::string&) {
      if (opened || ++calls < n) return;
      opened = true;
      const std::unique_ptr<Store> other = OpenAs(1);
    });
    EXPECT_OK(store_->CreateVdi("a", kBlockBytes, Attributes()));
    fs_.SetObserver(nullptr);
    EXPECT_EQ(AllNames(), std::vector<std::string>{"a"});
    EXPECT_OK(store_->RemoveVdi("a", false));
    if (!opened) return;
  }
  FAIL() << "a creation has more calls than expected";
}

TEST_F(RemovalTest, TwoStoresThatAreOpenedAtOnceBothOpen) {
  for (int n = 1; n < 100; ++n) {
    SCOPED_TRACE(n);
    int calls = 0;
    bool opened = false;
    fs_.SetObserver([&](Call, const std::string&) {
      if (opened || ++calls < n) return;
      opened = true;
      const std::unique_ptr<Store> other = OpenAs(1);
    });
    const std::unique_ptr<Store> mine = OpenAs(1);
    fs_.SetObserver(nullptr);
    EXPECT_NE(mine, nullptr);
    if (!opened) return;
  }
  FAIL() << "opening a store has more calls than expected";
}

}  // namespace
}  // namespace quoin

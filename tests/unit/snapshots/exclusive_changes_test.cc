// Rollback and shrinking need the VDI to themselves: who opens it meanwhile waits.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class ExclusiveChangesTest : public StoreWorld {
 protected:
  // Runs `change`; in the middle of it, another thread opens the VDI and writes a block, and is not
  // waited for longer than it would need if nothing held it up.
  template <typename Change>
  void WithWriterMeanwhile(const Id& id, uint64_t offset, Change change) {
    std::thread writer;
    std::atomic<bool> met{false};  // the observer is called by all threads
    fs_.SetObserver([&](Call call, const std::string& path) {
      const bool is_commit =
          call == Call::kSync && path.find(id.ToString() + "/vdi.db-wal") != std::string::npos;
      if (!is_commit || met.exchange(true)) return;
      writer = std::thread([this, &id, offset] {
        Result<VdiHandle> handle = store_->OpenVdi(id, Access::kReadWrite);
        ASSERT_OK(handle);
        EXPECT_OK((*handle)->Write(offset, AsBytes(written_)));
        EXPECT_OK((*handle)->Flush());
        EXPECT_OK(handle->Close());
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    });
    change();
    ASSERT_TRUE(met.load());
    writer.join();
    store_.reset();
    fs_.SetObserver(nullptr);
    store_ = OpenAs(1);
  }

  const std::string written_ = PatternOf(9, kBlockBytes);
};

TEST_F(ExclusiveChangesTest, AWriteThatComesDuringARollbackIsInTheVdiAndNotInItsSnapshots) {
  const std::string first = PatternOf(1, 4 * kBlockBytes);
  const std::string second = PatternOf(2, 4 * kBlockBytes);
  const Id a = CreateWith("a", first);
  const Id s = Snapshot("a", "s");
  {
    VdiHandle handle = OpenVdi(a);
    ASSERT_OK(handle->Write(0, AsBytes(second)));
  }
  std::string safety;
  WithWriterMeanwhile(a, kBlockBytes, [&] {
    const Result<std::string> name = store_->Rollback(a, "s");
    ASSERT_OK(name);
    safety = *name;
  });
  ASSERT_OK_AND_ASSIGN(const SnapshotRecord kept, store_->FindSnapshot(a, safety));
  EXPECT_TRUE(SnapshotContent(a, kept.id) == second);
  EXPECT_TRUE(SnapshotContent(a, s) == first);
  std::string expected = first;
  expected.replace(kBlockBytes, kBlockBytes, written_);
  EXPECT_TRUE(Content(a) == expected);
}

TEST_F(ExclusiveChangesTest, AWriteBehindTheNewEndOfADiskThatIsBeingCutIsKept) {
  const std::string content = PatternOf(1, 4 * kBlockBytes);
  const Id a = CreateWith("a", content);
  WithWriterMeanwhile(a, 3 * kBlockBytes,
                      [&] { EXPECT_OK(store_->ResizeVdi(a, 2 * kBlockBytes, true, false)); });
  EXPECT_TRUE(Content(a) == content.substr(0, 2 * kBlockBytes) +
                                std::string(kBlockBytes, '\0') + written_);
}

}  // namespace
}  // namespace quoin

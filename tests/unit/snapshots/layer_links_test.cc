// Linking layers out of a folder from which they are being removed.
#include "snapshots/layer_links.h"

#include <gtest/gtest.h>

#include "tests/unit/snapshots/store_world.h"

namespace quoin {
namespace {

class LayerLinksTest : public StoreWorld {};

// Later files of a layer exist only where they were written, so one that is missing may be none, or
// one that has just been removed: a clone must not come to be without it.
TEST_F(LayerLinksTest, ACloneOfASnapshotThatIsRemovedMeanwhileIsWholeOrIsNot) {
  const std::string far = PatternOf(1, kBlockBytes);
  const std::string near = PatternOf(2, kBlockBytes);
  const std::unique_ptr<Store> other = OpenAs(1);
  for (int n = 1; n <= 4; ++n) {
    SCOPED_TRACE("at link " + std::to_string(n));
    const Id a = Create("a", (kLayerSegmentBytes + (uint64_t{1} << 20)) / kBlockBytes);
    {
      VdiHandle handle = OpenVdi(a);
      ASSERT_OK(handle->Write(0, AsBytes(near)));
      ASSERT_OK(handle->Write(kLayerSegmentBytes, AsBytes(far)));
    }
    Snapshot("a", "s");
    {
      VdiHandle handle = OpenVdi(a);
      ASSERT_OK(handle->Zero(0, handle->size_bytes()));
    }
    ASSERT_OK(store_->CreateSnapshots({{"a", "t"}}));
    int links = 0;
    fs_.SetObserver([&](Call call, const std::string& path) {
      if (call != Call::kLink || path.find("/layers/") == std::string::npos || ++links != n) return;
      EXPECT_OK(other->RemoveVdi("a", true));
    });
    const Result<Id> clone = store_->CloneVdi(a, "s", "b", Attributes());
    fs_.SetObserver(nullptr);
    if (clone) {
      VdiHandle reader = OpenVdi(*clone, Access::kRead);
      ASSERT_TRUE(reader);
      EXPECT_TRUE(Read(*reader, 0, kBlockBytes) == near);
      EXPECT_TRUE(Read(*reader, kLayerSegmentBytes, kBlockBytes) == far);
      ASSERT_OK(reader.Close());
      EXPECT_OK(store_->RemoveVdi("b", false));
    }
    if (store_->Lookup("a")) {
      EXPECT_OK(store_->RemoveVdi("a", true));
    }
  }
}

}  // namespace
}  // namespace quoin

// A sealed layer whose map leads nowhere: an error for whoever reads it, and damage to a check.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "metadata/published.h"
#include "metadata/superblock.h"
#include "metadata/vdi_database.h"
#include "snapshots/store_check.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/store_fixture.h"

namespace quoin {
namespace {

class SealedLayerTest : public ::testing::Test {
 protected:
  // A VDI with one snapshot, whose layer is then sealed behind the store's back.
  void SetUp() override {
    ASSERT_OK(InitialiseStore(fs_, "/store", "lz4"));
    ASSERT_OK(fs_.MakeDirectory("/scratch"));
    ASSERT_OK_AND_ASSIGN(const auto store, OpenTestStore(fs_));
    ASSERT_OK_AND_ASSIGN(vdi_, store->CreateVdi("a", 1 << 20, {}));
    {
      ASSERT_OK_AND_ASSIGN(VdiHandle handle, store->OpenVdi(vdi_, Access::kReadWrite));
      ASSERT_OK(handle->Write(0, AsBytes(PatternOf(1, 4096))));
      ASSERT_OK(store->CreateSnapshots({{"a", "monday"}}));
      ASSERT_OK(handle.Close());
    }
    Seal();
  }

  void Seal() {
    const std::string folder = layout_.Vdi(vdi_);
    ASSERT_OK_AND_ASSIGN(const auto database,
                         VdiDatabase::Open(fs_, StoreLayout::Database(folder)));
    ASSERT_OK_AND_ASSIGN(VdiState state, database->Load());
    ASSERT_EQ(state.snapshots.size(), 1u);
    for (LayerRecord& layer : state.layers) {
      if (layer.seq != state.snapshots[0].layer_seq) continue;
      layer.state = LayerState::kSealed;
      layer.has_ownership_file = false;
      layer.map.location = {Id::Random(), 0};
      layer.map.digest = DigestOf(AsBytes("content"));
      layer.map.data_blocks = 1;
      ASSERT_OK_AND_ASSIGN(auto change, database->Begin());
      ASSERT_OK(change.PutLayer(layer));
      ASSERT_OK(change.Commit());
    }
    ASSERT_OK(database->Checkpoint());
    ASSERT_OK(WritePublished(fs_, layout_, folder, state));
  }

  SimulatedFileSystem fs_;
  const StoreLayout layout_{"/store"};
  Id vdi_;
};

TEST_F(SealedLayerTest, AMapWithoutItsPackIsNeverReadAsZeros) {
  ASSERT_OK_AND_ASSIGN(const auto store, OpenTestStore(fs_));
  ASSERT_OK_AND_ASSIGN(const SnapshotRecord snapshot, store->FindSnapshot(vdi_, "monday"));
  ASSERT_OK_AND_ASSIGN(const auto image, store->OpenSnapshot(vdi_, snapshot.id));
  std::string bytes(4096, '\0');
  EXPECT_FALSE(image->Read(0, std::as_writable_bytes(std::span(bytes))));
  EXPECT_FALSE(image->SeekData(0));
}

TEST_F(SealedLayerTest, ACheckFindsTheDamage) {
  ASSERT_OK_AND_ASSIGN(const CheckReport report, StoreCheck(fs_, "/store", fs_, "/scratch").Run());
  EXPECT_TRUE(report.IsDamaged());
  const auto tells = [](const Finding& finding) {
    return finding.what.find("sealed") != std::string::npos;
  };
  EXPECT_TRUE(std::any_of(report.findings.begin(), report.findings.end(), tells));
}

}  // namespace
}  // namespace quoin

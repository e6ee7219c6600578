// That the sealer keeps out of guests' way: it asks its pace (seal_pace.h) between two regions. By what
// it counts, not by how long anything takes.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "snapshots/seal_pace.h"
#include "snapshots/sealer.h"
#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr uint64_t kRegions = 4;

class SealerPaceTest : public SealedWorld {
 protected:
  void SetUp() override {
    SealedWorld::SetUp();
    store_.reset();
  }

  void OpenSealingInBackground() {
    StoreOptions options = TestOptions();
    options.seals_in_background = true;
    options.seal_delay = std::chrono::milliseconds(0);
    Result<std::unique_ptr<Store>> opened = Store::Open(fs_, "/store", TestHost(1), options);
    ASSERT_OK(opened);
    store_ = std::move(*opened);
  }

  // Whenever the sealer looks at a frozen layer of `sealed`, a guest of another VDI asks for so much.
  // Nothing on the storage answers that, so nothing is observed within an observer.
  void LetAGuestAskMeanwhile(const Id& sealed, VdiHandle& guest, uint64_t requests) {
    fs_.SetObserver([&guest, requests, layers = StoreLayout::Layers(layout_.Vdi(sealed))](
                        Call call, const std::string& path) {
      if (call != Call::kRead || !path.starts_with(layers)) return;
      std::byte sector[512];
      for (uint64_t n = 0; n < requests; ++n) ASSERT_OK(guest->Read(0, sector));
    });
  }

  // A VDI with data in some regions, and `layers` snapshots of which each has a layer.
  Id CreateWithSnapshots(uint64_t layers) {
    const Id id = Create("a", kRegions * kRegionBlocks);
    VdiHandle writer = OpenVdi(id);
    for (uint64_t n = 0; n < layers; ++n) {
      for (uint64_t region = 0; region < kRegions; ++region) {
        EXPECT_OK(writer->Write(region * kRegionBytes + n * kBlockBytes,
                                AsBytes(PatternOf(static_cast<uint8_t>(n + region), kBlockBytes))));
      }
      Snapshot("a", "s" + std::to_string(n));
    }
    EXPECT_OK(writer.Close());
    return id;
  }

  void AwaitSealed() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (store_->Activity().seals == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "nothing is sealed";
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
};

TEST_F(SealerPaceTest, RestsWhileGuestsAreBusy) {
  OpenSealingInBackground();
  VdiHandle guest = OpenVdi(Create("guest", 8));
  const Id id = Create("a", kRegions * kRegionBlocks);
  LetAGuestAskMeanwhile(id, guest, 10'000);
  {
    VdiHandle writer = OpenVdi(id);
    for (uint64_t region = 0; region < kRegions; ++region) {
      ASSERT_OK(writer->Write(region * kRegionBytes, AsBytes(PatternOf(1, 8 * kBlockBytes))));
    }
    Snapshot("a", "s");
    ASSERT_OK(writer.Close());
  }
  AwaitSealed();
  EXPECT_GT(store_->Activity().seal_rests, 0u);
  fs_.SetObserver(nullptr);
}

TEST_F(SealerPaceTest, DoesNotRestWithoutGuests) {
  OpenSealingInBackground();
  CreateWithSnapshots(1);
  AwaitSealed();
  EXPECT_EQ(store_->Activity().seal_rests, 0u);
}

TEST_F(SealerPaceTest, DoesNotRestForWhoeverAsksForASealAtOnce) {
  store_ = OpenAs(1);
  VdiHandle guest = OpenVdi(Create("guest", 8));
  const Id id = CreateWithSnapshots(1);
  LetAGuestAskMeanwhile(id, guest, 10'000);
  Seal(id, /*with_head=*/false);
  EXPECT_EQ(store_->Activity().seals, 1u);
  EXPECT_EQ(store_->Activity().seal_rests, 0u);
  fs_.SetObserver(nullptr);
}

TEST_F(SealerPaceTest, DoesNotRestWhileTooManyLayersWait) {
  store_ = OpenAs(1);  // seals nothing by itself
  const Id id = CreateWithSnapshots(kUrgentUnsealedLayers + kMaxSealSteps);
  store_.reset();
  OpenSealingInBackground();
  VdiHandle guest = OpenVdi(Create("guest", 8));
  LetAGuestAskMeanwhile(id, guest, 10'000);
  {
    VdiHandle writer = OpenVdi(id);  // letting go tells the sealer
    ASSERT_OK(writer->Write(0, AsBytes(PatternOf(9, kBlockBytes))));
    ASSERT_OK(writer.Close());
  }
  AwaitSealed();
  EXPECT_EQ(store_->Activity().seal_rests, 0u) << "the first of its jobs";
  fs_.SetObserver(nullptr);
}

}  // namespace
}  // namespace quoin

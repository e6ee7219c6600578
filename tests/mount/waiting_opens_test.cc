// Many opens that wait for another host hold up nothing that does not need it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

// More than there are threads for them.
constexpr int kWaiting = 80;
constexpr std::chrono::seconds kOwnershipWait{10};
// Far less than they wait, and far more than it takes on a busy machine.
constexpr std::chrono::seconds kAtOnce{4};

class WaitingOpensTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    ASSERT_TRUE(other_.Join(tree_.store()));
    ASSERT_TRUE(other_.Unmount());
    ASSERT_TRUE(other_.Mount(
        {"--ownership-wait", std::to_string(kOwnershipWait.count())}));
    ASSERT_EQ(CreateWithSize(other_.vdi("mine"), kMiB), 0);
    guest_ = std::make_unique<OpenFile>(other_.vdi("mine"), O_RDWR);
    ASSERT_TRUE(guest_->is_open());
    for (int i = 0; i < kWaiting; ++i) {
      ASSERT_EQ(CreateWithSize(tree_.vdi(Name(i)), kMiB), 0);
      owners_.emplace_back(tree_.vdi(Name(i)), O_RDWR);
      ASSERT_TRUE(owners_.back().is_open());
    }
    for (int i = 0; i < kWaiting; ++i) {
      waiting_.emplace_back([this, i] { OpenFile(other_.vdi(Name(i)), O_RDWR); });
    }
    // Time enough for all of them to have been sent.
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  void TearDown() override {
    owners_.clear();  // then they come to an end
    for (std::thread& each : waiting_) each.join();
    guest_.reset();
  }
  static std::string Name(int number) { return fmt::format("v{:02}", number); }

  template <typename Act>
  static void ExpectAtOnce(std::string_view what, Act act) {
    const auto begin = Clock::now();
    act();
    EXPECT_LT(Clock::now() - begin, kAtOnce) << what << " has waited for another host";
  }

  MountedStore other_;
  std::unique_ptr<OpenFile> guest_;
  std::vector<OpenFile> owners_;
  std::vector<std::thread> waiting_;
};

TEST_F(WaitingOpensTest, AGuestAListingAndAChangeOfNamesGoOn) {
  ExpectAtOnce("a flush", [this] {
    EXPECT_EQ(WriteAt(guest_->get(), 0, Pattern(1, 64 * kKiB)), 0);
    EXPECT_EQ(fsync(guest_->get()), 0);
  });
  ExpectAtOnce("a discard", [this] {
    EXPECT_EQ(fallocate(guest_->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  });
  ExpectAtOnce("a listing", [this] {
    EXPECT_EQ(NamesIn(other_.vdi("")).size(), static_cast<size_t>(kWaiting) + 1);
    for (int i = 0; i < kWaiting; ++i) {
      EXPECT_EQ(StatOf(other_.vdi(Name(i))).st_size, static_cast<off_t>(kMiB));
    }
  });
  ExpectAtOnce("a name", [this] {
    EXPECT_EQ(mkdir(other_.vdi("lab").c_str(), 0755), 0);
    EXPECT_EQ(rmdir(other_.vdi("lab").c_str()), 0);
  });
  ExpectAtOnce("the state of the mount", [this] {
    EXPECT_NE(ReadWhole(other_.control("metrics")), "");
  });
}

}  // namespace
}  // namespace quoin

#include "metadata/collector_lock.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/metadata/sample_state.h"
#include "tests/unit/metadata/storage.h"

namespace quoin {
namespace {

HostIdentity SampleHost(const std::string& name, int digit) {
  HostIdentity self;
  self.host = SampleId(digit);
  self.host_name = name;
  self.boot = "boot";
  self.session = SampleId(digit);
  self.pid = 4711;
  return self;
}

template <typename Storage>
class CollectorLockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(storage_.file_system.MakeDirectory(layout_.Collection(), 0700));
  }

  Storage storage_;
  const StoreLayout layout_{storage_.root};
};

TYPED_TEST_SUITE(CollectorLockTest, AllStorages);

TYPED_TEST(CollectorLockTest, OneCollectsAtATimeAndTheOthersAreToldWho) {
  FileSystem& file_system = this->storage_.file_system;
  EXPECT_FALSE(CollectorLock::Holder(file_system, this->layout_)->has_value());
  auto first = CollectorLock::Acquire(file_system, this->layout_, SampleHost("node1", 1));
  ASSERT_OK(first);
  const auto refused = CollectorLock::Acquire(file_system, this->layout_, SampleHost("node2", 2));
  ASSERT_ERROR(kBusy, refused);
  EXPECT_NE(refused.error().what.find("node1 (pid 4711)"), std::string::npos);
  ASSERT_OK_AND_ASSIGN(const auto holder, CollectorLock::Holder(file_system, this->layout_));
  ASSERT_TRUE(holder.has_value());
  EXPECT_EQ(holder->host, SampleId(1));
  EXPECT_GT(holder->since_s, 0);

  first->reset();
  EXPECT_FALSE(CollectorLock::Holder(file_system, this->layout_)->has_value());
  const auto second = CollectorLock::Acquire(file_system, this->layout_, SampleHost("node2", 2));
  ASSERT_OK(second);
  EXPECT_EQ((*CollectorLock::Holder(file_system, this->layout_))->epoch, 2u);
}

TYPED_TEST(CollectorLockTest, ADamagedRecordStopsNobody) {
  FileSystem& file_system = this->storage_.file_system;
  for (const std::string& rubbish : {std::string("x"), std::string(5000, '{')}) {
    WriteBytes(file_system, this->layout_.CollectorLock(), rubbish);
    const auto lock = CollectorLock::Acquire(file_system, this->layout_, SampleHost("node1", 1));
    ASSERT_OK(lock);
    EXPECT_EQ((*CollectorLock::Holder(file_system, this->layout_))->host_name, "node1");
    EXPECT_EQ(ReadBytes(file_system, this->layout_.CollectorLock()).size(), 512u);
    EXPECT_ERROR(kBusy, CollectorLock::Acquire(file_system, this->layout_, SampleHost("node2", 2)));
  }
}

TEST(CollectorLockCrashTest, ACrashLetsGoOfItAtAnyStep) {
  const StoreLayout layout("");
  for (uint64_t step = 1;; ++step) {
    SimulatedFileSystem file_system;
    ASSERT_OK(file_system.MakeDirectory(layout.Collection()));
    ASSERT_OK(file_system.SyncDirectory("/"));
    file_system.FailAfter(step, FaultMode::kCrash);
    const auto lock = CollectorLock::Acquire(file_system, layout, SampleHost("node1", 1));
    const bool finished = !file_system.stopped();
    file_system.Crash(CrashMode::kRandom, step);
    EXPECT_OK(CollectorLock::Acquire(file_system, layout, SampleHost("node2", 2))) << step;
    if (finished) break;
  }
}

}  // namespace
}  // namespace quoin

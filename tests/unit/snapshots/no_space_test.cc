// The store becomes full at any step of a seal, an import or a collection: the operation is done or it is
// not, nothing is lost and nothing half made, and with room again it can be done by the same process.
//
// Each operation is run with a store that is full from its first step on, from its second, and so on,
// until it ends by itself: for one call only, for all that follow (whatever they are, also removals), and
// as a disk that has room for so many blocks more.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {
namespace {

constexpr uint64_t kSnapshotBlocks = 24;
constexpr uint64_t kPageBytes = 4096;
// Far more than any of the operations has steps, or takes pages.
constexpr uint64_t kMaxTries = 4000;

// A store with a VDI "a" of two snapshots, as many times as there are tries.
class FullStore : public SealedWorld {
 public:
  void TestBody() override {}

  void Start() {
    SetUp();
    a_ = CreateWith("a", PatternOf(1, kSnapshotBlocks * kBlockBytes));
    Snapshot("a", "s");
    WriteBlocks(a_, 3, PatternOf(2, 9 * kBlockBytes));
    Snapshot("a", "t");
    WriteBlocks(a_, 5, PatternOf(3, 2 * kBlockBytes));
    content_ = Content(a_);
    for (const char* const name : {"s", "t"}) {
      snapshots_[name] = SnapshotContent(a_, Record(a_, name).id);
    }
  }

  // Packs of which all is dead, and one of which most is.
  void MakeGarbage() {
    Seal(a_);
    Seal(CreateWith("whole", PatternOf(11, 16 * kBlockBytes)));
    ASSERT_OK(store_->RemoveVdi("whole", false));
    sparse_ = CreateWith("sparse", PatternOf(21, 64 * kBlockBytes));
    Seal(sparse_);
    VdiHandle handle = OpenVdi(sparse_);
    ASSERT_OK(handle->Zero(0, 60 * kBlockBytes));
    ASSERT_OK(handle.Close());
    Seal(sparse_);
  }

  Status Collect() {
    CollectOptions options;
    options.grace = std::chrono::milliseconds(0);
    options.reserve_bytes = 0;
    const Result<CollectReport> report = store_->Collect(options);
    if (!report) return Failure(report.error());
    return {};
  }

  void ExpectNothingLost() {
    EXPECT_TRUE(Content(a_) == content_);
    for (const auto& [name, content] : snapshots_) {
      EXPECT_TRUE(SnapshotContent(a_, Record(a_, name).id) == content) << name;
    }
    if (!sparse_.IsNull()) {
      EXPECT_TRUE(Content(sparse_) == std::string(60 * kBlockBytes, '\0') +
                                          PatternOf(21, 64 * kBlockBytes).substr(60 * kBlockBytes));
    }
  }

  // Once more in another process, and without what a failed attempt leaves for collections.
  void ExpectSoundAfterwards() {
    Reopen();
    ExpectNothingLost();
    EXPECT_OK(Collect());
    ExpectNothingLost();
    ExpectSound();
  }

  using SealedWorld::Import;
  using SealedWorld::Reopen;
  SimulatedFileSystem& fs() { return fs_; }
  Store& store() { return *store_; }
  const Id& a() const { return a_; }

 private:
  Id a_;
  Id sparse_;
  std::string content_;
  std::map<std::string, std::string> snapshots_;
};

struct Operation {
  std::function<void(FullStore&)> prepare;
  std::function<Status(FullStore&)> run;
  // What must be so if it has failed, or if it was done; with the room back.
  std::function<void(FullStore&, bool done)> expect;
};

enum class Full { kOneCall, kAllCalls, kDisk };

void TryAtEveryStep(const Operation& operation, Full full) {
  uint64_t refused = 0;
  for (uint64_t n = 1;; ++n) {
    ASSERT_LT(n, kMaxTries) << "it never ends by itself";
    SCOPED_TRACE("try " + std::to_string(n));
    FullStore world;
    world.Start();
    operation.prepare(world);
    ASSERT_FALSE(::testing::Test::HasFailure());
    const uint64_t steps = world.fs().steps();
    if (full == Full::kDisk) {
      world.fs().SetCapacity(world.fs().used_bytes() + (n - 1) * kPageBytes);
    } else {
      world.fs().FailAfter(n, full == Full::kOneCall ? FaultMode::kErrorOnce : FaultMode::kErrors,
                           ErrorCode::kNoSpace);
    }
    const Status done = operation.run(world);
    const bool was_reached = full == Full::kDisk ? !done : world.fs().steps() - steps >= n;
    world.fs().ClearFaults();
    world.fs().SetCapacity(uint64_t{1} << 60);
    if (!done) {
      EXPECT_EQ(done.error().code, ErrorCode::kNoSpace) << done.error().what;
      ++refused;
    }
    world.ExpectNothingLost();
    operation.expect(world, done.has_value());
    if (!done) {
      EXPECT_OK(operation.run(world)) << "with room again";
      world.ExpectNothingLost();
      operation.expect(world, true);
    }
    world.ExpectSoundAfterwards();
    operation.expect(world, true);
    if (::testing::Test::HasFailure()) return;
    if (!was_reached) break;
  }
  EXPECT_GT(refused, 0u) << "it was never full";
}

class NoSpaceTest : public ::testing::TestWithParam<Full> {};

TEST_P(NoSpaceTest, DuringASeal) {
  TryAtEveryStep(
      {[](FullStore&) {},
       [](FullStore& world) -> Status {
         const Result<SealCounts> counts = world.store().SealVdi(world.a(), /*with_head=*/true);
         if (!counts) return Failure(counts.error());
         return {};
       },
       [](FullStore& world, bool done) {
         if (!done) return;
         for (const char* const name : {"s", "t"}) {
           const Result<SnapshotRecord> record = world.store().FindSnapshot(world.a(), name);
           ASSERT_OK(record);
           EXPECT_FALSE(record->digest.IsNull()) << name << " is not sealed";
         }
       }},
      GetParam());
}

TEST_P(NoSpaceTest, DuringAnImport) {
  const std::string content = PatternOf(7, 40 * kBlockBytes);
  TryAtEveryStep(
      {[](FullStore&) {},
       [&](FullStore& world) -> Status {
         const Result<Id> made = world.Import("new", content);
         if (!made && made.error().code == ErrorCode::kExists) return {};  // it was done
         if (!made) return Failure(made.error());
         return {};
       },
       [&](FullStore& world, bool done) {
         const Result<NameFacts> facts = world.store().Lookup("new");
         if (!facts && !done) return;
         ASSERT_OK(facts);
         // It has its name and not its folder where not even a removal could be done: whoever opens the
         // store finishes that, and its first owner recovers it.
         if (!done) world.Reopen();
         Result<VdiHandle> reader = world.store().OpenVdi(facts->vdi, Access::kReadWrite);
         ASSERT_OK(reader);
         std::string bytes(content.size(), '\xee');
         EXPECT_OK((*reader)->Read(0, std::as_writable_bytes(std::span(bytes))));
         EXPECT_TRUE(bytes == content);
       }},
      GetParam());
}

TEST_P(NoSpaceTest, DuringACollection) {
  TryAtEveryStep({[](FullStore& world) { world.MakeGarbage(); },
                  [](FullStore& world) { return world.Collect(); }, [](FullStore&, bool) {}},
                 GetParam());
}

INSTANTIATE_TEST_SUITE_P(Fullness, NoSpaceTest,
                         ::testing::Values(Full::kOneCall, Full::kAllCalls, Full::kDisk),
                         [](const auto& given) {
                           switch (given.param) {
                             case Full::kOneCall:
                               return "OneCall";
                             case Full::kAllCalls:
                               return "AllCalls";
                             default:
                               return "Disk";
                           }
                         });

}  // namespace
}  // namespace quoin

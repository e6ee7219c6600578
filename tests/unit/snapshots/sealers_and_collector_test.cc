// Two hosts that write, snapshot, seal, clone and remove, and collections beside them, all at once and
// at random: whatever is not removed keeps its bytes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {
namespace {

constexpr uint64_t kBlocks = 64;             // of each disk
constexpr uint64_t kContents = 24;           // runs of blocks that both hosts write
constexpr uint64_t kRunBlocks = 16;          // long enough to be found again
constexpr int kActsOfEach = 120;             // of each host
constexpr std::chrono::seconds kTimeLimit{6};  // whatever of these is done by then
constexpr size_t kMaxVdis = 6;               // of each host

// Equal on both hosts, so that they share what the other one stored, and the collector removes it.
std::string RunOf(uint64_t content) {
  std::string bytes;
  for (uint64_t n = 0; n < kRunBlocks; ++n) {
    std::string block = PatternOf(static_cast<uint8_t>(content * 31 + n), kBlockBytes);
    block.replace(0, 12, fmt::format("{:6}{:6}", content, n));
    bytes += block;
  }
  return bytes;
}

bool IsDoneOrBusy(const Error* error) {
  return error == nullptr || error->code == ErrorCode::kBusy;
}
template <typename T>
const Error* ErrorOf(const Result<T>& result) {
  return result ? nullptr : &result.error();
}

// One host's VDIs, what they and their snapshots hold, and what it does with them. One thread.
class Host {
 public:
  struct Disk {
    Id id;
    std::string content;
    std::map<std::string, std::string> snapshots;  // what each holds
  };

  Host(SimulatedFileSystem& fs, uint8_t number, const std::string& state, uint64_t seed)
      : number_(number), random_(seed) {
    StoreOptions options = TestOptions();
    options.collector_wait = std::chrono::seconds(20);
    options.state_dir = state;
    options.seal_threads = 1;
    Result<std::unique_ptr<Store>> opened = Store::Open(fs, "/store", TestHost(number), options);
    EXPECT_OK(opened);
    if (opened) store_ = std::move(*opened);
  }

  void Act() {
    if (disks_.empty() || (disks_.size() < kMaxVdis && random_() % 8 == 0)) return Create();
    auto disk = disks_.begin();
    std::advance(disk, random_() % disks_.size());
    switch (random_() % 10) {
      case 0:
      case 1:
      case 2:
        return Write(disk->second);
      case 3:
      case 4:
        return Snapshot(disk->first, disk->second);
      case 5:
      case 6:
      case 7:
        return Seal(disk->second);
      case 8:
        return Remove(disk);
      default:
        return CloneOrCompare(disk->first, disk->second);
    }
  }

  void ExpectAll(Store& reader) const {
    for (const auto& [name, disk] : disks_) {
      SCOPED_TRACE(name);
      Result<VdiHandle> handle = reader.OpenVdi(disk.id, Access::kRead);
      ASSERT_OK(handle);
      EXPECT_TRUE(Holds(**handle, disk.content)) << name;
      for (const auto& [snapshot, content] : disk.snapshots) {
        ExpectSnapshot(reader, name, disk.id, snapshot, content);
      }
    }
  }

  const std::map<std::string, Disk>& disks() const { return disks_; }
  Store& store() { return *store_; }
  uint64_t shared_blocks() const { return shared_blocks_; }

 private:
  static bool Holds(Image& image, const std::string& content) {
    std::string bytes(content.size(), '\xee');
    const Result<size_t> n = image.Read(0, std::as_writable_bytes(std::span(bytes)));
    EXPECT_OK(n);
    return n && *n == content.size() && bytes == content;
  }
  static void ExpectSnapshot(Store& reader, const std::string& name, const Id& id,
                             const std::string& snapshot, const std::string& content) {
    const Result<SnapshotRecord> record = reader.FindSnapshot(id, snapshot);
    ASSERT_OK(record) << name << "@" << snapshot;
    const Result<std::shared_ptr<Image>> image = reader.OpenSnapshot(id, record->id);
    ASSERT_OK(image) << name << "@" << snapshot;
    EXPECT_TRUE(Holds(**image, content)) << name << "@" << snapshot;
  }

  void Create() {
    const std::string name = fmt::format("h{}-{}", number_, next_++);
    const Result<Id> made = store_->CreateVdi(name, kBlocks * kBlockBytes, Attributes());
    ASSERT_OK(made);
    disks_[name] = {*made, std::string(kBlocks * kBlockBytes, '\0'), {}};
  }

  void Write(Disk& disk) {
    Result<VdiHandle> handle = store_->OpenVdi(disk.id, Access::kReadWrite);
    ASSERT_OK(handle);
    for (uint64_t runs = 1 + random_() % 3; runs > 0; --runs) {
      const uint64_t at = random_() % (kBlocks / kRunBlocks) * kRunBlocks * kBlockBytes;
      const std::string run = RunOf(random_() % kContents);
      ASSERT_OK((*handle)->Write(at, AsBytes(run)));
      disk.content.replace(at, run.size(), run);
    }
    ASSERT_OK(handle->Close());
  }

  void Snapshot(const std::string& name, Disk& disk) {
    const std::string snapshot = fmt::format("s{}", next_++);
    ASSERT_OK(store_->CreateSnapshots({{name, snapshot}}));
    disk.snapshots[snapshot] = disk.content;
  }

  void Seal(Disk& disk) {
    const Result<SealCounts> counts = store_->SealVdi(disk.id, random_() % 2 == 0);
    // Busy: what it found stored was collected again and again.
    EXPECT_TRUE(IsDoneOrBusy(ErrorOf(counts))) << counts.error().what;
    if (counts) shared_blocks_ += counts->shared_blocks;
  }

  void Remove(std::map<std::string, Disk>::iterator disk) {
    auto& snapshots = disk->second.snapshots;
    if (snapshots.empty() || random_() % 4 == 0) {
      ASSERT_OK(store_->RemoveVdi(disk->first, /*with_snapshots=*/true));
      disks_.erase(disk);
      return;
    }
    auto snapshot = snapshots.begin();
    std::advance(snapshot, random_() % snapshots.size());
    ASSERT_OK(store_->RemoveSnapshot(disk->second.id, snapshot->first));
    snapshots.erase(snapshot);
  }

  void CloneOrCompare(const std::string& name, Disk& disk) {
    if (disk.snapshots.empty()) return;
    auto snapshot = disk.snapshots.begin();
    std::advance(snapshot, random_() % disk.snapshots.size());
    if (disks_.size() >= kMaxVdis) {
      return ExpectSnapshot(*store_, name, disk.id, snapshot->first, snapshot->second);
    }
    const std::string clone = fmt::format("h{}-{}", number_, next_++);
    const Result<Id> made = store_->CloneVdi(disk.id, snapshot->first, clone, Attributes());
    ASSERT_OK(made);
    disks_[clone] = {*made, snapshot->second, {}};
  }

  const uint8_t number_;
  std::mt19937_64 random_;
  std::unique_ptr<Store> store_;
  std::map<std::string, Disk> disks_;
  int next_ = 0;
  uint64_t shared_blocks_ = 0;
};

using SealersAndCollectorTest = SealedWorld;

TEST_F(SealersAndCollectorTest, NothingThatIsNotRemovedIsEverLost) {
  const uint64_t seed = DrawSeed();
  const TemporaryDirectory state;
  store_.reset();
  Host first(fs_, 1, state / "1", seed);
  Host second(fs_, 2, state / "2", seed + 1);
  ASSERT_FALSE(HasFailure());
  const auto deadline = std::chrono::steady_clock::now() + kTimeLimit;
  std::atomic<int> at_work{2};
  const auto work = [&](Host& host) {
    for (int act = 0; act < kActsOfEach && std::chrono::steady_clock::now() < deadline; ++act) {
      host.Act();
      if (HasFatalFailure()) break;
    }
    --at_work;
  };
  uint64_t collections = 0;
  uint64_t freed = 0;
  std::thread one(work, std::ref(first));
  std::thread two(work, std::ref(second));
  {
    std::mt19937_64 random(seed + 2);
    CollectOptions options;
    options.grace = std::chrono::milliseconds(0);
    options.patience = std::chrono::seconds(20);
    options.reserve_bytes = 0;
    options.max_dead_pack_bytes = 0;  // rewrites whatever has something dead in it
    while (at_work > 0) {
      Host& host = random() % 2 == 0 ? first : second;
      const Result<CollectReport> report = host.store().Collect(options);
      // A VDI that goes while it is looked at ends a collection without a result.
      if (!report) continue;
      ++collections;
      freed += report->freed_bytes;
    }
  }
  one.join();
  two.join();
  const std::unique_ptr<Store> reader = OpenAs(3);
  first.ExpectAll(*reader);
  second.ExpectAll(*reader);
  EXPECT_GT(collections, 0u);
  EXPECT_GT(freed, 0u) << "nothing was ever garbage";
  EXPECT_GT(first.shared_blocks() + second.shared_blocks(), 0u) << "nothing was ever shared";
  ExpectSound();
}

}  // namespace
}  // namespace quoin

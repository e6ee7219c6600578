// The store against a disk in memory: random operations, compared byte for byte and hole for hole.
// QUOIN_MODEL_OPERATIONS sets how many; QUOIN_SEED repeats a run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "metadata/superblock.h"
#include "snapshots/store_environment.h"
#include "snapshots/store_rebuild.h"
#include "tests/support/reference_disk.h"
#include "tests/support/result_matchers.h"
#include "tests/support/seed.h"
#include "tests/support/store_fixture.h"

namespace quoin {
namespace {

constexpr uint64_t kDefaultOperations = 100'000;
constexpr size_t kMaxVdis = 6;
constexpr size_t kMaxSnapshots = 6;  // of one VDI
constexpr uint64_t kMaxBytes = kRegionBytes + (uint64_t{1} << 20);

uint64_t Operations() {
  const char* given = std::getenv("QUOIN_MODEL_OPERATIONS");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : kDefaultOperations;
}

struct ModelVdi {
  Id id;
  ReferenceDisk disk;
  std::map<std::string, ReferenceDisk> snapshots;
  VdiHandle handle;
};

class StoreModel {
 public:
  explicit StoreModel(uint64_t seed) : random_(seed) {}

  void Run(uint64_t operations) {
    ASSERT_OK(fs_.MakeDirectory("/store"));
    ASSERT_OK(fs_.SyncDirectory("/"));
    ASSERT_OK(InitialiseStore(fs_, "/store", "lz4"));
    Restart();
    for (uint64_t i = 0; i < operations && !::testing::Test::HasFatalFailure(); ++i) {
      SCOPED_TRACE("operation " + std::to_string(i));
      Step();
    }
    if (::testing::Test::HasFatalFailure()) return;
    for (auto& [name, vdi] : vdis_) CompareAll(name, vdi);
    Restart();
    Collect();
    if (operations >= kDefaultOperations) {
      EXPECT_GT(freed_bytes_, 0u) << "no collection had anything to do";
      EXPECT_GT(rebuilds_, 0u);
    }
    for (auto& [name, vdi] : vdis_) CompareAll(name, vdi);
  }

 private:
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // Offsets gather around the borders that matter: blocks, regions, both ends of the disk.
  uint64_t Offset(const ReferenceDisk& disk) {
    static constexpr uint64_t kBorders[] = {0, 8 * kBlockBytes, kRegionBytes};
    const uint64_t border = OneIn(4) ? disk.size_bytes : kBorders[Below(3)];
    const uint64_t spread = 6 * kBlockBytes;
    uint64_t offset = border + Below(2 * spread);
    offset -= std::min(offset, spread);
    switch (Below(3)) {
      case 0: return offset / kBlockBytes * kBlockBytes;
      case 1: return offset / kSectorBytes * kSectorBytes;
      default: return offset;
    }
  }

  uint64_t Length() {
    switch (Below(4)) {
      case 0: return kBlockBytes * (1 + Below(3));
      case 1: return kSectorBytes * (1 + Below(20));
      case 2: return 1 + Below(kBlockBytes);
      default: return 1 + Below(4 * kBlockBytes);
    }
  }

  ModelVdi* Pick(std::string* name = nullptr) {
    if (vdis_.empty()) return nullptr;
    auto it = std::next(vdis_.begin(), static_cast<std::ptrdiff_t>(Below(vdis_.size())));
    if (name != nullptr) *name = it->first;
    return &it->second;
  }

  static ModelVdi* Open(Store& store, ModelVdi* vdi) {
    if (vdi == nullptr || vdi->handle) return vdi;
    Result<VdiHandle> handle = store.OpenVdi(vdi->id, Access::kReadWrite);
    EXPECT_TRUE(Succeeded(handle));
    if (!handle) return nullptr;
    vdi->handle = std::move(*handle);
    return vdi;
  }

  void Step() {
    const uint64_t kind = Below(1000);
    if (kind < 500) return Write();
    if (kind < 700) return Read();
    if (kind < 820) return Zero();
    if (kind < 860) return Flush();
    if (kind < 885) return Resize();
    if (kind < 910) return Snapshot();
    if (kind < 920) return SnapshotSeveral();
    if (kind < 935) return Clone();
    if (kind < 945) return CopyInPieces();
    if (kind < 955) return Rollback();
    if (kind < 970) return RemoveSnapshot();
    if (kind < 975) return RemoveVdi();
    if (kind < 980) return Rename();
    if (kind < 990) return Close();
    if (kind < 992) return CompareOne();
    if (kind < 993) return Seal();
    if (kind < 994) return Collect();
    if (kind < 996) return OneIn(8) ? Rebuild() : Restart();
    return Create();
  }

  void Create() {
    if (vdis_.size() >= kMaxVdis) return;
    const std::string name = "vdi" + std::to_string(next_name_++);
    const uint64_t size = Below(kMaxBytes / kSectorBytes) * kSectorBytes;
    ASSERT_OK_AND_ASSIGN(const Id id, store_->CreateVdi(name, size, {}));
    vdis_[name].id = id;
    vdis_[name].disk.size_bytes = size;
  }

  void Write() {
    ModelVdi* vdi = Open(*store_, Pick());
    if (vdi == nullptr) return Create();
    const uint64_t offset = Offset(vdi->disk);
    std::vector<std::byte> bytes(Length());
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
    if (OneIn(6)) {  // some of it zeros, as in images
      const uint64_t from = Below(bytes.size()) / kBlockBytes * kBlockBytes;
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end(), std::byte{0});
    }
    if (offset + bytes.size() > vdi->disk.size_bytes && !OneIn(10)) return;  // grow rarely
    if (offset > kMaxBytes) return;
    ASSERT_OK(vdi->handle->Write(offset, bytes));
    vdi->disk.Write(offset, bytes);
  }

  void Zero() {
    ModelVdi* vdi = Open(*store_, Pick());
    if (vdi == nullptr) return;
    const uint64_t offset = Offset(vdi->disk);
    const uint64_t length = OneIn(50) ? vdi->disk.size_bytes : Length();
    ASSERT_OK(vdi->handle->Zero(offset, length));
    vdi->disk.Zero(offset, length);
  }

  void Flush() {
    ModelVdi* vdi = Open(*store_, Pick());
    if (vdi == nullptr) return;
    ASSERT_OK(vdi->handle->Flush());
  }

  void Resize() {
    ModelVdi* vdi = Pick();
    if (vdi == nullptr) return;
    const uint64_t size =
        std::min(kMaxBytes, Offset(vdi->disk)) / kSectorBytes * kSectorBytes;
    const bool through_handle = static_cast<bool>(vdi->handle);
    ASSERT_OK(store_->ResizeVdi(vdi->id, size, true, through_handle));
    vdi->disk.Resize(size);
  }

  void Snapshot() {
    std::string name;
    ModelVdi* vdi = Pick(&name);
    if (vdi == nullptr || vdi->snapshots.size() >= kMaxSnapshots) return;
    const std::string snapshot = "s" + std::to_string(next_name_++);
    ASSERT_OK(store_->CreateSnapshots({{name, snapshot}}));
    vdi->snapshots[snapshot] = vdi->disk;
  }

  void SnapshotSeveral() {
    std::vector<SnapshotName> names;
    const std::string snapshot = "g" + std::to_string(next_name_++);
    for (auto& [name, vdi] : vdis_) {
      if (vdi.snapshots.size() < kMaxSnapshots) names.push_back({name, snapshot});
    }
    if (names.empty()) return;
    ASSERT_OK(store_->CreateSnapshots(names));
    for (const SnapshotName& name : names) vdis_[name.vdi].snapshots[snapshot] = vdis_[name.vdi].disk;
  }

  static std::string PickSnapshot(ModelVdi& vdi, uint64_t which) {
    return std::next(vdi.snapshots.begin(),
                     static_cast<std::ptrdiff_t>(which % vdi.snapshots.size()))->first;
  }

  void Clone() {
    ModelVdi* vdi = Pick();
    if (vdi == nullptr || vdi->snapshots.empty() || vdis_.size() >= kMaxVdis) return;
    const std::string snapshot = PickSnapshot(*vdi, Below(100));
    const std::string name = "clone" + std::to_string(next_name_++);
    ASSERT_OK_AND_ASSIGN(const Id id, store_->CloneVdi(vdi->id, snapshot, name, {}));
    const ReferenceDisk disk = vdi->snapshots[snapshot];
    vdis_[name].id = id;
    vdis_[name].disk = disk;
  }

  // As `cp` asks: one call for each run of data, in pieces; sometimes stopped before the end.
  void CopyInPieces() {
    std::string source_name;
    ModelVdi* source = Pick(&source_name);
    if (source == nullptr || vdis_.size() >= kMaxVdis) return;
    Store::CopySource from{source->id, {}};
    ReferenceDisk content = source->disk;
    if (!source->snapshots.empty() && OneIn(2)) {
      const std::string snapshot = PickSnapshot(*source, Below(100));
      ASSERT_OK_AND_ASSIGN(const SnapshotRecord record,
                           store_->FindSnapshot(source->id, snapshot));
      from.snapshot = record.id;
      content = source->snapshots[snapshot];
    }
    const std::string name = "copy" + std::to_string(next_name_++);
    ASSERT_OK_AND_ASSIGN(const Id id, store_->CreateVdi(name, 0, {}));
    ModelVdi& copy = vdis_[name];
    copy.id = id;
    ASSERT_NE(Open(*store_, &copy), nullptr);
    const bool stop_early = OneIn(3);
    const uint64_t piece = kBlockBytes * (1 + Below(3000));
    for (uint64_t at = 0; at < content.size_bytes;) {
      const auto data = content.blocks.lower_bound(at / kBlockBytes);
      if (data == content.blocks.end() || (stop_early && OneIn(20))) break;
      at = std::max(at, data->first * kBlockBytes);
      uint64_t end = at;
      for (auto it = data; it != content.blocks.end() && it->first * kBlockBytes <= end &&
                           end - at < piece; ++it) {
        end = std::min((it->first + 1) * kBlockBytes, content.size_bytes);
      }
      ASSERT_OK_AND_ASSIGN(const uint64_t n,
                           store_->CopyRange(from, at, copy.handle, at, end - at));
      ASSERT_GT(n, 0u);
      copy.disk.Write(at, content.Read(at, n));
      at += n;
    }
    if (!stop_early && copy.disk.size_bytes < content.size_bytes) {
      ASSERT_OK(store_->ResizeVdi(id, content.size_bytes, false, true));
      copy.disk.Resize(content.size_bytes);
    }
    TakeOverZeroBlocks(content, copy);
    CompareAll(name, copy);
  }

  // Blocks of data that are all zeros are data in a copy that shares them, holes in one for which
  // they were moved: both are right.
  static void TakeOverZeroBlocks(const ReferenceDisk& content, ModelVdi& copy) {
    for (const auto& [block, bytes] : content.blocks) {
      const bool zero = std::all_of(bytes->begin(), bytes->end(),
                                    [](std::byte byte) { return byte == std::byte{0}; });
      if (!zero || block * kBlockBytes >= copy.disk.size_bytes) continue;
      const Result<uint64_t> data = copy.handle->SeekData(block * kBlockBytes);
      if (data && *data == block * kBlockBytes) copy.disk.blocks[block] = bytes;
    }
  }

  void Rollback() {
    ModelVdi* vdi = Pick();
    if (vdi == nullptr || vdi->snapshots.empty()) return;
    vdi->handle = VdiHandle();
    const std::string snapshot = PickSnapshot(*vdi, Below(100));
    ASSERT_OK_AND_ASSIGN(const std::string safety, store_->Rollback(vdi->id, snapshot));
    vdi->snapshots[safety] = vdi->disk;
    vdi->disk = ReferenceDisk(vdi->snapshots[snapshot]);
  }

  void RemoveSnapshot() {
    ModelVdi* vdi = Pick();
    if (vdi == nullptr || vdi->snapshots.empty()) return;
    const std::string snapshot = PickSnapshot(*vdi, Below(100));
    ASSERT_OK(store_->RemoveSnapshot(vdi->id, snapshot));
    vdi->snapshots.erase(snapshot);
  }

  void RemoveVdi() {
    std::string name;
    ModelVdi* vdi = Pick(&name);
    if (vdi == nullptr) return;
    vdi->handle = VdiHandle();
    if (!vdi->snapshots.empty()) {
      ASSERT_ERROR(kNotEmpty, store_->RemoveVdi(name, false));
    }
    ASSERT_OK(store_->RemoveVdi(name, true));
    vdis_.erase(name);
  }

  void Rename() {
    std::string name;
    if (Pick(&name) == nullptr) return;
    const std::string new_name = "named" + std::to_string(next_name_++);
    ASSERT_OK(store_->Rename(name, new_name));
    auto node = vdis_.extract(name);
    node.key() = new_name;
    vdis_.insert(std::move(node));
  }

  void Close() {
    ModelVdi* vdi = Pick();
    if (vdi == nullptr) return;
    ASSERT_OK(vdi->handle.Close());
  }

  void Seal() {
    ModelVdi* vdi = Pick();
    if (vdi == nullptr) return;
    ASSERT_OK(store_->SealVdi(vdi->id, /*with_head=*/true));
    vdi->disk.SealZeros();
    for (auto& [name, disk] : vdi->snapshots) disk.SealZeros();
    ASSERT_OK_AND_ASSIGN(const std::vector<SnapshotRecord> records, store_->ListSnapshots(vdi->id));
    for (const SnapshotRecord& record : records) {
      const ReferenceDisk& disk = vdi->snapshots[record.name];
      ASSERT_EQ(record.digest.IsNull(), record.layer_seq == 0) << record.name;
      // The digest says what is in it, and nothing else.
      const std::vector<std::byte> bytes = disk.Read(0, disk.size_bytes);
      const Digest content = DigestOf(bytes);
      if (!record.digest.IsNull()) {
        ASSERT_EQ(digests_.try_emplace(content, record.digest).first->second, record.digest);
      }
    }
  }

  // Whatever is removed, nothing that anybody can see changes, then and after a restart.
  void Collect() {
    CollectOptions options;
    options.grace = std::chrono::milliseconds(0);
    options.reserve_bytes = 0;
    options.min_live_percent = Below(101);
    ASSERT_OK_AND_ASSIGN(const CollectReport report, store_->Collect(options));
    ASSERT_EQ(report.unreadable_packs, 0u);
    ASSERT_EQ(report.waiting_bytes, 0u);
    freed_bytes_ += report.freed_bytes;
    for (auto& [name, vdi] : vdis_) CompareAll(name, vdi);
    if (OneIn(4)) Restart();
  }

  void Restart() {
    for (auto& [name, vdi] : vdis_) {
      ASSERT_OK(vdi.handle.Close());
    }
    store_.reset();
    ASSERT_EQ(fs_.open_handles(), 0u) << "descriptors leak";
    if (OneIn(2)) fs_.Crash(CrashMode::kLoseAll);  // everything was let go, so nothing is lost
    ASSERT_OK_AND_ASSIGN(store_, OpenTestStore(fs_));
  }

  // All is sealed, then everything but the packs is lost. What was removed and not collected comes
  // back too, and names are those of when they were recorded; all that is in the packs is the same.
  void Rebuild() {
    for (auto& [name, vdi] : vdis_) {
      ASSERT_OK(store_->SealVdi(vdi.id, /*with_head=*/true));
      vdi.disk.SealZeros();
      for (auto& [snapshot, disk] : vdi.snapshots) disk.SealZeros();
      ASSERT_OK(vdi.handle.Close());
    }
    store_.reset();
    for (const char* lost : {"names", "vdis", "gc", "groups", "hosts", "tmp"}) {
      ASSERT_OK(RemoveTree(fs_, std::string("/store/") + lost));
    }
    ASSERT_OK(fs_.Remove("/store/quoin.store"));
    RebuildOptions options;
    options.store = TestOptions();
    ASSERT_OK_AND_ASSIGN(const RebuildReport report,
                         StoreRebuild(fs_, "/store", TestHost(), options).Run());
    ASSERT_FALSE(report.IsDamaged());
    ASSERT_OK_AND_ASSIGN(store_, OpenTestStore(fs_));
    // A VDI in which nothing was ever written is in no pack.
    std::erase_if(vdis_, [&](const auto& entry) {
      const ModelVdi& vdi = entry.second;
      return vdi.snapshots.empty() && vdi.disk.blocks.empty() && !store_->NameOf(vdi.id);
    });
    for (const RebuiltVdi& rebuilt : report.vdis) ASSERT_NO_FATAL_FAILURE(TakeBack(rebuilt));
    for (auto& [name, vdi] : vdis_) CompareAll(name, vdi);
    ++rebuilds_;
  }

  void TakeBack(const RebuiltVdi& rebuilt) {
    const auto known = std::find_if(vdis_.begin(), vdis_.end(), [&](const auto& entry) {
      return entry.second.id == rebuilt.id;
    });
    if (known == vdis_.end()) {
      ASSERT_OK(store_->RemoveVdi(rebuilt.name, /*with_snapshots=*/true));
      return;
    }
    const ModelVdi& vdi = known->second;
    if (rebuilt.name != known->first) {
      ASSERT_OK(store_->Rename(rebuilt.name, known->first));
    }
    ASSERT_OK_AND_ASSIGN(const std::vector<SnapshotRecord> records, store_->ListSnapshots(vdi.id));
    for (const SnapshotRecord& record : records) {
      if (vdi.snapshots.count(record.name) > 0) continue;
      ASSERT_OK(store_->RemoveSnapshot(vdi.id, record.name));
    }
    // A size that changed without a byte that was written is in no map.
    ASSERT_OK(store_->ResizeVdi(vdi.id, vdi.disk.size_bytes, true, false));
  }

  void Read() {
    ModelVdi* vdi = Pick();
    if (vdi == nullptr) return;
    const uint64_t offset = Offset(vdi->disk);
    const uint64_t length = Length();
    if (!vdi->snapshots.empty() && OneIn(4)) {
      const std::string snapshot = PickSnapshot(*vdi, Below(100));
      ASSERT_OK_AND_ASSIGN(const SnapshotRecord record, store_->FindSnapshot(vdi->id, snapshot));
      ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Image> image,
                           store_->OpenSnapshot(vdi->id, record.id));
      CompareRange(*image, vdi->snapshots[snapshot], offset, length);
      return;
    }
    if (!vdi->handle && OneIn(2)) {  // as published
      ASSERT_OK_AND_ASSIGN(VdiHandle reader, store_->OpenVdi(vdi->id, Access::kRead));
      CompareRange(*reader, vdi->disk, offset, length);
      return;
    }
    if (Open(*store_, vdi) != nullptr) CompareRange(*vdi->handle, vdi->disk, offset, length);
  }

  static void CompareRange(Image& image, const ReferenceDisk& disk, uint64_t offset,
                           uint64_t length) {
    std::vector<std::byte> bytes(length, std::byte{0xA5});
    ASSERT_OK_AND_ASSIGN(const size_t n, image.Read(offset, bytes));
    bytes.resize(n);
    ASSERT_EQ(bytes, disk.Read(offset, length)) << "at " << offset << ", " << length << " bytes";
  }

  void CompareOne() {
    std::string name;
    ModelVdi* vdi = Pick(&name);
    if (vdi != nullptr) CompareAll(name, *vdi);
  }

  void CompareAll(const std::string& name, ModelVdi& vdi) {
    SCOPED_TRACE(name);
    ASSERT_OK_AND_ASSIGN(const VdiInfo info, store_->Describe(vdi.id));
    ASSERT_EQ(info.size_bytes, vdi.disk.size_bytes);
    ASSERT_EQ(info.data_blocks, vdi.disk.blocks.size());
    {
      ASSERT_OK_AND_ASSIGN(VdiHandle reader, store_->OpenVdi(vdi.id, Access::kRead));
      CompareImage(*reader, vdi.disk);
    }
    ASSERT_OK_AND_ASSIGN(const std::vector<SnapshotRecord> records, store_->ListSnapshots(vdi.id));
    ASSERT_EQ(records.size(), vdi.snapshots.size());
    for (const SnapshotRecord& record : records) {
      SCOPED_TRACE(record.name);
      ASSERT_EQ(vdi.snapshots.count(record.name), 1u);
      ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Image> image,
                           store_->OpenSnapshot(vdi.id, record.id));
      CompareImage(*image, vdi.snapshots[record.name]);
    }
  }

  static void CompareImage(Image& image, const ReferenceDisk& disk) {
    ASSERT_EQ(image.size_bytes(), disk.size_bytes);
    ASSERT_EQ(image.data_blocks(), disk.blocks.size());
    auto expected = disk.blocks.begin();
    uint64_t at = 0;
    for (;;) {
      const Result<uint64_t> data = image.SeekData(at);
      if (!data) {
        ASSERT_ERROR(kNoData, data);
        break;
      }
      ASSERT_NE(expected, disk.blocks.end()) << "data at " << *data << " where none is expected";
      ASSERT_EQ(*data, expected->first * kBlockBytes);
      ASSERT_OK_AND_ASSIGN(const uint64_t hole, image.SeekHole(*data));
      for (at = *data; at < hole; at += kBlockBytes, ++expected) {
        ASSERT_NE(expected, disk.blocks.end());
        ASSERT_EQ(at, expected->first * kBlockBytes);
        CompareRange(image, disk, at, kBlockBytes);
      }
    }
    ASSERT_EQ(expected, disk.blocks.end()) << "block " << expected->first << " is missing";
  }

  std::mt19937_64 random_;
  SimulatedFileSystem fs_;
  std::unique_ptr<Store> store_;
  std::map<std::string, ModelVdi> vdis_;
  std::map<Digest, Digest> digests_;  // of all bytes, and as told
  uint64_t next_name_ = 0;
  uint64_t freed_bytes_ = 0;
  uint64_t rebuilds_ = 0;
};

TEST(StoreModelTest, RandomOperationsMatchADiskInMemory) {
  StoreModel model(DrawSeed());
  model.Run(Operations());
}

}  // namespace
}  // namespace quoin

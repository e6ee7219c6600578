// A store for tests of what is sealed: what lies in which file, and damage to packs behind the
// store's back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blockstore/packs/pack_store.h"
#include "snapshots/root_record.h"
#include "snapshots/store_check.h"
#include "tests/unit/snapshots/store_world.h"

namespace quoin {

class SealedWorld : public StoreWorld {
 protected:
  void SetUp() override {
    StoreWorld::SetUp();
    ASSERT_OK(fs_.MakeDirectory("/scratch"));
  }

  // The store as another process finds it.
  void Reopen() {
    store_.reset();
    store_ = OpenAs(1);
  }

  SealCounts Seal(const Id& id, bool with_head = true) {
    const Result<SealCounts> counts = store_->SealVdi(id, with_head);
    EXPECT_OK(counts);
    return counts.value_or(SealCounts());
  }

  void WriteBlocks(const Id& id, uint64_t first_block, const std::string& content) {
    VdiHandle handle = OpenVdi(id);
    ASSERT_OK(handle->Write(first_block * kBlockBytes, AsBytes(content)));
    ASSERT_OK(handle.Close());
  }

  SnapshotRecord Record(const Id& vdi, const std::string& name) {
    const Result<SnapshotRecord> record = store_->FindSnapshot(vdi, name);
    EXPECT_OK(record);
    return record.value_or(SnapshotRecord());
  }

  // Files of layers, without the heads' own lists of blocks.
  std::vector<std::string> LayerFiles(const Id& id) {
    std::vector<std::string> names;
    const auto entries = fs_.List(StoreLayout::Layers(layout_.Vdi(id)));
    EXPECT_OK(entries);
    if (!entries) return names;
    for (const DirectoryEntry& entry : *entries) {
      if (entry.name.find(".owned-") == std::string::npos) names.push_back(entry.name);
    }
    return names;
  }

  std::vector<Id> Packs() {
    FrameCache cache(0);
    const Result<std::vector<Id>> packs = PackStore(fs_, layout_.Packs(), cache).List();
    EXPECT_OK(packs);
    return packs.value_or(std::vector<Id>());
  }
  std::string PathOf(const Id& pack) {
    FrameCache cache(0);
    return PackStore(fs_, layout_.Packs(), cache).PathOf(pack);
  }

  // All root records that the packs hold.
  std::vector<RootRecord> RootRecords() {
    FrameCache cache(0);
    PackStore packs(fs_, layout_.Packs(), cache);
    std::vector<RootRecord> records;
    for (const SlotLocation& at : SlotsOfKind(FrameKindOf(RecordKind::kRoot))) {
      const auto bytes = packs.ReadRecord(RecordKind::kRoot, at);
      EXPECT_OK(bytes);
      const Result<RootRecord> record = DecodeRootRecord(bytes ? **bytes : "");
      EXPECT_OK(record);
      if (record) records.push_back(*record);
    }
    return records;
  }
  // Those of a snapshot, or with a null id of what the VDI stands on.
  std::vector<RootRecord> RootRecordsOf(const Id& vdi, const Id& snapshot) {
    std::vector<RootRecord> records = RootRecords();
    std::erase_if(records, [&](const RootRecord& record) {
      return record.vdi != vdi || record.snapshot != snapshot;
    });
    return records;
  }

  Result<Id> Import(const std::string& name, const std::string& content, uint64_t size_bytes = 0) {
    size_t at = 0;
    return store_->ImportVdi(name, size_bytes, Attributes(),
                             [&](std::span<std::byte> buffer) -> Result<size_t> {
                               const size_t n = std::min(buffer.size(), content.size() - at);
                               std::copy_n(AsBytes(content).begin() + at, n, buffer.begin());
                               at += n;
                               return n;
                             });
  }

  // Nothing is damaged, nothing left over.
  void ExpectSound() {
    const Result<CheckReport> report = StoreCheck(fs_, "/store", fs_, "/scratch").Run();
    ASSERT_OK(report);
    for (const Finding& finding : report->findings) {
      ADD_FAILURE() << ToWord(finding.severity) << ": " << finding.object << ": " << finding.what;
    }
    const auto pins = fs_.List(layout_.Pins());  // made when the first one is needed
    if (pins) {
      EXPECT_TRUE(pins->empty()) << "a pin is left over";
    }
  }

  // --- damage ----------------------------------------------------------------------------------
  void FlipByte(const std::string& path, uint64_t offset) {
    ASSERT_OK_AND_ASSIGN(const auto file,
                         fs_.Open(path, {Access::kReadWrite, Creation::kNever, 0600}));
    ASSERT_OK_AND_ASSIGN(std::string byte, ReadText(*file, offset, 1));
    ASSERT_EQ(byte.size(), 1u);
    byte[0] = static_cast<char>(byte[0] ^ 0x55);
    ASSERT_OK(file->Write(offset, AsBytes(byte)));
    ASSERT_OK(file->Sync(SyncKind::kFull));
  }
  void CutShort(const std::string& path, uint64_t size_bytes) {
    ASSERT_OK_AND_ASSIGN(const auto file,
                         fs_.Open(path, {Access::kReadWrite, Creation::kNever, 0600}));
    ASSERT_OK(file->Truncate(size_bytes));
    ASSERT_OK(file->Sync(SyncKind::kFull));
  }
  std::shared_ptr<const Pack> OpenPack(const Id& id) {
    Result<std::shared_ptr<const Pack>> pack = Pack::Open(fs_, id, PathOf(id));
    EXPECT_OK(pack);
    return pack ? *pack : nullptr;
  }
  // Damages what is stored of the slot; of a frame that is compressed, others may go with it.
  void DamageSlot(const SlotLocation& at) {
    const std::shared_ptr<const Pack> pack = OpenPack(at.pack);
    ASSERT_NE(pack, nullptr);
    const std::optional<size_t> number = pack->FrameOf(at.slot);
    ASSERT_TRUE(number);
    const FrameEntry& frame = pack->frames()[*number];
    const bool is_plain = frame.holds_blocks() && frame.codec() == Compression::kNone;
    const uint64_t within = is_plain ? (at.slot - frame.first_slot()) * kBlockBytes + 100
                                     : frame.stored_bytes() / 2;
    FlipByte(pack->path(), frame.payload_offset() + within);
  }
  // The slots of all packs that hold blocks, or records of a kind.
  std::vector<SlotLocation> SlotsOfKind(FrameKind kind) {
    std::vector<SlotLocation> slots;
    for (const Id& id : Packs()) {
      const std::shared_ptr<const Pack> pack = OpenPack(id);
      if (pack == nullptr) continue;
      for (const FrameEntry& frame : pack->frames()) {
        if (frame.kind() != kind) continue;
        for (uint32_t n = frame.first_slot(); n < frame.end_slot(); ++n) slots.push_back({id, n});
      }
    }
    return slots;
  }

  const StoreLayout layout_{"/store"};
};

}  // namespace quoin

// Records in memory: what a map's nodes are written to and read from, in place of packs.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blockstore/packs/records.h"

namespace quoin {

class MemoryRecords : public RecordReader, public RecordWriter {
 public:
  static constexpr uint32_t kPackRecords = 100;  // small, so that maps reach across packs

  Result<std::shared_ptr<const std::string>> ReadRecord(RecordKind kind,
                                                        const SlotLocation& at) override {
    std::lock_guard lock(mutex_);
    ++reads_;
    const auto known = records_.find(at);
    if (known == records_.end()) return Fail(ErrorCode::kNotFound, "there is no such record");
    if (kind != RecordKind::kMapNode) return Fail(ErrorCode::kCorrupt, "of another kind");
    return known->second;
  }

  Result<SlotLocation> AddRecord(RecordKind kind, std::string_view bytes) override {
    std::lock_guard lock(mutex_);
    if (kind != RecordKind::kMapNode || bytes.size() > kMaxRecordBytes) {
      return Fail(ErrorCode::kTooLarge, "no such record can be");
    }
    if (writes_until_full_ == 0) return Fail(ErrorCode::kNoSpace, "the storage is full");
    --writes_until_full_;
    if (next_.IsNull() || next_.slot == kPackRecords) next_ = {Id::Random(), 0};
    const SlotLocation at = next_;
    ++next_.slot;
    records_[at] = std::make_shared<const std::string>(bytes);
    written_.push_back(at);
    bytes_ += bytes.size();
    return at;
  }

  // What a damaged pack would answer.
  void Replace(const SlotLocation& at, std::string bytes) {
    std::lock_guard lock(mutex_);
    records_[at] = std::make_shared<const std::string>(std::move(bytes));
  }
  // Fails all writes after this many.
  void FillUpAfter(uint64_t writes) {
    std::lock_guard lock(mutex_);
    writes_until_full_ = writes;
  }

  // Locations written since this was last called, in their order.
  std::vector<SlotLocation> TakeWritten() {
    std::lock_guard lock(mutex_);
    return std::exchange(written_, {});
  }
  uint64_t reads() const {
    std::lock_guard lock(mutex_);
    return reads_;
  }
  uint64_t bytes() const {
    std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<SlotLocation, std::shared_ptr<const std::string>> records_;
  std::vector<SlotLocation> written_;
  SlotLocation next_;
  uint64_t reads_ = 0;
  uint64_t bytes_ = 0;
  uint64_t writes_until_full_ = ~uint64_t{0};
};

}  // namespace quoin

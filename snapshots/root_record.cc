#include "snapshots/root_record.h"

#include <algorithm>
#include <array>
#include <limits>

#include "blockstore/base/block.h"

namespace quoin {
namespace {

constexpr std::string_view kMagic = "quoin-root-v01";
constexpr size_t kMaxNameBytes = 4096;
constexpr uint32_t kPermissionBits = 07777;
constexpr uint64_t kMaxOrdinal = std::numeric_limits<int64_t>::max();

template <typename Number>
void PutNumber(std::string* out, Number number) {
  auto bits = static_cast<uint64_t>(number);
  for (size_t n = 0; n < sizeof(Number); ++n, bits >>= 8) *out += static_cast<char>(bits & 0xff);
}

template <size_t kSize>
void PutBytes(std::string* out, const std::array<uint8_t, kSize>& bytes) {
  out->append(reinterpret_cast<const char*>(bytes.data()), kSize);
}

void PutText(std::string* out, const std::string& text) {
  const std::string_view kept = std::string_view(text).substr(0, kMaxNameBytes);
  PutNumber(out, static_cast<uint16_t>(kept.size()));
  out->append(kept);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  std::string_view Take(size_t size) {
    if (size > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  template <typename Number>
  void Get(Number* number) {
    uint64_t bits = 0;
    const std::string_view taken = Take(sizeof(Number));
    for (size_t n = taken.size(); n > 0; --n) bits = bits << 8 | static_cast<uint8_t>(taken[n - 1]);
    *number = static_cast<Number>(bits);
  }
  template <size_t kSize>
  void Get(std::array<uint8_t, kSize>* bytes) {
    const std::string_view taken = Take(kSize);
    std::copy(taken.begin(), taken.end(), bytes->begin());
  }
  void Get(Id* id) {
    std::array<uint8_t, Id::kBytes> bytes{};
    Get(&bytes);
    *id = Id::FromBytes(bytes);
  }
  void Get(std::string* text) {
    uint16_t size = 0;
    Get(&size);
    ok_ = ok_ && size <= kMaxNameBytes;
    if (ok_) *text = Take(size);
  }
  bool AtEnd() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace

std::string EncodeRootRecord(const RootRecord& record) {
  std::string out(kMagic);
  PutBytes(&out, record.vdi.bytes());
  PutBytes(&out, record.snapshot.bytes());
  PutNumber(&out, record.ordinal);
  PutNumber(&out, record.size_bytes);
  PutNumber(&out, record.created_ns);
  PutNumber(&out, record.mode);
  PutNumber(&out, record.uid);
  PutNumber(&out, record.gid);
  PutBytes(&out, record.map.location.pack.bytes());
  PutNumber(&out, record.map.location.slot);
  PutNumber(&out, record.map.height);
  PutBytes(&out, record.map.digest.bytes);
  PutNumber(&out, record.map.data_blocks);
  PutText(&out, record.vdi_name);
  PutText(&out, record.snapshot_name);
  return out;
}

Result<RootRecord> DecodeRootRecord(std::string_view bytes) {
  Reader reader(bytes);
  const bool is_ours = reader.Take(kMagic.size()) == kMagic;
  RootRecord record;
  reader.Get(&record.vdi);
  reader.Get(&record.snapshot);
  reader.Get(&record.ordinal);
  reader.Get(&record.size_bytes);
  reader.Get(&record.created_ns);
  reader.Get(&record.mode);
  reader.Get(&record.uid);
  reader.Get(&record.gid);
  reader.Get(&record.map.location.pack);
  reader.Get(&record.map.location.slot);
  reader.Get(&record.map.height);
  reader.Get(&record.map.digest.bytes);
  reader.Get(&record.map.data_blocks);
  reader.Get(&record.vdi_name);
  reader.Get(&record.snapshot_name);
  // A snapshot has a name and an ordinal, what a VDI stands on has neither.
  const bool is_whole = record.snapshot.IsNull() == record.snapshot_name.empty() &&
                        record.snapshot.IsNull() == (record.ordinal == 0);
  const bool has_possible_map =
      record.map == MapRoot() ||
      (!record.map.IsEmpty() && !record.map.digest.IsNull() && record.map.data_blocks > 0);
  const bool is_in_range = record.size_bytes <= kMaxVdiBytes &&
                           record.size_bytes % kSectorBytes == 0 &&
                           record.mode <= kPermissionBits && record.ordinal <= kMaxOrdinal;
  if (!is_ours || !reader.AtEnd() || record.vdi.IsNull() || !is_whole || !is_in_range ||
      !has_possible_map) {
    return Fail(ErrorCode::kCorrupt, "this is no root record");
  }
  return record;
}

}  // namespace quoin

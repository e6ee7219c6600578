#include "metadata/dead_list.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

namespace quoin {
namespace {

constexpr std::string_view kMagic = "quoin-gcdead-v01";
constexpr size_t kChecksumBytes = 16;
constexpr uint64_t kSlotsEnd = UINT32_MAX;  // so that the length of any run fits too
// What the shortest pack and run take, so that a count in a file never asks for more memory than
// the file itself justifies.
constexpr size_t kMinPackBytes = Id::kBytes + 1;
constexpr size_t kMinRunBytes = 2;

void PutVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Takes values from the front; once is_good() is false everything is 0.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  bool is_good() const { return is_good_; }
  size_t left() const { return bytes_.size(); }

  uint64_t Varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_.front());
      bytes_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    is_good_ = false;
    return 0;
  }

  Id NextId() {
    std::array<uint8_t, Id::kBytes> id{};
    if (bytes_.size() < id.size()) {
      is_good_ = false;
      return Id();
    }
    std::memcpy(id.data(), bytes_.data(), id.size());
    bytes_.remove_prefix(id.size());
    return Id::FromBytes(id);
  }

 private:
  std::string_view bytes_;
  bool is_good_ = true;
};

std::string Checksum(std::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return std::string(reinterpret_cast<const char*>(canonical.digest), kChecksumBytes);
}

uint64_t EndOf(const SlotRun& run) { return uint64_t{run.first} + run.count; }

// Sorted, without empty runs, and with runs that touch made one.
std::vector<SlotRun> Normal(std::vector<SlotRun> runs) {
  std::erase_if(runs, [](const SlotRun& run) { return run.count == 0; });
  std::sort(runs.begin(), runs.end(),
            [](const SlotRun& a, const SlotRun& b) { return a.first < b.first; });
  std::vector<SlotRun> normal;
  for (const SlotRun& run : runs) {
    if (EndOf(run) > kSlotsEnd) std::abort();
    if (normal.empty() || run.first > EndOf(normal.back())) {
      normal.push_back(run);
      continue;
    }
    const uint64_t end = std::max(EndOf(normal.back()), EndOf(run));
    normal.back().count = static_cast<uint32_t>(end - normal.back().first);
  }
  return normal;
}

// The runs of one pack; nothing if they are not as Encode writes them.
std::optional<std::vector<SlotRun>> ReadRuns(Reader& reader) {
  const uint64_t count = reader.Varint();
  if (count > reader.left() / kMinRunBytes) return std::nullopt;
  std::vector<SlotRun> runs;
  runs.reserve(count);
  uint64_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t gap = reader.Varint();
    const uint64_t length = reader.Varint();
    const bool is_apart = i == 0 || gap > 0;
    if (!is_apart || length == 0 || gap >= kSlotsEnd - at || length > kSlotsEnd - at - gap) {
      return std::nullopt;
    }
    runs.push_back({static_cast<uint32_t>(at + gap), static_cast<uint32_t>(length)});
    at += gap + length;
  }
  return runs;
}

}  // namespace

bool DeadPack::Contains(uint32_t slot) const {
  if (IsWhole()) return true;
  const auto after = std::upper_bound(runs.begin(), runs.end(), slot,
                                      [](uint32_t s, const SlotRun& run) { return s < run.first; });
  return after != runs.begin() && slot < EndOf(*std::prev(after));
}

DeadPack& DeadList::At(const Id& pack, bool* is_new) {
  const auto place = std::lower_bound(packs_.begin(), packs_.end(), pack,
                                      [](const DeadPack& p, const Id& id) { return p.pack < id; });
  *is_new = place == packs_.end() || place->pack != pack;
  return *is_new ? *packs_.insert(place, DeadPack{pack, {}}) : *place;
}

void DeadList::AddPack(const Id& pack) {
  bool is_new = false;
  At(pack, &is_new).runs.clear();
}

void DeadList::AddSlots(const Id& pack, const std::vector<SlotRun>& runs) {
  std::vector<SlotRun> added = Normal(runs);
  if (added.empty()) return;
  bool is_new = false;
  DeadPack& dead = At(pack, &is_new);
  if (!is_new && dead.IsWhole()) return;
  added.insert(added.end(), dead.runs.begin(), dead.runs.end());
  dead.runs = Normal(std::move(added));
}

void DeadList::Add(const DeadList& other) {
  // Merged from front to back: inserting one by one would move the rest each time.
  std::vector<DeadPack> merged;
  merged.reserve(packs_.size() + other.packs_.size());
  auto mine = packs_.begin();
  for (const DeadPack& theirs : other.packs_) {
    while (mine != packs_.end() && mine->pack < theirs.pack) merged.push_back(std::move(*mine++));
    if (mine == packs_.end() || mine->pack != theirs.pack) {
      merged.push_back(theirs);
      continue;
    }
    DeadPack both{theirs.pack, {}};
    if (!mine->IsWhole() && !theirs.IsWhole()) {
      both.runs = std::move(mine->runs);
      both.runs.insert(both.runs.end(), theirs.runs.begin(), theirs.runs.end());
      both.runs = Normal(std::move(both.runs));
    }
    merged.push_back(std::move(both));
    ++mine;
  }
  for (; mine != packs_.end(); ++mine) merged.push_back(std::move(*mine));
  packs_ = std::move(merged);
}

uint64_t DeadList::CountRuns() const {
  uint64_t runs = 0;
  for (const DeadPack& pack : packs_) runs += pack.runs.size();
  return runs;
}

void DeadList::LimitRuns(uint64_t max_runs) {
  uint64_t runs = CountRuns();
  if (runs <= max_runs) return;
  std::vector<DeadPack*> most_first;
  for (DeadPack& pack : packs_) most_first.push_back(&pack);
  std::sort(most_first.begin(), most_first.end(), [](const DeadPack* a, const DeadPack* b) {
    return a->runs.size() > b->runs.size();
  });
  for (DeadPack* const pack : most_first) {
    if (runs <= max_runs) return;
    runs -= pack->runs.size();
    pack->runs = {};  // and gives their memory back
  }
}

const DeadPack* DeadList::Find(const Id& pack) const {
  const auto place = std::lower_bound(packs_.begin(), packs_.end(), pack,
                                      [](const DeadPack& p, const Id& id) { return p.pack < id; });
  return place == packs_.end() || place->pack != pack ? nullptr : &*place;
}

Result<std::string> DeadList::Encode(uint64_t generation, uint64_t previous) const {
  std::string bytes(kMagic);
  PutVarint(bytes, generation);
  PutVarint(bytes, previous);
  PutVarint(bytes, packs_.size());
  for (const DeadPack& dead : packs_) {
    bytes.append(reinterpret_cast<const char*>(dead.pack.bytes().data()), Id::kBytes);
    PutVarint(bytes, dead.runs.size());
    uint64_t at = 0;
    for (const SlotRun& run : dead.runs) {
      PutVarint(bytes, run.first - at);
      PutVarint(bytes, run.count);
      at = EndOf(run);
    }
    if (bytes.size() > kMaxDeadListBytes - kChecksumBytes) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("a list of what is dead in {} packs has more than {} bytes",
                              packs_.size(), kMaxDeadListBytes),
                  "declare fewer packs dead at once");
    }
  }
  return bytes + Checksum(bytes);
}

Result<DeadList> DeadList::Decode(std::string_view bytes, uint64_t generation,
                                  const std::string& path, uint64_t* previous) {
  const auto damaged = [&path](std::string_view what) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged: {}", path, what));
  };
  if (bytes.size() < kMagic.size() + kChecksumBytes) return damaged("it is cut short");
  if (bytes.substr(0, kMagic.size()) != kMagic) return damaged("it is no list of what is dead");
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (bytes.substr(body.size()) != Checksum(body)) return damaged("its checksum does not fit");
  Reader reader(body.substr(kMagic.size()));
  if (reader.Varint() != generation) return damaged("it is of another generation");
  *previous = reader.Varint();
  if (*previous >= generation) return damaged("the generation before it is impossible");
  const uint64_t count = reader.Varint();
  if (count > reader.left() / kMinPackBytes) return damaged("its number of packs is impossible");
  DeadList list;
  list.packs_.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const Id pack = reader.NextId();
    std::optional<std::vector<SlotRun>> runs = ReadRuns(reader);
    const bool rises = i == 0 ? !pack.IsNull() : list.packs_.back().pack < pack;
    if (!reader.is_good() || !runs || !rises) return damaged("a pack's entry is impossible");
    list.packs_.push_back({pack, *std::move(runs)});
  }
  if (!reader.is_good() || reader.left() > 0) return damaged("its end is not where it should be");
  return list;
}

}  // namespace quoin

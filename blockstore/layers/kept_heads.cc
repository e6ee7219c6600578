#include "blockstore/layers/kept_heads.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace quoin {
namespace {

constexpr std::array<char, 16> kMagic = {'q', 'u', 'o', 'i', 'n', '-', 'h', 'e',
                                         'a', 'd', 's', '-', 'v', '0', '1', '\n'};
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kEntryBytes = 1024;
constexpr uint64_t kDirectoryBytes = kPageBytes + KeptHeads::kMaxHeads * kEntryBytes;
constexpr uint64_t kSlotBytes = KeptHead::kNodes * sizeof(KeptNode);
constexpr uint64_t kFileBytes = kDirectoryBytes + KeptHeads::kMaxHeads * kSlotBytes;
constexpr size_t kMaxNameBytes = 64;

static_assert(sizeof(KeptNode) % kPageBytes == 0);
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(std::atomic<uint32_t>::is_always_lock_free);

enum EntryState : uint32_t { kFree, kMade, kLive };

Failure OtherVersion() {
  return Fail(ErrorCode::kNewerFormat,
              "what the daemon before kept in memory is of another version of quoin",
              "unmount and mount again");
}

}  // namespace

struct KeptHead::Entry {
  std::atomic<uint32_t> state;
  std::atomic<uint32_t> failed;
  std::array<uint8_t, Id::kBytes> vdi;
  uint32_t seq;
  uint32_t name_bytes;
  std::array<char, kMaxNameBytes> name;
  std::atomic<uint64_t> epoch;
  std::atomic<uint64_t> size_bytes;
  std::array<std::atomic<uint64_t>, kNodes / 64> nodes;  // a bit for each that was mapped
};

// --------------------------------------------------------------------------------- one head

KeptHead::KeptHead(KeptHeads& all, uint32_t slot)
    : all_(all), slot_(slot), entry_(all.EntryOf(slot)) {}

KeptHead::~KeptHead() {
  for (const auto& [number, node] : nodes_) munmap(node, sizeof(KeptNode));
  all_.GiveBack(slot_);
}

uint32_t KeptHead::seq() const { return entry_.seq; }
std::string KeptHead::name() const { return {entry_.name.data(), entry_.name_bytes}; }
uint64_t KeptHead::epoch() const { return entry_.epoch.load(); }
bool KeptHead::is_live() const { return entry_.state.load() == kLive; }
uint64_t KeptHead::size_bytes() const { return entry_.size_bytes.load(); }
void KeptHead::NoteSize(uint64_t size_bytes) { entry_.size_bytes.store(size_bytes); }
bool KeptHead::has_failed() const { return entry_.failed.load() != 0; }
void KeptHead::NoteFailed() { entry_.failed.store(1); }

void KeptHead::MakeLive(uint64_t epoch) {
  entry_.epoch.store(epoch);
  entry_.state.store(kLive);
}

void KeptHead::Drop() { entry_.state.store(kMade); }

bool KeptHead::HasNode(uint64_t number) const {
  return (entry_.nodes[number / 64].load() >> (number % 64) & 1) != 0;
}

KeptNode* KeptHead::NodeAt(uint64_t number) {
  MutexLock lock(mutex_);
  if (const auto known = nodes_.find(number); known != nodes_.end()) return known->second;
  const uint64_t offset = kDirectoryBytes + slot_ * kSlotBytes + number * sizeof(KeptNode);
  void* const mapped = mmap(nullptr, sizeof(KeptNode), PROT_READ | PROT_WRITE, MAP_SHARED,
                            all_.descriptor_, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) {
    spdlog::error("no room for what layer {} owns (errno {}): should this daemon be killed, writes "
                  "that no flush recorded are lost", name(), errno);
    return nullptr;
  }
  entry_.nodes[number / 64].fetch_or(uint64_t{1} << (number % 64));
  return nodes_[number] = static_cast<KeptNode*>(mapped);
}

// --------------------------------------------------------------------------------- all of them

Result<std::unique_ptr<KeptHeads>> KeptHeads::Attach(int descriptor) {
  static_assert(sizeof(KeptHead::Entry) <= kEntryBytes);
  struct stat facts {};
  if (fstat(descriptor, &facts) != 0) return FailSystem(errno, "cannot look at the kept memory");
  const bool is_new = facts.st_size == 0;
  if (is_new && ftruncate(descriptor, static_cast<off_t>(kFileBytes)) != 0) {
    return FailSystem(errno, "cannot set the size of the kept memory");
  }
  void* const directory =
      mmap(nullptr, kDirectoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (directory == MAP_FAILED) return FailSystem(errno, "cannot map the kept memory");
  if (is_new) std::memcpy(directory, kMagic.data(), kMagic.size());
  if (std::memcmp(directory, kMagic.data(), kMagic.size()) != 0) {
    munmap(directory, kDirectoryBytes);
    return OtherVersion();
  }
  std::unique_ptr<KeptHeads> heads(new KeptHeads(descriptor, directory));
  if (!is_new) heads->FreeWhatIsNotLive();
  return heads;
}

Status KeptHeads::CheckLayout(int descriptor) {
  std::array<char, kMagic.size()> magic{};
  const ssize_t got = pread(descriptor, magic.data(), magic.size(), 0);
  if (got < 0) return FailSystem(errno, "cannot look at the kept memory");
  if (got == 0 || magic == kMagic) return {};
  return OtherVersion();
}

KeptHeads::KeptHeads(int descriptor, void* directory)
    : descriptor_(descriptor), directory_(directory) {}

KeptHeads::~KeptHeads() { munmap(directory_, kDirectoryBytes); }

KeptHead::Entry& KeptHeads::EntryOf(uint32_t slot) const {
  return *reinterpret_cast<KeptHead::Entry*>(static_cast<std::byte*>(directory_) + kPageBytes +
                                             slot * kEntryBytes);
}

// Heads that were made and never used, or that had been recorded.
void KeptHeads::FreeWhatIsNotLive() {
  MutexLock lock(mutex_);
  // Slots are used from the lowest, so the first page without an entry ends the search.
  constexpr uint32_t kEntriesPerPage = kPageBytes / kEntryBytes;
  for (uint32_t slot = 0; slot < kMaxHeads; ++slot) {
    if (slot % kEntriesPerPage == 0) {
      const auto at = static_cast<off_t>(kPageBytes + slot * kEntryBytes);
      const off_t data = lseek(descriptor_, at, SEEK_DATA);
      if (data < 0 || data >= static_cast<off_t>(kDirectoryBytes)) break;
    }
    never_used_ = slot + 1;
    is_taken_.push_back(false);
    const uint32_t state = EntryOf(slot).state.load();
    if (state == kMade) FreeSlot(slot);
    if (state == kFree) free_.push_back(slot);
  }
}

void KeptHeads::FreeSlot(uint32_t slot) {
  KeptHead::Entry& entry = EntryOf(slot);
  const uint64_t offset = kDirectoryBytes + slot * kSlotBytes;
  for (uint64_t word = 0; word < entry.nodes.size(); ++word) {
    if (entry.nodes[word].load() == 0) continue;
    const uint64_t first = offset + word * 64 * sizeof(KeptNode);
    if (fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(first), static_cast<off_t>(64 * sizeof(KeptNode))) != 0) {
      spdlog::warn("memory of a head cannot be given back: errno {}", errno);
      return;  // never used again: what is in it is not zeros
    }
    entry.nodes[word].store(0);
  }
  entry.state.store(kFree);
  free_.push_back(slot);
}

void KeptHeads::GiveBack(uint32_t slot) {
  MutexLock lock(mutex_);
  is_taken_[slot] = false;
  if (EntryOf(slot).state.load() == kMade) FreeSlot(slot);
}

std::unique_ptr<KeptHead> KeptHeads::Make(const Id& vdi, uint32_t seq, const std::string& name,
                                          uint64_t size_bytes) {
  if (name.size() > kMaxNameBytes) return nullptr;
  MutexLock lock(mutex_);
  uint32_t slot = never_used_;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else if (never_used_ < kMaxHeads) {
    ++never_used_;
    is_taken_.push_back(false);
  } else {
    spdlog::error("{} heads are kept in memory and there is no room for more: should this daemon be "
                  "killed, writes to layer {} that no flush recorded are lost", kMaxHeads, name);
    return nullptr;
  }
  is_taken_[slot] = true;
  KeptHead::Entry& entry = EntryOf(slot);
  entry.failed.store(0);
  entry.vdi = vdi.bytes();
  entry.seq = seq;
  entry.name_bytes = static_cast<uint32_t>(name.size());
  std::memcpy(entry.name.data(), name.data(), name.size());
  entry.epoch.store(0);
  entry.size_bytes.store(size_bytes);
  entry.state.store(kMade);
  return std::unique_ptr<KeptHead>(new KeptHead(*this, slot));
}

std::vector<std::unique_ptr<KeptHead>> KeptHeads::TakeLeft(const Id& vdi) {
  std::vector<std::unique_ptr<KeptHead>> left;
  MutexLock lock(mutex_);
  for (uint32_t slot = 0; slot < never_used_; ++slot) {
    const KeptHead::Entry& entry = EntryOf(slot);
    if (is_taken_[slot] || entry.state.load() != kLive || entry.vdi != vdi.bytes()) continue;
    is_taken_[slot] = true;
    left.push_back(std::unique_ptr<KeptHead>(new KeptHead(*this, slot)));
  }
  std::sort(left.begin(), left.end(),
            [](const auto& a, const auto& b) { return a->seq() < b->seq(); });
  return left;
}

}  // namespace quoin

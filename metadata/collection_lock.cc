#include "metadata/collection_lock.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPollInterval{10};
constexpr uint32_t kPrivateMode = 0700;
constexpr uint64_t kMaxGeneration = uint64_t{1} << 62;
constexpr uint64_t kMaxStep = uint64_t{1} << 16;
constexpr uint64_t kNumberDigits = 16;
constexpr uint64_t kGenerationBytes = 2 * kNumberDigits + 2;

std::string EncodeGeneration(uint64_t generation) {
  const std::string digits = fmt::format("{:016x}", generation);
  return fmt::format("{} {:016x}\n", digits, XXH3_64bits(digits.data(), digits.size()));
}

std::optional<uint64_t> DecodeGeneration(std::string_view bytes) {
  uint64_t generation = 0;
  if (bytes.size() != kGenerationBytes) return std::nullopt;
  const auto parsed = std::from_chars(bytes.data(), bytes.data() + kNumberDigits, generation, 16);
  if (parsed.ec != std::errc() || generation > kMaxGeneration + kMaxStep) return std::nullopt;
  if (EncodeGeneration(generation) != bytes) return std::nullopt;
  return generation;
}

uint64_t RandomStep() { return 1 + Id::Random().Prefix() % kMaxStep; }

// The number in a list's name; nothing if it is the name of none.
std::optional<uint64_t> ParseListName(std::string_view name) {
  uint64_t generation = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), generation);
  if (parsed.ec != std::errc() || generation >= kMaxGeneration) return std::nullopt;
  if (std::to_string(generation) != name) return std::nullopt;
  return generation;
}

Status MakeFolder(FileSystem& file_system, const std::string& path) {
  const Status made = file_system.MakeDirectory(path, kPrivateMode);
  if (!made && made.error().code == ErrorCode::kExists) return {};
  if (!made) return made;
  return file_system.SyncDirectory(ParentPath(path));
}

Failure Busy(bool exclusive) {
  if (exclusive) {
    return Fail(ErrorCode::kBusy,
                "cannot decide what is garbage: a host is committing references to packs",
                "try again");
  }
  return Fail(ErrorCode::kBusy,
              "cannot commit references to packs: a collector is deciding what is garbage",
              "try again");
}

Failure LostLock() {
  return Fail(ErrorCode::kLostOwnership, "the storage has let another host take the lock in gc/");
}

}  // namespace

CollectionLock::CollectionLock(FileSystem& file_system, StoreLayout layout)
    : file_system_(file_system), layout_(std::move(layout)) {}

Result<std::unique_ptr<CollectionLock>> CollectionLock::Open(FileSystem& file_system,
                                                             const StoreLayout& layout) {
  std::unique_ptr<CollectionLock> lock(new CollectionLock(file_system, layout));
  QUOIN_TRY(lock->MakeFiles());
  return lock;
}

Status CollectionLock::MakeFiles() {
  QUOIN_TRY(MakeFolder(file_system_, layout_.Collection()));
  QUOIN_TRY(MakeFolder(file_system_, layout_.DeadLists()));
  for (const std::string& path : {layout_.CollectionLock(), layout_.CollectionTurn()}) {
    QUOIN_ASSIGN(const bool exists, PathExists(file_system_, path));
    if (exists) continue;
    QUOIN_ASSIGN(const std::unique_ptr<File> made,
                 file_system_.Open(path, {Access::kReadWrite, Creation::kIfMissing, 0600}));
    QUOIN_TRY(file_system_.SyncDirectory(layout_.Collection()));
  }
  QUOIN_ASSIGN(const bool exists, PathExists(file_system_, layout_.CollectionGeneration()));
  return exists ? Status() : MakeGeneration();
}

// A store that lost the file but has lists: beyond all of them, so that whoever remembers a
// generation sees that it is outdated.
Status CollectionLock::MakeGeneration() {
  QUOIN_ASSIGN(const std::vector<uint64_t> lists, Lists());
  const uint64_t first = lists.empty() ? 0 : lists.back() + RandomStep();
  const Status made = PublishNewFile(file_system_, layout_.CollectionGeneration(),
                                     layout_.NewTemporary(), EncodeGeneration(first));
  if (!made && made.error().code == ErrorCode::kExists) return {};  // another host was faster
  return made;
}

Result<std::unique_ptr<File>> CollectionLock::TryHold(const std::string& path, bool exclusive) {
  QUOIN_ASSIGN(std::unique_ptr<File> file,
               file_system_.Open(path, {exclusive ? Access::kReadWrite : Access::kRead}));
  QUOIN_ASSIGN(const bool locked, exclusive ? file->TryLock() : file->TryLockShared());
  if (!locked) return std::unique_ptr<File>();
  // Two files of this name would be two locks.
  QUOIN_ASSIGN(const FileFacts named, file_system_.Facts(path));
  QUOIN_ASSIGN(const FileFacts opened, file->Facts());
  if (named.identity != opened.identity) return std::unique_ptr<File>();
  return file;
}

Result<std::unique_ptr<File>> CollectionLock::Hold(const std::string& path, bool exclusive,
                                                   Clock::time_point deadline) {
  while (true) {
    bool waits = false;
    if (!exclusive) {
      QUOIN_ASSIGN(waits, CollectorWaits());
    }
    if (!waits) {
      QUOIN_ASSIGN(std::unique_ptr<File> file, TryHold(path, exclusive));
      if (file != nullptr) return file;
    }
    const Clock::time_point now = Clock::now();
    if (now >= deadline) return Busy(exclusive);
    std::this_thread::sleep_for(std::min<Clock::duration>(kPollInterval, deadline - now));
  }
}

Result<bool> CollectionLock::CollectorWaits() {
  QUOIN_ASSIGN(const std::unique_ptr<File> turn, file_system_.Open(layout_.CollectionTurn(), {}));
  return turn->IsLockedElsewhere();
}

Result<CollectionLock::SharedHold> CollectionLock::HoldShared(std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  QUOIN_ASSIGN(std::unique_ptr<File> file, Hold(layout_.CollectionLock(), false, deadline));
  QUOIN_ASSIGN(const uint64_t generation, Generation());
  return SharedHold(std::move(file), generation);
}

Result<CollectionLock::ExclusiveHold> CollectionLock::HoldExclusive(
    std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  QUOIN_ASSIGN(std::unique_ptr<File> turn, Hold(layout_.CollectionTurn(), true, deadline));
  QUOIN_ASSIGN(std::unique_ptr<File> file, Hold(layout_.CollectionLock(), true, deadline));
  QUOIN_ASSIGN(const uint64_t generation, Generation());
  return ExclusiveHold(*this, std::move(turn), std::move(file), generation);
}

Result<uint64_t> CollectionLock::Generation() {
  const std::string path = layout_.CollectionGeneration();
  QUOIN_ASSIGN(const std::string bytes, ReadWholeFile(file_system_, path, kGenerationBytes));
  const std::optional<uint64_t> generation = DecodeGeneration(bytes);
  if (generation) return *generation;
  return Fail(ErrorCode::kCorrupt, fmt::format("{} is damaged", path),
              fmt::format("stop quoin on every host, then: rm {}", path));
}

Result<std::vector<uint64_t>> CollectionLock::Lists() {
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, file_system_.List(layout_.DeadLists()));
  std::vector<uint64_t> lists;
  for (const DirectoryEntry& entry : entries) {
    if (const std::optional<uint64_t> generation = ParseListName(entry.name)) {
      lists.push_back(*generation);
    }
  }
  std::sort(lists.begin(), lists.end());
  return lists;
}

// Backwards from the present one, each list naming the generation before it.
Result<DeadList> CollectionLock::DeadSince(uint64_t generation) {
  QUOIN_ASSIGN(const uint64_t present, Generation());
  DeadList all;
  uint64_t at = present;
  uint64_t bytes_read = 0;
  for (uint64_t lists = 0; at > generation && lists < kMaxDeadLists; ++lists) {
    const std::string path = layout_.DeadList(at);
    QUOIN_ASSIGN(const std::string bytes, ReadWholeFile(file_system_, path, kMaxDeadListBytes));
    QUOIN_ASSIGN(const DeadList list, DeadList::Decode(bytes, at, path, &at));
    bytes_read += bytes.size();
    if (bytes_read > kMaxDeadListBytes) break;  // forgetting all costs less
    all.Add(list);
  }
  if (at == generation && bytes_read <= kMaxDeadListBytes) return all;
  return Fail(ErrorCode::kNotFound,
              fmt::format("what died since generation {} is not known; the present one is {}",
                          generation, present));
}

// Backwards from the present one. Lists are removed the oldest first, so the first one that is not
// there is the end.
Result<DeadList> CollectionLock::KnownDead(int64_t declared_until_ns) {
  QUOIN_ASSIGN(uint64_t at, Generation());
  DeadList all;
  uint64_t bytes_read = 0;
  for (uint64_t lists = 0; lists < 2 * kMaxDeadLists; ++lists) {
    const std::string path = layout_.DeadList(at);
    const Result<FileFacts> facts = file_system_.Facts(path);
    if (!facts && facts.error().code == ErrorCode::kNotFound) return all;
    if (!facts) return Failure(facts.error());
    const Result<std::string> bytes = ReadWholeFile(file_system_, path, kMaxDeadListBytes);
    if (!bytes && bytes.error().code == ErrorCode::kNotFound) return all;
    if (!bytes) return Failure(bytes.error());
    bytes_read += bytes->size();
    if (bytes_read > kMaxDeadListBytes) break;
    QUOIN_ASSIGN(const DeadList list, DeadList::Decode(*bytes, at, path, &at));
    if (facts->mtime_ns <= declared_until_ns) all.Add(list);
  }
  return Fail(ErrorCode::kTooLarge, "the lists in gc/dead are more than can be kept in mind");
}

// Both on the very handle: storage that fences answers an error to a holder that it has given up.
Status CollectionLock::SharedHold::Verify() {
  QUOIN_ASSIGN(const bool held, file_->TryLockShared());
  return held ? Status() : LostLock();
}

Status CollectionLock::ExclusiveHold::Verify() {
  QUOIN_ASSIGN(const bool held, file_->TryLock());
  return held ? Status() : LostLock();
}

// The list first: a generation without its list would make every sealer forget all it knows.
Result<uint64_t> CollectionLock::ExclusiveHold::Advance(const DeadList& dead) {
  FileSystem& file_system = owner_->file_system_;
  const StoreLayout& layout = owner_->layout_;
  if (generation_ >= kMaxGeneration) {
    return Fail(ErrorCode::kTooLarge, "the generations of this store are used up");
  }
  const uint64_t next = generation_ + RandomStep();
  QUOIN_ASSIGN(const std::string list, dead.Encode(next, generation_));
  QUOIN_TRY(Verify());
  QUOIN_TRY(ReplaceFile(file_system, layout.DeadList(next), layout.NewTemporary(), list));
  QUOIN_TRY(Verify());
  QUOIN_TRY(ReplaceFile(file_system, layout.CollectionGeneration(), layout.NewTemporary(),
                        EncodeGeneration(next)));
  generation_ = next;
  return next;
}

Result<uint64_t> CollectionLock::ExclusiveHold::RemoveOldLists(int64_t now_ns) {
  FileSystem& file_system = owner_->file_system_;
  const StoreLayout& layout = owner_->layout_;
  const int64_t oldest_ns =
      now_ns - std::chrono::duration_cast<std::chrono::nanoseconds>(kDeadListAge).count();
  QUOIN_ASSIGN(const std::vector<uint64_t> lists, owner_->Lists());
  uint64_t removed = 0;
  for (const uint64_t list : lists) {
    if (list > generation_) break;  // of a collection that did not come to its end
    QUOIN_ASSIGN(const FileFacts facts, file_system.Facts(layout.DeadList(list)));
    if (facts.mtime_ns >= oldest_ns && lists.size() - removed <= kMaxDeadLists) break;
    QUOIN_TRY(file_system.Remove(layout.DeadList(list)));
    ++removed;
  }
  return removed;
}

}  // namespace quoin

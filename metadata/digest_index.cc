#include "metadata/digest_index.h"

#include <SQLiteCpp/Exception.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <unordered_map>
#include <utility>

#include "metadata/digest_index_file.h"

namespace quoin {

struct DigestIndex::Table {
  using Row = DigestIndexFile::PackRow;

  void Put(const Row& row) {
    Erase(row.number);
    by_number.emplace(row.number, row);
    numbers[row.pack] = row.number;
    if (row.is_held) entries += row.entries;
  }

  void Erase(int64_t number) {
    const auto found = by_number.find(number);
    if (found == by_number.end()) return;
    if (found->second.is_held) entries -= found->second.entries;
    numbers.erase(found->second.pack);
    by_number.erase(found);
  }

  const Row* Find(const Id& pack) const {
    const auto number = numbers.find(pack);
    return number == numbers.end() ? nullptr : &by_number.at(number->second);
  }

  int64_t NextNumber() const { return by_number.empty() ? 1 : by_number.rbegin()->first + 1; }

  std::map<int64_t, Row> by_number;
  std::unordered_map<Id, int64_t, IdHash> numbers;
  uint64_t entries = 0;  // of packs that are held
};

DigestIndex::DigestIndex(std::unique_ptr<DigestIndexFile> file, uint64_t max_entries)
    : is_private_(file->is_in_memory()),
      max_entries_(max_entries),
      file_(std::move(file)),
      packs_(std::make_unique<Table>()) {}

DigestIndex::~DigestIndex() = default;

template <typename Call>
void DigestIndex::Use(std::string_view act, Call call) {
  if (file_ == nullptr) return;
  try {
    call();
  } catch (const SQLite::Exception& exception) {
    spdlog::error("cannot {} the index of digests: {}; it answers nothing until it is opened again",
                  act, exception.what());
    file_->Discard();
    file_.reset();
    *packs_ = {};
  }
}

template <typename Call>
void DigestIndex::Change(std::string_view act, Call call) {
  Use(act, [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    file_->Begin();
    call();
    file_->Commit();
  });
}

Result<std::unique_ptr<DigestIndex>> DigestIndex::Open(const std::string& folder, const Id& store,
                                                       uint64_t max_entries) {
  std::unique_ptr<DigestIndex> index;
  try {
    index.reset(new DigestIndex(DigestIndexFile::Open(folder, store), max_entries));
  } catch (const SQLite::Exception& exception) {
    return Fail(ErrorCode::kIo,
                fmt::format("cannot make an index of digests in memory: {}", exception.what()));
  }
  DigestIndex& opened = *index;
  MutexLock lock(opened.mutex_);
  opened.Change("open", [&opened]() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    for (const Table::Row& row : opened.file_->ReadPacks()) opened.packs_->Put(row);
    opened.DropBeyondLimit();
  });
  return index;
}

std::vector<SlotLocation> DigestIndex::Lookup(const Digest& digest) {
  std::vector<SlotLocation> places;
  if (!IsSampled(digest)) return places;
  std::vector<DigestIndexFile::EntryRow> found;
  MutexLock lock(mutex_);
  Use("read", [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    file_->Find(digest.Prefix(), kMaxCandidates, &found);
  });
  for (const DigestIndexFile::EntryRow& entry : found) {
    const auto row = packs_->by_number.find(entry.pack);
    if (row != packs_->by_number.end()) places.push_back({row->second.pack, entry.slot});
  }
  return places;
}

void DigestIndex::AddPack(const Id& pack, std::span<const Digest> digests,
                          std::span<const uint32_t> slots) {
  if (digests.size() != slots.size() || pack.IsNull()) std::abort();
  MutexLock lock(mutex_);
  Change("write", [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    if (const Table::Row* known = packs_->Find(pack)) Remove(known->number);
    Table::Row row{packs_->NextNumber(), pack};
    std::vector<DigestIndexFile::EntryRow> sampled;
    for (size_t i = 0; i < digests.size(); ++i) {
      if (IsSampled(digests[i])) sampled.push_back({digests[i].Prefix(), row.number, slots[i]});
    }
    // In the order of the table, so that each of its pages is visited once.
    std::sort(sampled.begin(), sampled.end(), [](const auto& a, const auto& b) {
      return static_cast<int64_t>(a.prefix) < static_cast<int64_t>(b.prefix);
    });
    for (const DigestIndexFile::EntryRow& entry : sampled) file_->AddEntry(entry);
    row.entries = sampled.size();
    file_->PutPack(row);
    packs_->Put(row);
    DropBeyondLimit();
  });
}

void DigestIndex::RemovePack(const Id& pack) {
  MutexLock lock(mutex_);
  if (packs_->Find(pack) == nullptr) return;
  Change("write", [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS { Remove(packs_->Find(pack)->number); });
}

void DigestIndex::RemoveSlots(const Id& pack, const std::function<bool(uint32_t slot)>& is_dead) {
  MutexLock lock(mutex_);
  const Table::Row* known = packs_->Find(pack);
  if (known == nullptr || !known->is_held) return;
  Change("write", [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    Table::Row row = *known;
    for (const DigestIndexFile::EntryRow& entry : file_->ReadEntriesOf(row.number)) {
      if (!is_dead(entry.slot)) continue;
      file_->RemoveEntry(entry);
      if (row.entries > 0) --row.entries;
    }
    file_->PutPack(row);
    packs_->Put(row);
  });
}

std::vector<Id> DigestIndex::Packs() {
  MutexLock lock(mutex_);
  std::vector<Id> packs;
  for (const auto& [number, row] : packs_->by_number) {
    if (row.is_held) packs.push_back(row.pack);
  }
  return packs;
}

uint64_t DigestIndex::entries() {
  MutexLock lock(mutex_);
  return packs_->entries;
}

DigestIndex::Progress DigestIndex::Reconcile(const std::vector<Id>& present, const LoadPack& load,
                                             size_t limit) {
  Progress progress;
  std::vector<Id> wanted;
  {
    const std::unordered_set<Id, IdHash> there(present.begin(), present.end());
    MutexLock lock(mutex_);
    std::vector<int64_t> gone;
    for (const auto& [number, row] : packs_->by_number) {
      if (there.count(row.pack) == 0) gone.push_back(number);
    }
    progress.finished = gone.size() <= limit;
    if (!progress.finished) gone.resize(limit);
    if (!gone.empty()) {
      Change("write", [&]() QUOIN_NO_THREAD_SAFETY_ANALYSIS {
        for (const int64_t number : gone) Remove(number);
      });
    }
    progress.dropped = gone.size();
    if (file_ == nullptr) return {0, 0, true};
    for (const Id& pack : present) {
      if (IsWanted(pack)) wanted.push_back(pack);
    }
  }
  size_t left = limit - progress.dropped;
  for (const Id& pack : wanted) {
    {
      MutexLock lock(mutex_);
      if (!IsWanted(pack)) continue;  // added or given up meanwhile, or there is no more room
    }
    if (left == 0) {
      progress.finished = false;
      break;
    }
    --left;
    const Result<PackDigests> loaded = load(pack);
    if (!loaded || loaded->digests.size() != loaded->slots.size()) {
      spdlog::warn("pack {} is not in the index of digests: {}", pack.ToString(),
                   loaded ? std::string("its table is odd") : loaded.error().what);
      MutexLock lock(mutex_);
      unreadable_.insert(pack);
      continue;
    }
    AddPack(pack, loaded->digests, loaded->slots);
    ++progress.added;
  }
  return progress;
}

// True for a pack that Reconcile is to add.
bool DigestIndex::IsWanted(const Id& pack) {
  if (file_ == nullptr || pack.IsNull() || unreadable_.count(pack) > 0) return false;
  const Table::Row* known = packs_->Find(pack);
  if (known == nullptr) return true;
  return !known->is_held && packs_->entries + known->entries <= max_entries_;
}

void DigestIndex::Remove(int64_t number) {
  file_->RemoveEntriesOf(number);
  file_->RemovePack(number);
  packs_->Erase(number);
}

void DigestIndex::DropBeyondLimit() {
  while (packs_->entries > max_entries_) DropOldest();
}

void DigestIndex::DropOldest() {
  for (const auto& [number, row] : packs_->by_number) {
    if (!row.is_held || row.entries == 0) continue;
    Table::Row dropped = row;
    dropped.is_held = false;
    file_->RemoveEntriesOf(number);
    file_->PutPack(dropped);
    packs_->Put(dropped);
    return;
  }
  std::abort();  // there are entries, so a pack has them
}

}  // namespace quoin

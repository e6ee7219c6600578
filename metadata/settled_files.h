// What was read from small files, remembered for as long as each is the same file with the same times, so
// that whoever looks at ten thousand of them opens none twice. Owned by whoever reads them; thread-safe; in
// memory only.
//
// Times may be so coarse that two changes within a second look like one, and the number of a file that was
// removed may soon be another file's. So what was read counts only if any later change must show: if the file
// had been as it is for kSettled before it was read, or if the storage's clock had gone on by as much since
// its last change. How far that clock is, the times of the other files tell that were looked at: the clocks
// of two machines are not compared.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"

namespace quoin {

template <typename Value>
class SettledFiles {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kSettled{1500};
  // One more, and all are forgotten: 20,000 files of VDIs take some 5 MiB.
  static constexpr size_t kMaxEntries = 20'000;

  struct Look {
    std::optional<Value> known;  // if there is one, the file need not be read
    FileFacts facts;
    Clock::time_point at;
    bool is_old = false;  // by the storage's clock
  };

  // A look at the file, which has these facts just now.
  Look At(const std::string& path, const FileFacts& facts, Clock::time_point now = Clock::now()) {
    Look look{std::nullopt, facts, now, false};
    const int64_t changed_ns = std::max(facts.mtime_ns, facts.ctime_ns);
    MutexLock lock(mutex_);
    const auto found = entries_.find(path);
    if (found != entries_.end() && found->second.is_settled && found->second.IsOf(facts)) {
      look.known = found->second.value;
    }
    newest_ns_ = std::max(newest_ns_, changed_ns);
    look.is_old = newest_ns_ - changed_ns >= std::chrono::nanoseconds(kSettled).count();
    return look;
  }

  // What was read from the file, after the look.
  void Remember(const std::string& path, const Look& look, Value value) {
    MutexLock lock(mutex_);
    if (entries_.size() >= kMaxEntries) entries_.clear();
    Entry& entry = entries_[path];
    if (!entry.IsOf(look.facts)) {
      entry.identity = look.facts.identity;
      entry.mtime_ns = look.facts.mtime_ns;
      entry.ctime_ns = look.facts.ctime_ns;
      entry.first_seen = look.at;
    }
    entry.is_settled = look.is_old || look.at - entry.first_seen >= kSettled;
    entry.value = std::move(value);
  }

 private:
  struct Entry {
    FileIdentity identity;
    int64_t mtime_ns = 0;
    int64_t ctime_ns = 0;
    Clock::time_point first_seen;
    bool is_settled = false;
    Value value{};

    bool IsOf(const FileFacts& facts) const {
      return identity == facts.identity && mtime_ns == facts.mtime_ns &&
             ctime_ns == facts.ctime_ns;
    }
  };

  Mutex mutex_{LockRank::kLeaf};
  std::unordered_map<std::string, Entry> entries_ QUOIN_GUARDED_BY(mutex_);
  int64_t newest_ns_ QUOIN_GUARDED_BY(mutex_) = 0;  // the latest time seen on any of the files
};

}  // namespace quoin

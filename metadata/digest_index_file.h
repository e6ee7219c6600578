// The file of a DigestIndex: its lock, its rows and the SQL. SQLite's exceptions pass through. Not
// thread-safe. A crash of the process leaves the last whole transaction; there are no syncs, so a
// power cut may leave a damaged file, which Open begins anew.
#pragma once

#include <SQLiteCpp/Database.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/id.h"
#include "metadata/prepared_statements.h"

namespace quoin {

// Frozen: "QIDX", in the header of every index.db.
inline constexpr int64_t kDigestIndexApplicationId = 0x51494458;
inline constexpr int64_t kDigestIndexSchemaVersion = 1;

std::string_view DigestIndexSchema();

class DigestIndexFile {
 public:
  struct PackRow {
    int64_t number = 0;  // rises in the order of adding
    Id pack;
    uint64_t entries = 0;
    bool is_held = true;
  };
  struct EntryRow {
    uint64_t prefix = 0;
    int64_t pack = 0;  // its number
    uint32_t slot = 0;
  };

  // The index of the store in this folder, or an empty one in memory if another process has that or
  // the disk cannot hold one; what was done and why is logged. Throws only if memory fails too.
  static std::unique_ptr<DigestIndexFile> Open(const std::string& folder, const Id& store);

  ~DigestIndexFile();
  DigestIndexFile(const DigestIndexFile&) = delete;
  DigestIndexFile& operator=(const DigestIndexFile&) = delete;

  bool is_in_memory() const { return path_.empty(); }

  // All packs, in the order of adding.
  std::vector<PackRow> ReadPacks();
  // Inserts the row or replaces the one of that number.
  void PutPack(const PackRow& row);
  void RemovePack(int64_t number);

  // At most `limit` entries with this prefix, packs in the order of adding.
  void Find(uint64_t prefix, size_t limit, std::vector<EntryRow>* found);
  void AddEntry(const EntryRow& entry);
  void RemoveEntry(const EntryRow& entry);
  void RemoveEntriesOf(int64_t pack);
  std::vector<EntryRow> ReadEntriesOf(int64_t pack);

  void Begin();
  void Commit();

  // Closes and removes the file: what is in it cannot be trusted. Nothing else may be called then.
  void Discard();

 private:
  class Lock;

  DigestIndexFile(const std::string& path, std::unique_ptr<Lock> lock);

  // False, with the reason, if the file is not this store's index in the present version.
  bool IsUsable(const Id& store, std::string* why);
  void MakeSchema(const Id& store);
  static std::unique_ptr<DigestIndexFile> OpenOnDisk(const std::string& folder, const Id& store);

  const std::string path_;  // "": in memory
  std::unique_ptr<Lock> lock_;
  std::unique_ptr<SQLite::Database> database_;
  std::unique_ptr<PreparedStatements> statements_;
};

}  // namespace quoin

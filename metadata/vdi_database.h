// vdi.db: one VDI's durable facts, opened only by the holder of its writer lock, through the seam
// (sqlite_vfs.h), with locking_mode=EXCLUSIVE, WAL and synchronous=FULL: a commit that returned is
// durable and cost one fsync. schema.sql is the present schema; older databases are brought up by
// the numbered files in schema/. A newer one is refused (kNewerFormat), a damaged one is kCorrupt:
// every page carries a checksum (database_page.h).
//
// Not thread-safe: the caller serialises (kVdiState). A crash leaves the last committed
// transaction, and so does destruction: it writes nothing, because it may come after the ownership
// was lost. After a failed Commit the database is as before, also on the storage (kNoSpace: it
// works again when there is room); only if syncing failed (kIo), which of the two a later Open
// finds is unknown.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "blockstore/base/file_system.h"
#include "blockstore/layers/ownership_set.h"
#include "metadata/vdi_records.h"

namespace quoin {

class VdiDatabase {
 public:
  // One atomic change. Rolled back on destruction unless Commit returned success. At most one at a
  // time, and it must end before its database. Puts insert or replace whole rows by their key;
  // kInvalid for a record that breaks record_checks.h, kExists for a name or ordinal that another
  // row has. After a failed change the transaction makes no other, and Commit answers that error.
  class Transaction {
   public:
    ~Transaction();
    Transaction(Transaction&&) noexcept;
    Transaction(const Transaction&) = delete;

    Status PutVdi(const VdiRecord& vdi);
    Status PutLayer(const LayerRecord& layer);  // a sealed one: and removes its ownership rows
    Status RemoveLayer(uint32_t seq);  // with its ownership rows
    Status PutSnapshot(const SnapshotRecord& snapshot);
    Status RemoveSnapshot(const Id& id);
    // Replaces the rows of these regions (a record with empty runs removes its row).
    Status PutOwnership(uint32_t layer_seq, const std::vector<RegionRecord>& regions);
    // Removes at most `limit` rows of the layer; returns how many were removed.
    Result<uint64_t> RemoveOwnership(uint32_t layer_seq, uint64_t limit);
    // kInvalid if a layer would be missing that another record names.
    Status Commit();

   private:
    friend class VdiDatabase;
    struct State;
    explicit Transaction(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };

  ~VdiDatabase();
  VdiDatabase(const VdiDatabase&) = delete;
  VdiDatabase& operator=(const VdiDatabase&) = delete;

  // A new database with this state; kExists if the file is there. Durable when it returns, the
  // name once the folder is synced (done here too).
  static Result<std::unique_ptr<VdiDatabase>> Create(FileSystem& file_system,
                                                     const std::string& path,
                                                     const VdiState& state);
  // kNotFound, kBusy (another process has it open), kCorrupt, kNewerFormat.
  static Result<std::unique_ptr<VdiDatabase>> Open(FileSystem& file_system,
                                                   const std::string& path);

  // kCorrupt if the records break record_checks.h.
  Result<VdiState> Load();
  // Calls visit for every ownership row of the layer, in region order, until it fails.
  Status LoadOwnership(uint32_t layer_seq,
                       const std::function<Status(uint32_t region, std::string_view runs)>& visit);
  Result<Transaction> Begin();
  // Reads every page and holds every index and reference against its table, beyond what Load
  // checks. kCorrupt with the first thing found. Takes time in proportion to the file.
  Status CheckAll();
  // Writes the WAL back so that the file alone is the database; called at a clean release.
  Status Checkpoint();

 private:
  struct Connection;
  explicit VdiDatabase(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> connection_;
};

}  // namespace quoin

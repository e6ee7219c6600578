// The probe of databases: what a VDI's owner does with vdi.db, with the same code, to the owner's death.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "blockstore/base/posix_file_system.h"
#include "metadata/vdi_database.h"
#include "tools/probe_processes.h"
#include "tools/probe_times.h"
#include "tools/storage_probes.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCommitsBeforeDeath = 20;
constexpr std::chrono::milliseconds kReplyPatience{15'000};
constexpr std::chrono::milliseconds kOpenPatience{10'000};
constexpr char kCommitted = 'c';
constexpr char kFailed = 'f';

VdiState SmallestState() {
  VdiState state;
  state.vdi.id = Id::Random();
  state.vdi.epoch = 1;
  state.vdi.head_seq = 1;
  state.vdi.next_seq = 2;
  LayerRecord head;
  head.seq = 1;
  head.state = LayerState::kHead;
  head.name = "1-1";
  state.layers.push_back(head);
  return state;
}

// Commits as a guest's flush does.
Status CommitOnce(VdiDatabase& database, VdiState& state) {
  QUOIN_ASSIGN(VdiDatabase::Transaction transaction, database.Begin());
  ++state.vdi.data_blocks;
  QUOIN_TRY(transaction.PutVdi(state.vdi));
  return transaction.Commit();
}

// The lock of whoever had it open passes on as soon as the storage pleases.
Result<std::unique_ptr<VdiDatabase>> OpenSoon(FileSystem& file_system, const std::string& path) {
  const Clock::time_point deadline = Clock::now() + kOpenPatience;
  for (;;) {
    Result<std::unique_ptr<VdiDatabase>> database = VdiDatabase::Open(file_system, path);
    const bool may_come = !database && (database.error().code == ErrorCode::kBusy ||
                                        database.error().code == ErrorCode::kNotFound);
    if (!may_come || Clock::now() >= deadline) return database;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// An owner that tells of each commit, and is killed with the database open.
int Commit(const std::string& path, const Channel& channel) {
  PosixFileSystem file_system;
  const Result<std::unique_ptr<VdiDatabase>> database = OpenSoon(file_system, path);
  Result<VdiState> state = database ? (*database)->Load() : Result<VdiState>(Failure(database.error()));
  for (int i = 0; i < kCommitsBeforeDeath; ++i) {
    const bool committed = state && CommitOnce(**database, *state);
    if (!SendByte(channel.child, committed ? kCommitted : kFailed) || !committed) return 1;
  }
  (void)ReceiveByte(channel.child, kChildPatience);
  return 0;
}

ProbeReport Bad(const std::string& found) { return ProbeBad(found, kDurableFalls); }

}  // namespace

ProbeReport ProbeDatabase(const ProbePlace& place) {
  PosixFileSystem file_system;
  const std::string path = place.first + "/vdi.db";
  const std::string other_path = place.second + "/vdi.db";
  VdiState state = SmallestState();
  Result<std::unique_ptr<VdiDatabase>> database = VdiDatabase::Create(file_system, path, state);
  if (!database) return Bad(database.error().what);
  Status committed;
  const std::optional<ProbeTimes> times = ProbeTimes::Take([&](int) {
    committed = CommitOnce(**database, state);
    return committed.has_value();
  });
  if (!times) return Bad(committed.error().what);
  if (VdiDatabase::Open(file_system, other_path)) {
    return ProbeBad("an SQLite database can be opened twice although it is held exclusively",
                    kOneWriterFalls);
  }
  database->reset();

  const Channel channel = Channel::Make();
  ChildProcess owner([&] { return Commit(other_path, channel); });
  for (int i = 0; i < kCommitsBeforeDeath; ++i) {
    const std::optional<char> word = ReceiveByte(channel.parent, kReplyPatience);
    if (word != kCommitted) return Bad("a second process cannot open a database, or commit, after another");
  }
  owner.Kill();
  database = OpenSoon(file_system, path);
  if (!database) return Bad(database.error().what);
  const Result<VdiState> loaded = (*database)->Load();
  if (!loaded) return Bad(loaded.error().what);
  if (const Status checked = (*database)->CheckAll(); !checked) return Bad(checked.error().what);
  if (loaded->vdi.data_blocks != state.vdi.data_blocks + kCommitsBeforeDeath) {
    return Bad("commits of a process that was killed are lost");
  }
  return times->Report("SQLite works exclusively with a WAL, also over its owner's death; a commit");
}

}  // namespace quoin

#include "metadata/digest_index_file.h"

#include <SQLiteCpp/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "metadata/host.h"

namespace quoin {
namespace {

constexpr const char* kFileName = "/index.db";
constexpr const char* kLockName = "/index.lock";
constexpr const char* kInMemory = ":memory:";
constexpr int kPageBytes = 4096;
constexpr int kPageCacheKib = 32 << 10;
constexpr int64_t kMaxPackNumber = int64_t{1} << 62;
constexpr int kOpenFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

constexpr const char* kReadPacks = "SELECT number, id, entries, is_held FROM pack ORDER BY number";
constexpr const char* kPutPack =
    "INSERT OR REPLACE INTO pack (number, id, entries, is_held) VALUES (?, ?, ?, ?)";
constexpr const char* kRemovePack = "DELETE FROM pack WHERE number = ?";
constexpr const char* kFind =
    "SELECT pack, slot FROM entry WHERE prefix = ? ORDER BY pack, slot LIMIT ?";
constexpr const char* kAddEntry =
    "INSERT OR IGNORE INTO entry (prefix, pack, slot) VALUES (?, ?, ?)";
constexpr const char* kRemoveEntry = "DELETE FROM entry WHERE prefix = ? AND pack = ? AND slot = ?";
constexpr const char* kRemoveEntriesOf = "DELETE FROM entry WHERE pack = ?";
constexpr const char* kReadEntriesOf = "SELECT prefix, slot FROM entry WHERE pack = ?";

// One connection, so no shared memory and no lock calls for each lookup. Nothing waits for the
// disk.
void Configure(SQLite::Database& database) {
  database.exec(fmt::format("PRAGMA page_size = {}", kPageBytes));
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  database.exec("PRAGMA journal_mode = WAL");
  database.exec("PRAGMA synchronous = OFF");
  database.exec("PRAGMA temp_store = MEMORY");
  database.exec(fmt::format("PRAGMA cache_size = -{}", kPageCacheKib));
}

// SQLite notices by itself that pages are missing, but not half a page.
bool IsCutWithinAPage(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && facts.st_size % kPageBytes != 0;
}

void RemoveFiles(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    (void)::unlink((path + suffix).c_str());  // what is not there needs no removal
  }
}

// A row that no index wrote: the file is damaged.
[[noreturn]] void ThrowDamage() { throw SQLite::Exception("impossible row", SQLITE_CORRUPT); }

uint32_t SlotOf(const SQLite::Column& column) {
  const int64_t slot = column.getInt64();
  if (slot < 0 || slot > std::numeric_limits<uint32_t>::max()) ThrowDamage();
  return static_cast<uint32_t>(slot);
}

}  // namespace

// The right to use the file, for as long as this object lives: a file beside it, since the index
// itself may have to be removed.
class DigestIndexFile::Lock {
 public:
  // Null, with the reason, if another process has it or there can be no such file.
  static std::unique_ptr<Lock> Take(const std::string& path, std::string* why) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
      *why = fmt::format("cannot open {}: {}", path, std::strerror(errno));
      return nullptr;
    }
    std::unique_ptr<Lock> lock(new Lock(fd));
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
    *why = errno == EWOULDBLOCK ? std::string("another process uses it")
                                : fmt::format("cannot lock {}: {}", path, std::strerror(errno));
    return nullptr;
  }

  ~Lock() { ::close(fd_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  explicit Lock(int fd) : fd_(fd) {}
  const int fd_;
};

DigestIndexFile::DigestIndexFile(const std::string& path, std::unique_ptr<Lock> lock)
    : path_(path),
      lock_(std::move(lock)),
      database_(std::make_unique<SQLite::Database>(path.empty() ? kInMemory : path, kOpenFlags)),
      statements_(std::make_unique<PreparedStatements>(*database_)) {
  Configure(*database_);
}

DigestIndexFile::~DigestIndexFile() = default;  // the lock goes last

bool DigestIndexFile::IsUsable(const Id& store, std::string* why) {
  try {
    const auto number = [this](const char* pragma) {
      return database_->execAndGet(pragma).getInt64();
    };
    if (number("PRAGMA application_id") != kDigestIndexApplicationId) {
      *why = "it is no digest index";
      return false;
    }
    if (number("PRAGMA user_version") != kDigestIndexSchemaVersion) {
      *why = "it is of another version";
      return false;
    }
    if (database_->execAndGet("SELECT id FROM store").getString() != store.ToString()) {
      *why = "it is of another store";
      return false;
    }
    (void)ReadPacks();
    std::vector<EntryRow> found;
    Find(0, 1, &found);
    return true;
  } catch (const SQLite::Exception& exception) {
    *why = exception.what();
    return false;
  }
}

void DigestIndexFile::MakeSchema(const Id& store) {
  Begin();
  database_->exec(std::string(DigestIndexSchema()));
  database_->exec(fmt::format("INSERT INTO store VALUES (1, '{}')", store.ToString()));
  Commit();
}

// Null, with the reason logged, if the disk has none for us.
std::unique_ptr<DigestIndexFile> DigestIndexFile::OpenOnDisk(const std::string& folder,
                                                             const Id& store) {
  const std::string path = folder + kFileName;
  const auto none = [&path](std::string_view why) -> std::unique_ptr<DigestIndexFile> {
    spdlog::warn("{}: {}; blocks are looked up in an index in memory", path, why);
    return nullptr;
  };
  if (const Status made = MakeLocalFolders(folder); !made) return none(made.error().what);
  std::string why;
  std::unique_ptr<Lock> lock = Lock::Take(folder + kLockName, &why);
  if (lock == nullptr) return none(why);
  try {
    if (::access(path.c_str(), F_OK) == 0) {
      try {
        const bool is_cut = IsCutWithinAPage(path);
        std::unique_ptr<DigestIndexFile> file(new DigestIndexFile(path, nullptr));
        if (!is_cut && file->IsUsable(store, &why)) {
          file->lock_ = std::move(lock);
          return file;
        }
        if (is_cut) why = "it is cut short";
      } catch (const SQLite::Exception& exception) {
        why = exception.what();
      }
    } else {
      why = "it is missing";
    }
    spdlog::info("{}: begun anew, because {}", path, why);
    RemoveFiles(path);
    std::unique_ptr<DigestIndexFile> file(new DigestIndexFile(path, std::move(lock)));
    file->MakeSchema(store);
    return file;
  } catch (const SQLite::Exception& exception) {
    RemoveFiles(path);
    return none(exception.what());
  }
}

std::unique_ptr<DigestIndexFile> DigestIndexFile::Open(const std::string& folder, const Id& store) {
  if (std::unique_ptr<DigestIndexFile> file = OpenOnDisk(folder, store)) return file;
  std::unique_ptr<DigestIndexFile> file(new DigestIndexFile("", nullptr));
  file->MakeSchema(store);
  return file;
}

std::vector<DigestIndexFile::PackRow> DigestIndexFile::ReadPacks() {
  std::vector<PackRow> rows;
  StatementUse select = statements_->Prepare(kReadPacks);
  while (select->executeStep()) {
    const int64_t number = select->getColumn(0).getInt64();
    const std::optional<Id> pack = Id::Parse(select->getColumn(1).getString());
    const int64_t entries = select->getColumn(2).getInt64();
    const bool is_possible =
        number > 0 && number < kMaxPackNumber && pack && !pack->IsNull() && entries >= 0;
    if (!is_possible) ThrowDamage();
    rows.push_back(
        {number, *pack, static_cast<uint64_t>(entries), select->getColumn(3).getInt() != 0});
  }
  return rows;
}

void DigestIndexFile::PutPack(const PackRow& row) {
  StatementUse put = statements_->Prepare(kPutPack);
  put->bind(1, row.number);
  put->bind(2, row.pack.ToString());
  put->bind(3, static_cast<int64_t>(row.entries));
  put->bind(4, row.is_held ? 1 : 0);
  put->exec();
}

void DigestIndexFile::RemovePack(int64_t number) {
  StatementUse remove = statements_->Prepare(kRemovePack);
  remove->bind(1, number);
  remove->exec();
}

void DigestIndexFile::Find(uint64_t prefix, size_t limit, std::vector<EntryRow>* found) {
  StatementUse select = statements_->Prepare(kFind);
  select->bind(1, static_cast<int64_t>(prefix));
  select->bind(2, static_cast<int64_t>(limit));
  while (select->executeStep()) {
    found->push_back({prefix, select->getColumn(0).getInt64(), SlotOf(select->getColumn(1))});
  }
}

void DigestIndexFile::AddEntry(const EntryRow& entry) {
  StatementUse add = statements_->Prepare(kAddEntry);
  add->bind(1, static_cast<int64_t>(entry.prefix));
  add->bind(2, entry.pack);
  add->bind(3, entry.slot);
  add->exec();
}

void DigestIndexFile::RemoveEntry(const EntryRow& entry) {
  StatementUse remove = statements_->Prepare(kRemoveEntry);
  remove->bind(1, static_cast<int64_t>(entry.prefix));
  remove->bind(2, entry.pack);
  remove->bind(3, entry.slot);
  remove->exec();
}

void DigestIndexFile::RemoveEntriesOf(int64_t pack) {
  StatementUse remove = statements_->Prepare(kRemoveEntriesOf);
  remove->bind(1, pack);
  remove->exec();
}

std::vector<DigestIndexFile::EntryRow> DigestIndexFile::ReadEntriesOf(int64_t pack) {
  std::vector<EntryRow> entries;
  StatementUse select = statements_->Prepare(kReadEntriesOf);
  select->bind(1, pack);
  while (select->executeStep()) {
    entries.push_back({static_cast<uint64_t>(select->getColumn(0).getInt64()), pack,
                       SlotOf(select->getColumn(1))});
  }
  return entries;
}

void DigestIndexFile::Begin() { statements_->Prepare("BEGIN IMMEDIATE")->exec(); }
void DigestIndexFile::Commit() { statements_->Prepare("COMMIT")->exec(); }

void DigestIndexFile::Discard() {
  statements_.reset();
  database_.reset();
  if (!path_.empty()) RemoveFiles(path_);
}

}  // namespace quoin

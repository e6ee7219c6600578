#include "blockstore/base/posix_file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace quoin {
namespace {

namespace bfs = boost::filesystem;

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
// A create that races another one may answer EEXIST on shared storage although nothing excludes
// (measured: MooseFS up to 70 %, GlusterFS 1 in 400); opening again then finds the file.
constexpr int kCreateAttempts = 10;

// The page cache's folios are as large as the call that fills them, and ext4 on recent kernels walks a
// whole folio for each small write into it: measured on Linux 6.18, 4 KiB rewrites were 3 to 8 times
// slower in files filled by 1 MiB writes or by readahead than in files filled by 64 KiB writes, while
// cutting cost nothing measurable at 1 MiB. So writes go in pieces, and files that are written are
// not read ahead of what is asked.
constexpr size_t kWritePieceBytes = 64 << 10;

template <typename Call>
auto RetryInterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

FileFacts ToFacts(const struct stat& st) {
  FileFacts facts;
  facts.kind = S_ISREG(st.st_mode)   ? EntryKind::kFile
               : S_ISDIR(st.st_mode) ? EntryKind::kDirectory
                                     : EntryKind::kOther;
  facts.identity = {st.st_dev, st.st_ino};
  facts.size_bytes = static_cast<uint64_t>(st.st_size);
  facts.allocated_bytes = static_cast<uint64_t>(st.st_blocks) * 512;
  facts.link_count = st.st_nlink;
  facts.mtime_ns = st.st_mtim.tv_sec * kNanosecondsPerSecond + st.st_mtim.tv_nsec;
  facts.ctime_ns = st.st_ctim.tv_sec * kNanosecondsPerSecond + st.st_ctim.tv_nsec;
  facts.mode = st.st_mode & 07777;
  return facts;
}

class PosixFile final : public File {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Result<size_t> Read(uint64_t offset, std::span<std::byte> buffer) override {
    size_t done = 0;
    while (done < buffer.size()) {
      const ssize_t n = RetryInterrupted([&] {
        return ::pread(fd_, buffer.data() + done, buffer.size() - done,
                       static_cast<off_t>(offset + done));
      });
      if (n < 0) return FailSystem(errno, fmt::format("cannot read {}", path_));
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = RetryInterrupted([&] {
        return ::pwrite(fd_, bytes.data() + done,
                        std::min(bytes.size() - done, kWritePieceBytes),
                        static_cast<off_t>(offset + done));
      });
      if (n < 0) return FailSystem(errno, fmt::format("cannot write {}", path_));
      done += static_cast<size_t>(n);
    }
    return {};
  }

  void BeginWriteOut(uint64_t offset, uint64_t length) override {
    (void)::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(length),
                            SYNC_FILE_RANGE_WRITE);
  }

  Status Sync(SyncKind kind) override {
    const int rc = RetryInterrupted(
        [&] { return kind == SyncKind::kData ? ::fdatasync(fd_) : ::fsync(fd_); });
    if (rc != 0) return FailSystem(errno, fmt::format("cannot sync {}", path_));
    return {};
  }

  Status Truncate(uint64_t size_bytes) override {
    if (RetryInterrupted([&] { return ::ftruncate(fd_, static_cast<off_t>(size_bytes)); }) != 0) {
      return FailSystem(errno, fmt::format("cannot set the size of {}", path_));
    }
    return {};
  }

  Status PunchHole(uint64_t offset, uint64_t length) override {
    const int rc = RetryInterrupted([&] {
      return ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(offset), static_cast<off_t>(length));
    });
    if (rc != 0) return FailSystem(errno, fmt::format("cannot punch a hole in {}", path_));
    return {};
  }

  Result<FileFacts> Facts() override {
    struct stat st {};
    if (::fstat(fd_, &st) != 0) return FailSystem(errno, fmt::format("cannot stat {}", path_));
    return ToFacts(st);
  }

  Result<bool> TryLock() override { return SetLock(F_WRLCK); }
  Result<bool> TryLockShared() override { return SetLock(F_RDLCK); }

  Status Unlock() override {
    struct flock lock = WholeFile(F_UNLCK);
    if (RetryInterrupted([&] { return ::fcntl(fd_, F_OFD_SETLK, &lock); }) != 0) {
      return FailSystem(errno, fmt::format("cannot unlock {}", path_));
    }
    return {};
  }

  Result<bool> IsLockedElsewhere() override {
    struct flock lock = WholeFile(F_WRLCK);
    if (RetryInterrupted([&] { return ::fcntl(fd_, F_OFD_GETLK, &lock); }) != 0) {
      return FailSystem(errno, fmt::format("cannot query the lock of {}", path_));
    }
    return lock.l_type != F_UNLCK;
  }

 private:
  Result<bool> SetLock(short type) {
    struct flock lock = WholeFile(type);
    if (RetryInterrupted([&] { return ::fcntl(fd_, F_OFD_SETLK, &lock); }) == 0) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    return FailSystem(errno, fmt::format("cannot lock {}", path_));
  }

  static struct flock WholeFile(short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
  }

  const int fd_;
  const std::string path_;
};

struct FolderCloser {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// Nothing, with errno, if it cannot be had.
std::optional<EntryKind> KindOf(DIR* folder, const dirent& entry) {
  if (entry.d_type == DT_REG) return EntryKind::kFile;
  if (entry.d_type == DT_DIR) return EntryKind::kDirectory;
  if (entry.d_type != DT_UNKNOWN) return EntryKind::kOther;
  struct stat st {};
  if (::fstatat(::dirfd(folder), entry.d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return ToFacts(st).kind;
}

Status FromBoost(const boost::system::error_code& error, const std::string& act) {
  if (error) return FailSystem(error.value(), act);
  return {};
}

}  // namespace

Result<std::unique_ptr<File>> PosixFileSystem::Open(const std::string& path, OpenOptions options) {
  int flags = O_CLOEXEC | O_NOFOLLOW | (options.access == Access::kRead ? O_RDONLY : O_RDWR);
  if (options.creation != Creation::kNever) flags |= O_CREAT;
  if (options.creation == Creation::kExclusive) flags |= O_EXCL;
  int fd = -1;
  for (int attempt = 0; attempt < kCreateAttempts; ++attempt) {
    fd = RetryInterrupted([&] { return ::open(path.c_str(), flags, options.mode); });
    if (fd >= 0 || errno != EEXIST || options.creation != Creation::kIfMissing) break;
  }
  if (fd < 0) return FailSystem(errno, fmt::format("cannot open {}", path));
  if (options.access == Access::kReadWrite || !options.read_ahead) {
    (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  }
  return std::make_unique<PosixFile>(fd, path);
}

Result<FileFacts> PosixFileSystem::Facts(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return FailSystem(errno, fmt::format("cannot stat {}", path));
  return ToFacts(st);
}

// Not by an iterator of Boost, which makes a call for each entry to tell what the list says already.
Result<std::vector<DirectoryEntry>> PosixFileSystem::List(const std::string& path) {
  const std::unique_ptr<DIR, FolderCloser> folder(::opendir(path.c_str()));
  if (folder == nullptr) return FailSystem(errno, fmt::format("cannot list {}", path));
  std::vector<DirectoryEntry> entries;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(folder.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::optional<EntryKind> kind = KindOf(folder.get(), *entry);
    if (kind) {
      entries.push_back({std::string(name), *kind});
    } else if (errno != ENOENT) {  // else it was removed while we read the folder
      return FailSystem(errno, fmt::format("cannot stat {}/{}", path, name));
    }
  }
  if (errno != 0) return FailSystem(errno, fmt::format("cannot list {}", path));
  return entries;
}

Result<SpaceFacts> PosixFileSystem::Space(const std::string& path) {
  struct statvfs vfs {};
  if (::statvfs(path.c_str(), &vfs) != 0) {
    return FailSystem(errno, fmt::format("cannot query the space of {}", path));
  }
  return SpaceFacts{vfs.f_blocks * vfs.f_frsize, vfs.f_bfree * vfs.f_frsize,
                    vfs.f_bavail * vfs.f_frsize, vfs.f_files, vfs.f_ffree};
}

Status PosixFileSystem::Link(const std::string& from, const std::string& to) {
  boost::system::error_code error;
  bfs::create_hard_link(from, to, error);
  return FromBoost(error, fmt::format("cannot link {} as {}", from, to));
}

Status PosixFileSystem::Rename(const std::string& from, const std::string& to) {
  boost::system::error_code error;
  bfs::rename(from, to, error);
  return FromBoost(error, fmt::format("cannot rename {} to {}", from, to));
}

Status PosixFileSystem::Remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return FailSystem(errno, fmt::format("cannot remove {}", path));
  return {};
}

Status PosixFileSystem::MakeDirectory(const std::string& path, uint32_t mode) {
  if (::mkdir(path.c_str(), mode) != 0) {
    return FailSystem(errno, fmt::format("cannot make the folder {}", path));
  }
  return {};
}

Status PosixFileSystem::RemoveDirectory(const std::string& path) {
  if (::rmdir(path.c_str()) != 0) {
    return FailSystem(errno, fmt::format("cannot remove the folder {}", path));
  }
  return {};
}

Status PosixFileSystem::SyncDirectory(const std::string& path) {
  const int fd = RetryInterrupted(
      [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd < 0) return FailSystem(errno, fmt::format("cannot open the folder {}", path));
  const int rc = RetryInterrupted([&] { return ::fsync(fd); });
  const int error_number = errno;
  ::close(fd);
  if (rc != 0) return FailSystem(error_number, fmt::format("cannot sync the folder {}", path));
  return {};
}

Result<bool> PathExists(FileSystem& file_system, const std::string& path) {
  const Result<FileFacts> facts = file_system.Facts(path);
  if (facts) return true;
  if (facts.error().code == ErrorCode::kNotFound) return false;
  return Failure(facts.error());
}

}  // namespace quoin

#include "tests/command/passthrough_mount.h"

#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <fcntl.h>
#include <fuse.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

namespace quoin {
namespace {

// Of the child process, which serves one mount.
std::string source_folder;
Lies lies_told;

std::string At(const char* path) { return source_folder + path; }
int Answer(int result) { return result < 0 ? -errno : 0; }
int FileOf(const fuse_file_info* info) { return static_cast<int>(info->fh); }

void* Init(fuse_conn_info* connection, fuse_config* config) {
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_WRITEBACK_CACHE);
  config->use_ino = 1;
  config->attr_timeout = config->entry_timeout = config->negative_timeout =
      static_cast<double>(lies_told.remembers.count());
  config->hard_remove = 1;
  return nullptr;
}

// A client that is behind: it does not see yet what another one has just made, where that is raced for.
bool IsHidden(const char* path, const struct stat& facts, const fuse_file_info* info) {
  return lies_told.creation_is_never_exclusive && info == nullptr && S_ISREG(facts.st_mode) &&
         facts.st_size == 0 && std::strstr(path, "/exclusive-creation/") != nullptr;
}

// An open file that was removed has no path any more.
int GetAttributes(const char* path, struct stat* facts, fuse_file_info* info) {
  if (path == nullptr) return Answer(fstat(FileOf(info), facts));
  if (lstat(At(path).c_str(), facts) != 0) return -errno;
  return IsHidden(path, *facts, info) ? -ENOENT : 0;
}
int ReadFolder(const char* path, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*,
               fuse_readdir_flags) {
  DIR* const folder = opendir(At(path).c_str());
  if (folder == nullptr) return -errno;
  while (const dirent* entry = readdir(folder)) {
    fill(buffer, entry->d_name, nullptr, 0, static_cast<fuse_fill_dir_flags>(0));
  }
  closedir(folder);
  return 0;
}
int SyncFolder(const char* path, int, fuse_file_info*) {
  const int folder = open(At(path).c_str(), O_RDONLY | O_DIRECTORY);
  const int answer = Answer(folder < 0 ? -1 : fsync(folder));
  close(folder);
  return answer;
}
int MakeFolder(const char* path, mode_t mode) { return Answer(mkdir(At(path).c_str(), mode)); }
int RemoveFolder(const char* path) { return Answer(rmdir(At(path).c_str())); }
int Unlink(const char* path) { return Answer(unlink(At(path).c_str())); }
int Rename(const char* from, const char* to, unsigned flags) {
  if (flags != 0) return -EINVAL;
  return Answer(rename(At(from).c_str(), At(to).c_str()));
}
int Link(const char* from, const char* to) {
  if (lies_told.links_fail) return -EPERM;
  return Answer(link(At(from).c_str(), At(to).c_str()));
}
int OpenWith(const char* path, int flags, mode_t mode, fuse_file_info* info) {
  const int file = open(At(path).c_str(), flags, mode);
  if (file < 0) return -errno;
  info->fh = static_cast<uint64_t>(file);
  return 0;
}
int Create(const char* path, mode_t mode, fuse_file_info* info) {
  int flags = info->flags;
  if (lies_told.creation_is_never_exclusive) flags &= ~O_EXCL;
  return OpenWith(path, flags, mode, info);
}
int Open(const char* path, fuse_file_info* info) { return OpenWith(path, info->flags, 0, info); }
int Release(const char*, fuse_file_info* info) { return Answer(close(FileOf(info))); }
int Read(const char*, char* bytes, size_t size, off_t offset, fuse_file_info* info) {
  const ssize_t done = pread(FileOf(info), bytes, size, offset);
  return done < 0 ? -errno : static_cast<int>(done);
}
int Write(const char*, const char* bytes, size_t size, off_t offset, fuse_file_info* info) {
  const ssize_t done = pwrite(FileOf(info), bytes, size, offset);
  return done < 0 ? -errno : static_cast<int>(done);
}
int Sync(const char*, int data_only, fuse_file_info* info) {
  if (lies_told.sync_fails) return -EIO;
  return Answer(data_only != 0 ? fdatasync(FileOf(info)) : fsync(FileOf(info)));
}
int Truncate(const char* path, off_t size, fuse_file_info* info) {
  if (path == nullptr) return Answer(ftruncate(FileOf(info), size));
  return Answer(truncate(At(path).c_str(), size));
}
int Allocate(const char*, int mode, off_t offset, off_t length, fuse_file_info* info) {
  if (lies_told.holes_cannot_be_punched) return -EOPNOTSUPP;
  if (lies_told.punched_holes_keep_their_data) return 0;
  return Answer(fallocate(FileOf(info), mode, offset, length));
}
off_t Seek(const char*, off_t offset, int whence, fuse_file_info* info) {
  if (lies_told.holes_cannot_be_found && whence == SEEK_HOLE) return lseek(FileOf(info), 0, SEEK_END);
  if (lies_told.holes_cannot_be_found && whence == SEEK_DATA) return offset;
  const off_t found = lseek(FileOf(info), offset, whence);
  return found < 0 ? -errno : found;
}
// A lock of an open file here is a lock of an open file there; closing it there lets it go.
int Lock(const char*, fuse_file_info* info, int command, struct flock* lock) {
  lock->l_pid = 0;
  return Answer(fcntl(FileOf(info), command == F_GETLK ? F_OFD_GETLK : F_OFD_SETLK, lock));
}
int Space(const char* path, struct statvfs* facts) {
  return Answer(statvfs(At(path).c_str(), facts));
}

[[noreturn]] void Serve(const std::string& mount_point) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  fuse_operations operations = {};
  operations.init = Init;
  operations.getattr = GetAttributes;
  operations.readdir = ReadFolder;
  operations.fsyncdir = SyncFolder;
  operations.mkdir = MakeFolder;
  operations.rmdir = RemoveFolder;
  operations.unlink = Unlink;
  operations.rename = Rename;
  operations.link = Link;
  operations.create = Create;
  operations.open = Open;
  operations.release = Release;
  operations.read = Read;
  operations.write = Write;
  operations.fsync = Sync;
  operations.truncate = Truncate;
  operations.fallocate = Allocate;
  operations.lseek = Seek;
  operations.statfs = Space;
  if (!lies_told.locks_are_local) operations.lock = Lock;
  std::array<char*, 3> words{const_cast<char*>("passthrough"), const_cast<char*>("-osubtype=passthrough"),
                             nullptr};
  fuse_args arguments = FUSE_ARGS_INIT(2, words.data());
  fuse* const tree = fuse_new(&arguments, &operations, sizeof(operations), nullptr);
  if (tree == nullptr || fuse_mount(tree, mount_point.c_str()) != 0) _exit(EXIT_FAILURE);
  fuse_loop(tree);
  _exit(EXIT_SUCCESS);
}

uint64_t DeviceOf(const std::string& path) {
  struct stat facts = {};
  return stat(path.c_str(), &facts) == 0 ? facts.st_dev : 0;
}

}  // namespace

PassthroughMount::PassthroughMount(const std::string& source, const std::string& mount_point,
                                   Lies lies)
    : mount_point_(mount_point) {
  boost::filesystem::create_directories(mount_point);
  const uint64_t before = DeviceOf(mount_point);
  child_ = fork();
  if (child_ == 0) {
    source_folder = source;
    lies_told = lies;
    Serve(mount_point);
  }
  for (int i = 0; i < 500 && DeviceOf(mount_point) == before; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_NE(DeviceOf(mount_point), before) << "nothing was mounted";
}

PassthroughMount::~PassthroughMount() {
  umount2(mount_point_.c_str(), MNT_DETACH);
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
}

}  // namespace quoin

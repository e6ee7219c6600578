// The floor of the I/O benchmark: what FUSE itself costs.
//
//   quoin_floor [options] BACKING_FILE MOUNT_DIRECTORY
//
// Shows one file, MOUNT_DIRECTORY/disk, and hands every read and write of it to BACKING_FILE with
// pread and pwrite. There is no map, no cache and no metadata, so a filesystem that answers
// requests in the same way (libfuse's low-level interface, a copy through a buffer) can come close
// to this program and hardly beat it. io_benchmark prints quoin's results as a share of this one's.
//
// Owner: one process for one mount, in the foreground. It ends, and takes its mount away, on
// SIGTERM or SIGINT, or when someone else unmounts it.
// Threads: a fixed pool of workers, each with buffers of its own; they share only the descriptors.
// After a crash nothing is left but the dead mount; the backing file is a plain file.

#define FUSE_USE_VERSION 314

#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace quoin::benchmark {
namespace {

constexpr fuse_ino_t kDiskInode = 2;
constexpr char kDiskName[] = "disk";
constexpr double kAttributeTimeoutSeconds = 3600;
constexpr std::size_t kMaxRequestBytes = std::size_t{1} << 20;
constexpr std::size_t kPageBytes = 4096;
// A write request is its two headers and then the data; placed like this the data begins on a page.
constexpr std::size_t kWriteHeaderBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
// libfuse reads requests of up to 1 MiB of data and one page of headers.
constexpr std::size_t kReceiveBufferBytes = kMaxRequestBytes + kPageBytes;
constexpr unsigned kMaxThreads = 64;
// Large writes reach the backing file in pieces, because ext4 makes folios as large as a call and
// then looks at each of their buffers for every small write that follows. See the README.
constexpr std::size_t kWritePieceBytes = std::size_t{64} << 10;

struct Options {
  unsigned threads = 2;
  unsigned max_background = 64;
  unsigned spin_microseconds = 0;
  bool clone_descriptor = false;
  bool async_direct_io = true;
  bool parallel_direct_writes = true;
  bool advise_random = true;
  std::size_t write_piece_bytes = kWritePieceBytes;
  std::string backing_file;
  std::string mount_directory;
};

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};
using PageBuffer = std::unique_ptr<char, FreeDeleter>;

PageBuffer NewPageBuffer(std::size_t bytes) {
  void* memory = std::aligned_alloc(kPageBytes, bytes);
  if (memory == nullptr) {
    std::fprintf(stderr, "quoin_floor: no memory for a buffer of %zu bytes\n", bytes);
    std::abort();
  }
  std::memset(memory, 0, bytes);
  return PageBuffer(static_cast<char*>(memory));
}

// What one worker owns. The callbacks reach it through `worker`: libfuse passes no such thing.
struct Worker {
  PageBuffer read_buffer = NewPageBuffer(kMaxRequestBytes);
  PageBuffer receive_buffer = NewPageBuffer(kReceiveBufferBytes + kPageBytes);
  int device = -1;  // the session's descriptor, or this worker's clone of it
};
thread_local Worker* worker = nullptr;

class Passthrough {
 public:
  Passthrough(const Options& options, int backing) : options_(options), backing_(backing) {}

  const Options& options() const { return options_; }
  int backing() const { return backing_; }

  int Attributes(fuse_ino_t inode, struct stat* attributes) const {
    if (fstat(backing_, attributes) != 0) return errno;
    attributes->st_ino = inode;
    if (inode == FUSE_ROOT_ID) {
      attributes->st_mode = S_IFDIR | 0755;
      attributes->st_nlink = 2;
      attributes->st_size = 0;
    }
    return 0;
  }

 private:
  const Options options_;
  const int backing_;
};

const Passthrough& Of(fuse_req_t request) {
  return *static_cast<const Passthrough*>(fuse_req_userdata(request));
}

void Init(void* userdata, fuse_conn_info* connection) {
  const Options& options = static_cast<const Passthrough*>(userdata)->options();
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                                             FUSE_CAP_SPLICE_MOVE);
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_ASYNC_DIO);
  if (options.async_direct_io) connection->want |= connection->capable & FUSE_CAP_ASYNC_DIO;
  connection->max_write = kMaxRequestBytes;
  connection->max_readahead = kMaxRequestBytes;
  connection->max_background = options.max_background;
  connection->congestion_threshold = options.max_background * 3 / 4;
}

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  fuse_entry_param entry{};
  if (parent != FUSE_ROOT_ID || std::strcmp(name, kDiskName) != 0) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  entry.ino = kDiskInode;
  entry.attr_timeout = entry.entry_timeout = kAttributeTimeoutSeconds;
  if (const int error = Of(request).Attributes(kDiskInode, &entry.attr); error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  fuse_reply_entry(request, &entry);
}

void GetAttributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  struct stat attributes {};
  if (const int error = Of(request).Attributes(inode, &attributes); error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  fuse_reply_attr(request, &attributes, kAttributeTimeoutSeconds);
}

void SetAttributes(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int to_set,
                   fuse_file_info* file) {
  constexpr int kTimes = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
                         FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME;
  if (inode != kDiskInode || (to_set & ~(FUSE_SET_ATTR_SIZE | kTimes)) != 0) {
    fuse_reply_err(request, EPERM);
    return;
  }
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0 &&
      ftruncate(Of(request).backing(), wanted->st_size) != 0) {
    fuse_reply_err(request, errno);
    return;
  }
  GetAttributes(request, inode, file);
}

void Open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  if (inode != kDiskInode) {
    fuse_reply_err(request, EISDIR);
    return;
  }
  // libfuse 3.14 has no field for parallel direct writes, so the answer is the kernel's structure.
  fuse_open_out answer{};
  if ((file->flags & O_DIRECT) != 0) {
    answer.open_flags = FOPEN_DIRECT_IO;
    if (Of(request).options().parallel_direct_writes) {
      answer.open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
    }
  } else {
    answer.open_flags = FOPEN_KEEP_CACHE;
  }
  answer.open_flags |= FOPEN_NOFLUSH;
  fuse_reply_buf(request, reinterpret_cast<const char*>(&answer), sizeof answer);
}

void Read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info*) {
  if (size > kMaxRequestBytes) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  const ssize_t got = pread(Of(request).backing(), worker->read_buffer.get(), size, offset);
  if (got < 0) {
    fuse_reply_err(request, errno);
    return;
  }
  fuse_reply_buf(request, worker->read_buffer.get(), static_cast<std::size_t>(got));
}

void Write(fuse_req_t request, fuse_ino_t, const char* data, std::size_t size, off_t offset,
           fuse_file_info*) {
  const std::size_t piece = Of(request).options().write_piece_bytes;
  std::size_t done = 0;
  while (done < size) {
    const ssize_t put = pwrite(Of(request).backing(), data + done, std::min(piece, size - done),
                               offset + static_cast<off_t>(done));
    if (put < 0) break;
    done += static_cast<std::size_t>(put);
  }
  if (done == 0 && size != 0) {
    fuse_reply_err(request, errno);
    return;
  }
  fuse_reply_write(request, done);
}

void Sync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info*) {
  const int backing = Of(request).backing();
  const int result = data_only != 0 ? fdatasync(backing) : fsync(backing);
  fuse_reply_err(request, result == 0 ? 0 : errno);
}

fuse_lowlevel_ops Operations() {
  fuse_lowlevel_ops operations{};
  operations.init = Init;
  operations.lookup = Lookup;
  operations.getattr = GetAttributes;
  operations.setattr = SetAttributes;
  operations.open = Open;
  operations.read = Read;
  operations.write = Write;
  operations.fsync = Sync;
  return operations;
}

// Reads a request without sleeping for a while: on a machine with a core to spare this saves the
// wake-up of a sleeping thread. Only for descriptors that are non-blocking.
ssize_t SpinThenWait(int device, void* buffer, std::size_t bytes, unsigned spin_microseconds) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::microseconds(spin_microseconds);
  for (;;) {
    const ssize_t got = read(device, buffer, bytes);
    if (got >= 0 || errno != EAGAIN) return got;
    if (std::chrono::steady_clock::now() < deadline) {
      sched_yield();
      continue;
    }
    pollfd wait{device, POLLIN, 0};
    if (poll(&wait, 1, -1) < 0) return -1;
  }
}

ssize_t ReceiveRequest(int device, void* buffer, std::size_t bytes, void* userdata) {
  bytes = std::min(bytes, kReceiveBufferBytes);
  const Options& options = static_cast<const Passthrough*>(userdata)->options();
  const int own = worker != nullptr ? worker->device : device;
  if (options.spin_microseconds == 0) return read(own, buffer, bytes);
  return SpinThenWait(own, buffer, bytes, options.spin_microseconds);
}

ssize_t SendReply(int device, iovec* parts, int count, void*) {
  return writev(worker != nullptr ? worker->device : device, parts, count);
}

int CloneDevice(int session_device) {
  const int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (clone < 0) return -1;
  auto source = static_cast<std::uint32_t>(session_device);
  if (ioctl(clone, FUSE_DEV_IOC_CLONE, &source) != 0) {
    close(clone);
    return -1;
  }
  return clone;
}

void Serve(fuse_session* session, Worker* own) {
  worker = own;
  fuse_buf request{};
  request.mem = own->receive_buffer.get() + kPageBytes - kWriteHeaderBytes;
  while (fuse_session_exited(session) == 0) {
    const int received = fuse_session_receive_buf(session, &request);
    if (received == -EINTR || received == -EAGAIN) continue;
    if (received <= 0) break;  // unmounted
    fuse_session_process_buf(session, &request);
  }
  // Wakes the main thread, which waits for a signal, when somebody else has unmounted.
  kill(getpid(), SIGTERM);
}

bool PrepareDevices(const Options& options, int session_device, std::vector<Worker>* workers) {
  for (Worker& each : *workers) {
    each.device = session_device;
    if (options.clone_descriptor) each.device = CloneDevice(session_device);
    if (each.device < 0) return false;
    if (options.spin_microseconds != 0 && fcntl(each.device, F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
      return false;
    }
  }
  return true;
}

// Serves until the mount is gone, then ends the process. The signals are blocked in every thread
// and received here.
[[noreturn]] void RunUntilUnmounted(fuse_session* session, const sigset_t& signals,
                       std::vector<Worker>* workers) {
  for (Worker& each : *workers) std::thread(Serve, session, &each).detach();
  int signal = 0;
  sigwait(&signals, &signal);
  fuse_session_exit(session);
  fuse_session_unmount(session);
  // A program that still has the disk open waits for replies, and a worker for its requests. Only
  // the end of the process ends the connection for both.
  std::_Exit(0);
}

int Fail(const std::string& what) {
  std::fprintf(stderr, "quoin_floor: %s: %s\n", what.c_str(), std::strerror(errno));
  return 1;
}

int Run(const Options& options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const int backing = open(options.backing_file.c_str(), O_RDWR | O_CLOEXEC);
  if (backing < 0) return Fail("cannot open " + options.backing_file);
  // Read-ahead would fill the page cache with the same large folios.
  if (options.advise_random) posix_fadvise(backing, 0, 0, POSIX_FADV_RANDOM);
  Passthrough passthrough(options, backing);

  std::string program = "quoin_floor";
  std::string flag = "-o";
  std::string mount_options = "fsname=quoin_floor,subtype=quoin_floor,default_permissions";
  char* arguments[] = {program.data(), flag.data(), mount_options.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(3, arguments);
  const fuse_lowlevel_ops operations = Operations();
  fuse_session* session =
      fuse_session_new(&args, &operations, sizeof operations, &passthrough);
  if (session == nullptr) return Fail("cannot make a FUSE session");
  if (fuse_session_mount(session, options.mount_directory.c_str()) != 0) {
    return Fail("cannot mount on " + options.mount_directory);
  }
  const int device = fuse_session_fd(session);
  const fuse_custom_io custom_io{SendReply, ReceiveRequest, nullptr, nullptr};
  if (fuse_session_custom_io(session, &custom_io, device) != 0) {
    fuse_session_unmount(session);
    return Fail("cannot take over reading requests");
  }
  std::vector<Worker> workers(options.threads);
  if (!PrepareDevices(options, device, &workers)) {
    fuse_session_unmount(session);
    return Fail("cannot prepare /dev/fuse for the workers");
  }
  RunUntilUnmounted(session, signals, &workers);
}

constexpr char kUsage[] =
    "usage: quoin_floor [options] BACKING_FILE MOUNT_DIRECTORY\n"
    "Shows BACKING_FILE as MOUNT_DIRECTORY/disk through FUSE, in the foreground.\n"
    "  --threads=N            workers (1 to 64, default 2)\n"
    "  --max-background=N     asynchronous requests in flight (default 64)\n"
    "  --spin=MICROSECONDS    look for a request this long before sleeping (default 0)\n"
    "  --clone-fd             one cloned /dev/fuse descriptor per worker\n"
    "  --no-async-dio         the kernel sends direct requests of one call one by one\n"
    "  --no-parallel-writes   direct writes of one file exclude each other\n"
    "  --write-piece=KIB      cut writes to the backing file (4 to 1024, default 64)\n"
    "  --readahead            let the kernel read ahead in the backing file\n";

bool ParseNumber(std::string_view text, unsigned smallest, unsigned largest, unsigned* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value >= smallest &&
         *value <= largest;
}

bool ParseOption(std::string_view argument, Options* options) {
  const auto value_of = [&](std::string_view name) { return argument.substr(name.size()); };
  const auto is = [&](std::string_view name) { return argument.substr(0, name.size()) == name; };
  if (is("--threads=")) {
    return ParseNumber(value_of("--threads="), 1, kMaxThreads, &options->threads);
  }
  if (is("--max-background=")) {
    return ParseNumber(value_of("--max-background="), 1, 4096, &options->max_background);
  }
  if (is("--spin=")) {
    return ParseNumber(value_of("--spin="), 0, 1000000, &options->spin_microseconds);
  }
  if (argument == "--clone-fd") return options->clone_descriptor = true;
  if (is("--write-piece=")) {
    unsigned kib = 0;
    const bool good = ParseNumber(value_of("--write-piece="), 4, 1024, &kib);
    options->write_piece_bytes = std::size_t{kib} << 10;
    return good;
  }
  if (argument == "--readahead") return !(options->advise_random = false);
  if (argument == "--no-async-dio") return !(options->async_direct_io = false);
  if (argument == "--no-parallel-writes") return !(options->parallel_direct_writes = false);
  return false;
}

}  // namespace

int FloorMain(int argc, char** argv) {
  Options options;
  std::vector<std::string> positional;
  for (const std::string_view argument : std::vector<std::string_view>(argv + 1, argv + argc)) {
    if (argument == "--help") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (argument.substr(0, 2) != "--") {
      positional.emplace_back(argument);
    } else if (!ParseOption(argument, &options)) {
      std::fprintf(stderr, "quoin_floor: cannot use %s\n%s", std::string(argument).c_str(), kUsage);
      return 2;
    }
  }
  if (positional.size() != 2) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  options.backing_file = positional[0];
  options.mount_directory = positional[1];
  return Run(options);
}

}  // namespace quoin::benchmark

int main(int argc, char** argv) { return quoin::benchmark::FloorMain(argc, argv); }

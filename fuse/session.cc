#include "fuse/session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "fuse/kept_session.h"
#include "fuse/mount_point.h"
#include "fuse/operations.h"
#include "fuse/worker_pool.h"

namespace quoin {
namespace {

// How long an unmount waits for the kernel to write back and let go when nobody has a file open.
constexpr std::chrono::milliseconds kDetachLimit{2000};

struct SessionDeleter {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};
using FuseSession = std::unique_ptr<fuse_session, SessionDeleter>;

void LogForLibfuse(fuse_log_level level, const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  std::string line(text);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  if (level <= FUSE_LOG_WARNING) {
    spdlog::warn("libfuse: {}", line);
  } else {
    spdlog::debug("libfuse: {}", line);
  }
}

// Without symbolic links and "..", as the system's table of mounts has it.
Result<std::string> RealPath(const std::string& path) {
  char* const resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return FailSystem(errno, fmt::format("cannot find {}", path));
  std::string real(resolved);
  std::free(resolved);
  return real;
}

unsigned DefaultThreads() { return std::clamp(std::thread::hardware_concurrency(), 2U, 4U); }

void NoteUnique(std::span<const std::byte> request) {
  fuse_in_header header;
  if (request.size() < sizeof header) return;
  std::memcpy(&header, request.data(), sizeof header);
  CurrentUnique() = header.unique;
}

// Requests that were read from the descriptor and not answered come again, marked as such.
Status AskForUnanswered(int device) {
  constexpr int kNotifyResend = 7;
  const fuse_out_header notice{sizeof(fuse_out_header), kNotifyResend, 0};
  if (write(device, &notice, sizeof notice) == static_cast<ssize_t>(sizeof notice)) return {};
  return FailSystem(errno, "cannot ask the kernel for the requests that were not answered");
}

ssize_t ReadRequest(int device, void* buffer, size_t bytes, void* operations) {
  const ssize_t got = read(device, buffer, bytes);
  if (got > 0) {
    NoteUnique({static_cast<const std::byte*>(buffer), static_cast<size_t>(got)});
    static_cast<Operations*>(operations)
        ->init_exchange()
        .SawRequest({static_cast<const std::byte*>(buffer), static_cast<size_t>(got)});
  }
  return got;
}

ssize_t WriteAnswer(int device, iovec* parts, int count, void* operations) {
  return static_cast<Operations*>(operations)
      ->init_exchange()
      .Send(device, {parts, static_cast<size_t>(count)});
}

}  // namespace

struct Session::State {
  State(Store& store, MountOptions options, std::string real_mount_point,
        std::unique_ptr<KeptSession> own)
      : mount_point(std::move(real_mount_point)),
        threads(options.threads == 0 ? DefaultThreads() : options.threads),
        own_kept(std::move(own)),
        kept(own_kept != nullptr ? *own_kept : *options.kept),
        operations(store, kept, std::move(options.status_json)) {}
  ~State();

  Status Mount(const std::string& store_root, int fuse_device);
  Status TakeOver(int fuse_device);
  Status AttachLibfuse(int fuse_device);
  void Unmount();

  const std::string mount_point;  // resolved
  const unsigned threads;
  dev_t device = 0;  // of the mount; 0: not known yet
  const std::unique_ptr<KeptSession> own_kept;  // without a keeper
  KeptSession& kept;
  // Destroyed from below: no worker, then nothing that answers, then the connection.
  FuseSession session;
  Operations operations;
  std::unique_ptr<WorkerPool> workers;
};

Status Session::State::AttachLibfuse(int fuse_device) {
  fuse_set_log_func(LogForLibfuse);
  std::string program = "quoin";
  char* arguments[] = {program.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments);
  session.reset(
      fuse_session_new(&args, &Operations::Table(), sizeof(fuse_lowlevel_ops), &operations));
  if (session == nullptr) {
    close(fuse_device);
    return Fail(ErrorCode::kIo, "cannot start a libfuse session");
  }
  const fuse_custom_io own_io{WriteAnswer, ReadRequest, nullptr, nullptr};
  if (fuse_session_custom_io(session.get(), &own_io, fuse_device) != 0) {
    close(fuse_device);
    return Fail(ErrorCode::kUnsupported, "this libfuse has no custom input and output");
  }
  return {};
}

Status Session::State::TakeOver(int fuse_device) {
  device = kept.device();
  QUOIN_TRY(AttachLibfuse(fuse_device));
  QUOIN_TRY(operations.init_exchange().Replay(session.get()));
  QUOIN_TRY(operations.Resume());
  // Before anything is read: what a worker has under way would come a second time as well.
  if (operations.init_exchange().kernel_sends_again()) {
    QUOIN_TRY(AskForUnanswered(fuse_device));
  } else {
    spdlog::warn("this kernel does not send requests again: those that the daemon before had not "
                 "answered are lost, and whoever waits for them waits until the tree is unmounted");
  }
  operations.SetSession(session.get());
  workers = std::make_unique<WorkerPool>(session.get(), threads);
  workers->Start();
  operations.FinishResuming();
  return {};
}

Status Session::State::Mount(const std::string& store_root, int fuse_device) {
  QUOIN_TRY(MountFuse(mount_point, store_root, fuse_device));
  const Status attached = AttachLibfuse(fuse_device);
  if (!attached) {
    Detach(mount_point);
    return attached;
  }
  operations.SetSession(session.get());
  workers = std::make_unique<WorkerPool>(session.get(), threads);
  workers->Start();
  if (!operations.init_exchange().WaitUntilAnswered()) {
    Detach(mount_point);
    return Fail(ErrorCode::kIo,
                fmt::format("cannot mount on {}: the kernel and the daemon found no common ground",
                            mount_point),
                "the log says more");
  }
  QUOIN_ASSIGN(device, DeviceOf(mount_point));
  RaiseReadahead(device);
  kept.MarkMounted(device);
  return {};
}

// First without force: nobody can come in any more, and if no file is open the kernel writes back
// what it has, to workers that still answer, and ends the connection. Else the workers stop here, and
// who has a file open gets errors from now on.
void Session::State::Unmount() {
  if (workers == nullptr) return;
  if (device != 0 && IsMounted(mount_point, device)) {
    if (!Detach(mount_point)) spdlog::warn("cannot unmount {}", mount_point);
  }
  if (!workers->WaitUntilEndedFor(kDetachLimit)) {
    spdlog::warn("{} is unmounted, but files are open in it: their users get errors", mount_point);
  }
  workers->Stop();
}

Session::State::~State() {
  Unmount();
  operations.Finish();
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}

Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::Mount(Store& store, MountOptions options) {
  int fuse_device = options.fuse_device;
  if (options.kept != nullptr && options.kept->is_mounted()) {
    // Nobody answers there yet, so the path is not looked at: it is real since it was mounted.
    std::string mounted_on = options.mount_point;
    auto taken_over = std::make_unique<State>(store, std::move(options), std::move(mounted_on), nullptr);
    if (const Status taken = taken_over->TakeOver(fuse_device); !taken) {
      // Closing what was opened again would let go of it, and the next daemon has to find it open.
      static_cast<void>(taken_over.release());
      return Failure(taken.error());
    }
    return std::unique_ptr<Session>(new Session(std::move(taken_over)));
  }
  QUOIN_TRY(CheckMountPoint(options.mount_point));
  QUOIN_ASSIGN(std::string real_mount_point, RealPath(options.mount_point));
  std::unique_ptr<KeptSession> own;
  if (options.kept == nullptr) {
    QUOIN_ASSIGN(own, KeptSession::Make());
  }
  if (fuse_device < 0) {
    QUOIN_ASSIGN(fuse_device, OpenFuse(options.mount_point));
  }
  auto state = std::make_unique<State>(store, std::move(options), std::move(real_mount_point),
                                       std::move(own));
  QUOIN_TRY(state->Mount(store.root(), fuse_device));
  return std::unique_ptr<Session>(new Session(std::move(state)));
}

void Session::Wait() { state_->workers->Wait(); }

void Session::LeaveToNext() {
  state_->workers->Stop();
  state_->operations.FinishForNext();
}

bool Session::survives_kill() const {
  return state_->own_kept == nullptr && state_->operations.init_exchange().kernel_sends_again();
}

void Session::Stop() { state_->workers->Interrupt(); }

}  // namespace quoin

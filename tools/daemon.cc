#include "tools/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "blockstore/base/posix_file_system.h"
#include "fuse/session.h"
#include "metadata/host.h"
#include "snapshots/store.h"
#include "tools/control_server.h"
#include "tools/daemon_log.h"
#include "tools/mount_record.h"
#include "tools/storage_advice.h"
#include "tools/stop_signals.h"
#include "tools/store_operations.h"
#include "tools/units.h"

namespace quoin {
namespace {

constexpr size_t kMaxReportBytes = 64 << 10;

// A daemon needs a descriptor for each segment of each layer of each open VDI.
void RaiseOpenFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    spdlog::warn("the limit of open files stays at {}", limit.rlim_cur);
  }
}

// Frames come and go in the threads that read them, and each of glibc's arenas (eight a processor) keeps
// what it once held.
void LimitMemoryArenas() {
  constexpr int kArenas = 2;
  if (std::getenv("MALLOC_ARENA_MAX") == nullptr) (void)mallopt(M_ARENA_MAX, kArenas);
}

// --- serving -------------------------------------------------------------------------------------

StoreOptions OptionsOf(const DaemonOptions& options) {
  StoreOptions store;
  store.ownership_wait = options.ownership_wait;
  store.lease = options.lease;
  // The hosts of a store have leases of about the same length, and an open is to outwait theirs.
  store.take_over_wait = std::max(store.take_over_wait, 2 * options.lease);
  store.announces_itself = true;
  store.state_dir = DefaultStateDir();
  store.seals_in_background = options.seals;
  store.seal_delay = options.seal_delay;
  store.frame_cache_bytes = options.cache_bytes;
  return store;
}

constexpr std::chrono::milliseconds kTellEvery{200};

// Passes on what is told at most every so often, and the end.
ProgressSink PacedProgress(const ControlServer::Tell& tell) {
  return [&tell, last = std::chrono::steady_clock::time_point()](uint64_t done,
                                                                  uint64_t all) mutable {
    const auto now = std::chrono::steady_clock::now();
    const bool is_end = all > 0 && done >= all;
    if (now - last < kTellEvery && !is_end) return;
    last = now;
    tell(ProgressLine(done, all));
  };
}

void WarnOfStorage(const std::string& root) {
  PosixFileSystem file_system;
  for (const std::string& line : AdviseOnStorage(file_system, root, StorageKindOf(root))) {
    spdlog::warn("{}", line);
  }
}

// One mounted tree and all that belongs to it, in the order in which it is built; taken down in the
// opposite order.
class MountedTree {
 public:
  static Result<std::unique_ptr<MountedTree>> Mount(const DaemonOptions& options, HostIdentity self,
                                                    const std::string& log) {
    std::unique_ptr<MountedTree> tree(new MountedTree);
    tree->run_dir_ = DefaultRunDir();
    QUOIN_ASSIGN(tree->store_, Store::Open(tree->file_system_, options.store, self,
                                           OptionsOf(options)));
    tree->DescribeMount(options, self, log);
    QUOIN_ASSIGN(tree->session_,
                 Session::Mount(*tree->store_,
                                MountOptions{options.mount_point, options.threads,
                                             [raw = tree.get()] { return raw->StatusText(); }}));
    QUOIN_ASSIGN(
        tree->control_,
        ControlServer::Start(SocketPath(tree->run_dir_, tree->record_.session),
                             [raw = tree.get()](const Json& json, const ControlServer::Tell& tell) {
                               return raw->Answer(json, tell);
                             }));
    QUOIN_TRY(WriteMountRecord(tree->run_dir_, tree->record_));
    return tree;
  }

  // Commands see no daemon from the first step on, and requests under way end in the second.
  ~MountedTree() {
    RemoveMountRecord(run_dir_, record_.session);
    control_.reset();
    session_.reset();
    store_.reset();
  }

  Session& session() { return *session_; }

 private:
  MountedTree() = default;

  void DescribeMount(const DaemonOptions& options, const HostIdentity& self,
                     const std::string& log) {
    record_.session = self.session.ToString();
    record_.store = options.store;
    record_.store_id = store_->superblock().store_id.ToString();
    record_.mount_point = options.mount_point;
    record_.daemon_pid = self.pid;
    record_.version = QUOIN_VERSION;
    record_.since = FormatUtcSeconds(UnixNowSeconds());
    record_.log = log;
  }

  Json StatusJson() {
    Json status = record_.ToJson();
    status["state"] = "mounted";
    status["vdis_open"] = store_->open_vdis();
    return status;
  }
  std::string StatusText() { return JsonText(StatusJson()) + "\n"; }

  Json Answer(const Json& json, const ControlServer::Tell& tell) {
    StoreAnswer answer;
    const Result<StoreRequest> request = StoreRequest::FromJson(json);
    if (!request) {
      answer.error = request.error();
    } else if (request->verb == "status") {
      answer.result = StatusJson();
    } else {
      answer = RunStoreRequest(*store_, *request,
                               request->tells_progress ? PacedProgress(tell) : nullptr);
    }
    return answer.ToJson();
  }

  std::string run_dir_;
  PosixFileSystem file_system_;
  MountRecord record_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<ControlServer> control_;
};

// Mounts, calls `ready`, serves until the end. `ready` is told whether the tree is usable.
Status Serve(const DaemonOptions& options, const std::function<void(const Status&)>& ready) {
  StopSignals signals;  // before any thread, which all inherit what is blocked
  const auto fail = [&](const Error& error) -> Status {
    ready(Failure(error));
    return Failure(error);
  };
  const Result<HostIdentity> self = LoadHostIdentity(DefaultStateDir(), QUOIN_VERSION);
  if (!self) return fail(self.error());
  const Result<std::string> log =
      StartLog(options.log, options.foreground, self->session.ToString());
  if (!log) return fail(log.error());
  RaiseOpenFileLimit();
  LimitMemoryArenas();
  WarnOfStorage(options.store);
  Result<std::unique_ptr<MountedTree>> tree = MountedTree::Mount(options, *self, *log);
  if (!tree) {
    spdlog::error("{}", tree.error().what);
    return fail(tree.error());
  }
  spdlog::info("mounted {} on {}, session {}, pid {}", options.store, options.mount_point,
               self->session.ToString(), self->pid);
  ready({});
  {
    const StopSignals::Watch watch(signals, [&](int number) {
      spdlog::info("stopping: {}", strsignal(number));
      (*tree)->session().Stop();
    });
    (*tree)->session().Wait();
  }
  spdlog::info("unmounted {}; letting go", options.mount_point);
  tree->reset();
  spdlog::info("ended");
  spdlog::shutdown();
  return {};
}

// --- starting in the background ------------------------------------------------------------------

void SendReport(int pipe, const Status& status) {
  const Json report = status ? Json::object() : Json{{"error", ToJson(status.error())}};
  const std::string text = JsonLine(report) + "\n";
  // A parent that is gone does not care.
  if (write(pipe, text.data(), text.size()) < 0) spdlog::warn("nobody waits for this mount");
  close(pipe);
}

[[noreturn]] void RunInBackground(const DaemonOptions& options, int pipe) {
  setsid();
  const bool at_root = chdir("/") == 0;
  const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (!at_root || nowhere < 0) {
    SendReport(pipe, FailSystem(errno, "cannot leave the terminal"));
    _exit(EXIT_FAILURE);
  }
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    dup2(nowhere, standard);
  }
  close(nowhere);
  const Status served = Serve(options, [&](const Status& status) { SendReport(pipe, status); });
  // Nothing of the parent's that was copied by the fork is flushed or destroyed twice.
  _exit(served ? EXIT_SUCCESS : EXIT_FAILURE);
}

// What the child says; at the end of its pipe without a word, that it died.
Status AwaitReport(int pipe, pid_t child) {
  std::string text;
  std::array<char, 4096> buffer;
  while (text.size() < kMaxReportBytes && text.find('\n') == std::string::npos) {
    const ssize_t count = read(pipe, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  const Result<Json> report = ParseJsonObject(text, "the daemon's report");
  if (!report) {
    int state = 0;
    waitpid(child, &state, 0);
    return Fail(
        ErrorCode::kIo,
        WIFSIGNALED(state)
            ? fmt::format("its daemon died at the start: {}", strsignal(WTERMSIG(state)))
            : fmt::format("its daemon ended at the start with status {}", WEXITSTATUS(state)),
        "quoin mount -f shows what it says");
  }
  const auto error = report->find("error");
  if (error == report->end()) return {};
  waitpid(child, nullptr, 0);
  return Failure(ErrorFromJson(*error));
}

Status StartInBackground(const DaemonOptions& options) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return FailSystem(errno, "cannot make a pipe");
  const pid_t child = fork();
  if (child < 0) return FailSystem(errno, "cannot start a daemon");
  if (child == 0) {
    close(ends[0]);
    RunInBackground(options, ends[1]);
  }
  close(ends[1]);
  Status report = AwaitReport(ends[0], child);
  close(ends[0]);
  return report;
}

}  // namespace

Status MountTree(const DaemonOptions& options) {
  boost::system::error_code error;
  boost::filesystem::create_directories(DefaultRunDir(), error);
  if (error) {
    return Fail(ErrorCode::kAccessDenied,
                fmt::format("cannot make {}, where commands find their daemons: {}",
                            DefaultRunDir(), error.message()),
                "run it as root, or name another folder by QUOIN_RUN_DIR");
  }
  const Status mounted =
      options.foreground ? Serve(options, [](const Status&) {}) : StartInBackground(options);
  if (mounted) return {};
  return Failure(
      InForm(mounted.error(), fmt::format("mount {} on {}", options.store, options.mount_point)));
}

}  // namespace quoin

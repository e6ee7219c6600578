#include "tools/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "blockstore/base/posix_file_system.h"
#include "blockstore/layers/kept_heads.h"
#include "fuse/kept_session.h"
#include "fuse/session.h"
#include "metadata/host.h"
#include "snapshots/store.h"
#include "tools/control_server.h"
#include "tools/daemon_log.h"
#include "tools/daemon_start.h"
#include "tools/keeper.h"
#include "tools/keeper_channel.h"
#include "tools/keeper_record.h"
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

// What a keeper holds for this daemon and the next ones.
struct Kept {
  int fuse_device = -1;
  std::unique_ptr<KeptSession> session;
  std::unique_ptr<KeptHeads> heads;
  KeeperChannel* channel = nullptr;
  uint64_t restarts = 0;
};

StoreOptions OptionsOf(const DaemonOptions& options, const Kept& kept) {
  StoreOptions store;
  store.kept_heads = kept.heads.get();
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
  // A mount that a daemon before has begun, and that this one cannot go on with, is left as it is: then
  // this process is to end at once.
  static Result<std::unique_ptr<MountedTree>> Mount(const DaemonOptions& options, HostIdentity self,
                                                    const std::string& log, const Kept& kept) {
    std::unique_ptr<MountedTree> tree(new MountedTree);
    tree->run_dir_ = DefaultRunDir();
    tree->channel_ = kept.channel;
    tree->restarts_ = kept.restarts;
    QUOIN_ASSIGN(tree->store_, Store::Open(tree->file_system_, options.store, self,
                                           OptionsOf(options, kept)));
    tree->DescribeMount(options, self, log);
    const bool goes_on = kept.session != nullptr && kept.session->is_mounted();
    Result<std::unique_ptr<Session>> session = Session::Mount(
        *tree->store_, MountOptions{options.mount_point, options.threads,
                                    [raw = tree.get()] { return raw->StatusText(); },
                                    kept.fuse_device, kept.session.get()});
    if (!session) {
      if (goes_on) static_cast<void>(tree.release());
      return Failure(session.error());
    }
    tree->session_ = std::move(*session);
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
  const MountRecord& record() const { return record_; }

  // Leaves everything as it is for the next daemon; this process is to end then.
  void LeaveToNext() {
    store_->FlushAll();  // while requests are still answered
    session_->LeaveToNext();
    RemoveMountRecord(run_dir_, record_.session);
  }

 private:
  MountedTree() = default;

  void DescribeMount(const DaemonOptions& options, const HostIdentity& self,
                     const std::string& log) {
    record_.session = self.session.ToString();
    record_.store = options.store;
    record_.store_id = store_->superblock().store_id.ToString();
    record_.mount_point = options.mount_point;
    record_.daemon_pid = self.pid;
    if (channel_ != nullptr) record_.keeper_pid = channel_->keeper_pid();
    record_.version = QUOIN_VERSION;
    record_.since = FormatUtcSeconds(UnixNowSeconds());
    record_.log = log;
  }

  Json StatusJson() {
    Json status = record_.ToJson();
    status["state"] = "mounted";
    status["vdis_open"] = store_->open_vdis();
    const bool is_kept = channel_ != nullptr && channel_->is_open();
    status["keeper_pid"] = is_kept ? Json(record_.keeper_pid) : Json(nullptr);
    status["restarts"] = restarts_;
    status["survives_kill"] = is_kept && session_ != nullptr && session_->survives_kill();
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
  KeeperChannel* channel_ = nullptr;
  uint64_t restarts_ = 0;
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
  Result<std::unique_ptr<MountedTree>> tree = MountedTree::Mount(options, *self, *log, Kept());
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

// --- serving for a keeper ------------------------------------------------------------------------

// Ends without a trace in the store: what is open and what is not yet recorded is the next daemon's.
[[noreturn]] void EndAtOnce(int status) {
  spdlog::default_logger()->flush();  // other threads are still there, and may log
  _exit(status);
}

int ServeWith(const DaemonStart& start, KeeperChannel& channel) {
  const DaemonOptions& options = start.options;
  StopSignals signals;  // before any thread, which all inherit what is blocked
  const auto fail = [&](const Error& error) {
    channel.Tell(Json{{"is", "failed"}, {"error", ToJson(error)}});
    spdlog::error("{}", error.what);
    return EXIT_FAILURE;
  };
  Result<HostIdentity> self = LoadHostIdentity(DefaultStateDir(), QUOIN_VERSION);
  if (!self) return fail(self.error());
  self->keeper = DescribeProcess(start.keeper_pid);
  const Result<std::string> log =
      StartLog(options.log, options.foreground, self->session.ToString());
  if (!log) return fail(log.error());
  RaiseOpenFileLimit();
  LimitMemoryArenas();
  for (const Status& readable :
       {KeptSession::CheckLayout(start.session), KeptHeads::CheckLayout(start.heads)}) {
    if (!readable) return fail(readable.error());
  }
  // The daemon before may still be at work; nothing is touched until it has ended.
  channel.Tell(Json{{"is", "prepared"}, {"version", QUOIN_VERSION}});
  if (!channel.WaitForGo()) return EXIT_FAILURE;
  Kept kept;
  kept.fuse_device = start.fuse_device;
  kept.channel = &channel;
  kept.restarts = start.restarts;
  Result<std::unique_ptr<KeptSession>> session = KeptSession::Attach(start.session);
  if (!session) return fail(session.error());
  kept.session = std::move(*session);
  Result<std::unique_ptr<KeptHeads>> heads = KeptHeads::Attach(start.heads);
  if (!heads) return fail(heads.error());
  kept.heads = std::move(*heads);
  const bool goes_on = kept.session->is_mounted();
  if (!goes_on) WarnOfStorage(options.store);
  Result<std::unique_ptr<MountedTree>> tree = MountedTree::Mount(options, *self, *log, kept);
  if (!tree) {
    const int status = fail(tree.error());
    if (goes_on) EndAtOnce(status);
    return status;
  }
  spdlog::info("{} {} on {}, session {}, pid {}{}", goes_on ? "serving" : "mounted", options.store,
               options.mount_point, self->session.ToString(), self->pid,
               start.why.empty() ? "" : "; the daemon before " + start.why);
  Json ready = (*tree)->record().ToJson();
  ready["is"] = "ready";
  ready["survives_kill"] = (*tree)->session().survives_kill();
  channel.Tell(ready);
  std::atomic<bool> leaves{false};
  {
    const StopSignals::Watch watch(signals, [&](int number) {
      spdlog::info("stopping: {}", strsignal(number));
      (*tree)->session().Stop();
    });
    const KeeperChannel::Watch orders(channel, [&] {
      leaves = true;
      (*tree)->session().Stop();
    });
    (*tree)->session().Wait();
  }
  if (leaves) {
    spdlog::info("leaving {} to the next daemon", options.mount_point);
    (*tree)->LeaveToNext();
    EndAtOnce(kLeftToNext);
  }
  spdlog::info("unmounted {}; letting go", options.mount_point);
  tree->reset();
  spdlog::info("ended");
  spdlog::shutdown();
  return EXIT_SUCCESS;
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
  const auto report = [&](const Status& status) { SendReport(pipe, status); };
  const Status served = options.keeper ? KeepMount(options, report) : Serve(options, report);
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
  // A tree whose daemon is away answers nobody who looks at it.
  if (const auto keeper = KeeperOfMount(DefaultRunDir(), options.mount_point);
      keeper && IsThere(DescribeProcess(keeper->keeper_pid))) {
    return Fail(ErrorCode::kBusy,
                fmt::format("cannot mount on {}: a store is mounted there already",
                            options.mount_point),
                fmt::format("quoin unmount {}", options.mount_point));
  }
  const auto serve_here = [&]() -> Status {
    const auto report = [](const Status&) {};
    return options.keeper ? KeepMount(options, report) : Serve(options, report);
  };
  const Status mounted = options.foreground ? serve_here() : StartInBackground(options);
  if (mounted) return {};
  return Failure(
      InForm(mounted.error(), fmt::format("mount {} on {}", options.store, options.mount_point)));
}

int ServeForKeeper(const std::string& start) {
  const Result<Json> json = ParseJsonObject(start, "the keeper's wish");
  if (!json) return EXIT_FAILURE;
  const DaemonStart wanted = DaemonStart::FromJson(*json);
  for (const int descriptor :
       {wanted.fuse_device, wanted.session, wanted.heads, wanted.channel}) {
    if (descriptor < 0 || fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) return EXIT_FAILURE;
  }
  prctl(PR_SET_NAME, "quoin");  // a program that is executed by descriptor may be called by its number
  KeeperChannel channel(wanted.channel, wanted.keeper_pid);
  return ServeWith(wanted, channel);
}

}  // namespace quoin

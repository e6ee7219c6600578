#include "tools/keeper.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "blockstore/base/id.h"
#include "fuse/mount_point.h"
#include "metadata/host.h"
#include "tools/keeper_record.h"
#include "tools/kept_daemon.h"
#include "tools/mount_record.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A daemon that ends before it has served for so long has died quickly. The first few are followed at once,
// then each waits twice as long as the one before; after the last the mount waits for a reload.
constexpr milliseconds kQuickDeath{500};
constexpr unsigned kMaxQuickDeaths = 10;
constexpr unsigned kImmediateRestarts = 3;
constexpr milliseconds kFirstDelay{100};
constexpr milliseconds kLongestDelay{3'000};

// How long a reload gives the new daemon to say that it runs, the old one to end what is under way, and the
// new one to serve. A daemon that does not end is killed, if the kernel sends again what it had not answered.
constexpr milliseconds kPreparePatience{10'000};
constexpr milliseconds kLeavePatience{10'000};
constexpr milliseconds kLeavePatienceWithoutResend{120'000};
constexpr milliseconds kGoPatience{60'000};

constexpr milliseconds kCommandPatience{1'000};
constexpr size_t kMaxCommandBytes = 64 << 10;
constexpr int kBacklog = 8;

bool IsDisconnected(int fuse_device) {
  pollfd watched{fuse_device, 0, 0};
  return poll(&watched, 1, 0) > 0 && (watched.revents & POLLERR) != 0;
}

std::string PathOfThisBinary() {
  std::array<char, PATH_MAX> path{};
  const ssize_t count = readlink("/proc/self/exe", path.data(), path.size() - 1);
  std::string text(path.data(), count > 0 ? static_cast<size_t>(count) : 0);
  constexpr std::string_view kDeleted = " (deleted)";
  if (text.ends_with(kDeleted)) text.resize(text.size() - kDeleted.size());
  return text;
}

bool IsSameFile(int a, int b) {
  struct stat of_a {}, of_b {};
  return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

std::string DescribeEnd(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
  }
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

bool HasLeft(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == kLeftToNext; }

class Keeper {
 public:
  explicit Keeper(DaemonOptions options) : options_(std::move(options)) {}

  Status Begin();
  Status Continue(const Json& state);
  // Until the mount's end; calls `report` once.
  Status Run(const std::function<void(const Status&)>& report);

 private:
  enum class Reload { kNone, kPreparing, kLeaving, kGoing };

  Status WatchSignals();
  Json StateForSuccessor() const;
  void ExecuteNewBinary();

  // daemons
  Result<KeptDaemon> StartDaemon(const Descriptor& binary, const std::string& why);
  void Restart();
  void ScheduleRestart(const std::string& why);
  void HearDaemon();
  void HearCandidate();
  void DaemonEnded();
  void CandidateEnded();
  void Ready(const Json& message);

  // reloads
  void Serve(const Descriptor& listening);
  void BeginReload(Descriptor client);
  void CandidateGoes();
  void FailReload(const std::string& why);
  void FinishReload();
  void KeepTime();
  milliseconds UntilNextDeadline() const;

  void Signalled();
  void End();
  Json StatusJson() const;
  void Log(const std::string& level, const std::string& text) const;

  DaemonOptions options_;
  Descriptor fuse_device_, session_, heads_;
  Descriptor binary_;  // that the daemon runs, and the next one if this one dies
  std::string binary_path_;
  KeeperRecord record_;
  Descriptor listening_, signals_;
  std::function<void(const Status&)> report_;

  std::optional<KeptDaemon> daemon_;
  bool serves_ = false;       // the daemon has said that it is ready
  Clock::time_point served_since_;
  std::optional<Clock::time_point> restart_at_;
  std::string why_;           // the last daemon's end
  std::string last_error_;    // what the last daemon said before it failed
  std::string version_;       // of the daemon
  std::string daemon_session_, log_;
  unsigned quick_deaths_ = 0;
  uint64_t restarts_ = 0;
  bool was_ready_once_ = false;
  bool sends_again_ = false;  // the kernel does

  Reload reload_ = Reload::kNone;
  std::optional<KeptDaemon> candidate_;
  Descriptor candidate_binary_;
  std::string candidate_version_, version_before_;
  Descriptor client_;  // waits for the reload's outcome
  Clock::time_point reload_deadline_;

  bool ending_ = false;
  bool ended_ = false;
  Status outcome_;
};

// --- beginning -----------------------------------------------------------------------------------

Status Keeper::WatchSignals() {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&wanted, number);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  signals_ = Descriptor(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return FailSystem(errno, "cannot watch for signals");
  return {};
}

Status Keeper::Begin() {
  QUOIN_TRY(WatchSignals());
  QUOIN_ASSIGN(const int device, OpenFuse(options_.mount_point));
  fuse_device_ = Descriptor(device);
  session_ = Descriptor(memfd_create("quoin-session", MFD_CLOEXEC));
  heads_ = Descriptor(memfd_create("quoin-heads", MFD_CLOEXEC));
  if (!session_ || !heads_) return FailSystem(errno, "cannot make a file in memory");
  binary_path_ = PathOfThisBinary();
  binary_ = Descriptor(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!binary_) return FailSystem(errno, "cannot open this program");
  record_.id = Id::Random().ToString();
  record_.store = options_.store;
  record_.mount_point = options_.mount_point;
  record_.keeper_pid = getpid();
  QUOIN_ASSIGN(listening_, ListenAt(KeeperSocketPath(DefaultRunDir(), record_.id), kBacklog));
  QUOIN_ASSIGN(daemon_, StartDaemon(binary_, ""));
  return {};
}

// --- replacing itself ----------------------------------------------------------------------------

Json Keeper::StateForSuccessor() const {
  return Json{{"mount", options_.ToJson()},
              {"fuse", fuse_device_.number()},
              {"session", session_.number()},
              {"heads", heads_.number()},
              {"binary", binary_.number()},
              {"binary_path", binary_path_},
              {"listening", listening_.number()},
              {"record", record_.ToJson()},
              {"daemon_pid", daemon_->pid()},
              {"channel", daemon_->channel()},
              {"version", version_},
              {"daemon_session", daemon_session_},
              {"log", log_},
              {"restarts", restarts_},
              {"sends_again", sends_again_}};
}

Status Keeper::Continue(const Json& state) {
  QUOIN_TRY(WatchSignals());
  const auto descriptor = [&](const char* key) {
    const int number = static_cast<int>(NumberOf(state, key, -1));
    if (number >= 0) fcntl(number, F_SETFD, FD_CLOEXEC);
    return Descriptor(number);
  };
  fuse_device_ = descriptor("fuse");
  session_ = descriptor("session");
  heads_ = descriptor("heads");
  binary_ = descriptor("binary");
  listening_ = descriptor("listening");
  binary_path_ = TextOf(state, "binary_path");
  const auto record = state.find("record");
  const std::optional<KeeperRecord> known =
      record == state.end() ? std::nullopt : KeeperRecord::FromJson(*record);
  if (!fuse_device_ || !session_ || !heads_ || !binary_ || !listening_ || !known) {
    return Fail(ErrorCode::kInvalid, "cannot go on keeping a mount: something is missing");
  }
  record_ = *known;
  const int channel = static_cast<int>(NumberOf(state, "channel", -1));
  fcntl(channel, F_SETFD, FD_CLOEXEC);
  daemon_.emplace(KeptDaemon::TakeOver(static_cast<pid_t>(NumberOf(state, "daemon_pid")), channel));
  serves_ = was_ready_once_ = true;
  served_since_ = Clock::now();
  version_ = TextOf(state, "version");
  daemon_session_ = TextOf(state, "daemon_session");
  log_ = TextOf(state, "log");
  restarts_ = static_cast<uint64_t>(NumberOf(state, "restarts"));
  sends_again_ = FlagOf(state, "sends_again");
  return {};
}

// The daemon has just shown that the new binary works. If it cannot be executed after all, this one goes on.
void Keeper::ExecuteNewBinary() {
  const std::string text = JsonLine(StateForSuccessor());
  const std::array<int, 6> passed = {fuse_device_.number(), session_.number(),   heads_.number(),
                                     binary_.number(),      listening_.number(), daemon_->channel()};
  for (const int descriptor : passed) fcntl(descriptor, F_SETFD, 0);
  const std::array<const char*, 4> words = {"quoin", kKeepVerb, text.c_str(), nullptr};
  fexecve(binary_.number(), const_cast<char* const*>(words.data()), environ);
  Log("warning", fmt::format("cannot execute the new binary: {}; the keeper stays the old one",
                             std::strerror(errno)));
  for (const int descriptor : passed) fcntl(descriptor, F_SETFD, FD_CLOEXEC);
}

// --- daemons -------------------------------------------------------------------------------------

Result<KeptDaemon> Keeper::StartDaemon(const Descriptor& binary, const std::string& why) {
  DaemonStart start;
  start.options = options_;
  start.fuse_device = fuse_device_.number();
  start.session = session_.number();
  start.heads = heads_.number();
  start.keeper_pid = getpid();
  start.restarts = restarts_;
  start.why = why;
  return KeptDaemon::Start(binary, std::move(start));
}

void Keeper::Restart() {
  restart_at_.reset();
  serves_ = false;
  Result<KeptDaemon> started = StartDaemon(binary_, why_);
  if (started) {
    daemon_.emplace(std::move(*started));
  } else {
    ScheduleRestart(started.error().what);
  }
}

void Keeper::ScheduleRestart(const std::string& why) {
  why_ = why;
  ++quick_deaths_;
  if (quick_deaths_ >= kMaxQuickDeaths) {
    Log("error",
        fmt::format("{} daemons in a row have died at once, the last one {}{}{}; {} waits, with all who "
                    "use it, for: quoin reload {}",
                    quick_deaths_, why, last_error_.empty() ? "" : ": ", last_error_,
                    options_.mount_point, options_.mount_point));
    return;
  }
  milliseconds delay{0};
  if (quick_deaths_ > kImmediateRestarts) {
    delay = std::min(kFirstDelay * (1 << (quick_deaths_ - kImmediateRestarts - 1)), kLongestDelay);
  }
  restart_at_ = Clock::now() + delay;
}

void Keeper::Ready(const Json& message) {
  serves_ = was_ready_once_ = true;
  served_since_ = Clock::now();
  last_error_.clear();
  version_ = TextOf(message, "version");
  daemon_session_ = TextOf(message, "session");
  log_ = TextOf(message, "log");
  sends_again_ = FlagOf(message, "survives_kill");
  record_.store_id = TextOf(message, "store_id");
  if (report_) {
    const Status recorded = WriteKeeperRecord(DefaultRunDir(), record_);
    if (!recorded) Log("warning", recorded.error().what);
    std::exchange(report_, nullptr)(Status());
  }
  if (reload_ == Reload::kGoing) FinishReload();
}

void Keeper::HearDaemon() {
  while (std::optional<Json> message = daemon_->Hear()) {
    const std::string what = TextOf(*message, "is");
    if (what == "prepared") daemon_->Say("go");
    if (what == "ready") Ready(*message);
    if (what == "failed" && message->contains("error")) {
      const Error error = ErrorFromJson((*message)["error"]);
      last_error_ = error.what;
      if (!was_ready_once_) outcome_ = Failure(error);
    }
  }
}

void Keeper::DaemonEnded() {
  HearDaemon();
  const int status = daemon_->Reap();
  const pid_t pid = daemon_->pid();
  daemon_.reset();
  if (!daemon_session_.empty()) RemoveMountRecord(DefaultRunDir(), daemon_session_);
  daemon_session_.clear();
  const bool served = std::exchange(serves_, false);
  const std::string end = fmt::format("(pid {}) {}", pid, DescribeEnd(status));
  if (!was_ready_once_) {
    // Nothing has begun that could go on.
    if (outcome_) {
      outcome_ = Fail(ErrorCode::kIo, fmt::format("its daemon {} at the start", end),
                      "quoin mount -f shows what it says");
    }
    if (!IsDisconnected(fuse_device_.number())) Detach(options_.mount_point);
    return End();
  }
  const bool is_unmounted = IsDisconnected(fuse_device_.number());
  if ((WIFEXITED(status) && WEXITSTATUS(status) == 0) || is_unmounted || ending_) return End();
  if (reload_ == Reload::kLeaving) return CandidateGoes();
  if (reload_ == Reload::kGoing) {
    // The new one has failed after all.
    FailReload(fmt::format("the new daemon {}{}{}", end, last_error_.empty() ? "" : ": ", last_error_));
    quick_deaths_ = 0;
    why_ = "a new version did not come up";
    restart_at_ = Clock::now();
    return;
  }
  if (!HasLeft(status)) {
    ++restarts_;
    Log("error", fmt::format("the daemon {}; it is started again", end));
  }
  if (served && Clock::now() - served_since_ >= kQuickDeath) quick_deaths_ = 0;
  ScheduleRestart(end);
}

// --- reloads -------------------------------------------------------------------------------------

void Keeper::BeginReload(Descriptor client) {
  const auto refuse = [&](const Error& error) {
    (void)SendLine(client.number(), JsonLine(Json{{"error", ToJson(error)}}), kCommandPatience);
  };
  if (reload_ != Reload::kNone) {
    return refuse({ErrorCode::kBusy, "another reload is under way", "try again in a moment"});
  }
  candidate_binary_ = Descriptor(open(binary_path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!candidate_binary_) {
    return refuse(FailSystem(errno, fmt::format("cannot open {}", binary_path_)).value());
  }
  version_before_ = version_;
  candidate_version_.clear();
  Result<KeptDaemon> started = StartDaemon(candidate_binary_, "is replaced");
  if (!started) return refuse(started.error());
  candidate_.emplace(std::move(*started));
  client_ = std::move(client);
  reload_ = Reload::kPreparing;
  reload_deadline_ = Clock::now() + kPreparePatience;
}

void Keeper::HearCandidate() {
  while (std::optional<Json> message = candidate_->Hear()) {
    const std::string what = TextOf(*message, "is");
    if (what == "failed" && message->contains("error")) {
      last_error_ = ErrorFromJson((*message)["error"]).what;
    }
    if (what != "prepared" || reload_ != Reload::kPreparing) continue;
    candidate_version_ = TextOf(*message, "version");
    if (daemon_) {
      reload_ = Reload::kLeaving;
      reload_deadline_ =
          Clock::now() + (sends_again_ ? kLeavePatience : kLeavePatienceWithoutResend);
      daemon_->Say("leave");
    } else {
      CandidateGoes();
      return;
    }
  }
}

void Keeper::CandidateGoes() {
  daemon_ = std::move(candidate_);
  candidate_.reset();
  restart_at_.reset();
  serves_ = false;
  last_error_.clear();
  reload_ = Reload::kGoing;
  reload_deadline_ = Clock::now() + kGoPatience;
  daemon_->Say("go");
}

void Keeper::CandidateEnded() {
  HearCandidate();
  if (!candidate_) return;  // it goes
  const std::string end = DescribeEnd(candidate_->Reap());
  candidate_.reset();
  FailReload(fmt::format("the new daemon {}{}{}", end, last_error_.empty() ? "" : ": ", last_error_));
  // One that has been told to leave is followed by its own kind.
}

void Keeper::FailReload(const std::string& why) {
  reload_ = Reload::kNone;
  candidate_binary_.Reset();
  const std::string what = fmt::format("cannot reload {}: {}", options_.mount_point, why);
  Log("error", what + "; the version that ran before goes on");
  const Error error{ErrorCode::kIo, what,
                    fmt::format("the version that ran before goes on: quoin status {}",
                                options_.mount_point)};
  (void)SendLine(client_.number(), JsonLine(Json{{"error", ToJson(error)}}), kCommandPatience);
  client_.Reset();
}

void Keeper::FinishReload() {
  reload_ = Reload::kNone;
  quick_deaths_ = 0;
  const bool is_other_binary = !IsSameFile(binary_.number(), candidate_binary_.number());
  binary_ = std::move(candidate_binary_);
  const Json result{{"version_before", version_before_.empty() ? Json(nullptr) : Json(version_before_)},
                    {"version", version_},
                    {"daemon_pid", daemon_->pid()},
                    {"keeper_pid", getpid()}};
  (void)SendLine(client_.number(), JsonLine(Json{{"result", result}}), kCommandPatience);
  client_.Reset();
  if (is_other_binary) ExecuteNewBinary();
}

// --- the loop ------------------------------------------------------------------------------------

milliseconds Keeper::UntilNextDeadline() const {
  std::optional<Clock::time_point> next = restart_at_;
  if (reload_ != Reload::kNone) next = next ? std::min(*next, reload_deadline_) : reload_deadline_;
  if (!next) return milliseconds(-1);
  // Rounded up, so that it is over when poll returns.
  const auto left = std::chrono::ceil<milliseconds>(*next - Clock::now());
  return std::max(left, milliseconds(0));
}

void Keeper::KeepTime() {
  const Clock::time_point now = Clock::now();
  if (restart_at_ && now >= *restart_at_ && reload_ != Reload::kGoing) Restart();
  if (reload_ == Reload::kNone || now < reload_deadline_) return;
  switch (reload_) {
    case Reload::kPreparing:
      candidate_->Signal(SIGKILL);
      candidate_->Reap();
      candidate_.reset();
      FailReload("the new daemon did not come up in time");
      break;
    case Reload::kLeaving:
      // What it has not answered is sent to the new one.
      Log("warning", "the daemon did not end in time what was under way, and is killed");
      daemon_->Signal(SIGKILL);
      reload_deadline_ = now + kGoPatience;
      break;
    case Reload::kGoing:
      daemon_->Signal(SIGKILL);
      reload_deadline_ = now + kGoPatience;
      break;
    case Reload::kNone:
      break;
  }
}

void Keeper::Serve(const Descriptor& listening) {
  Descriptor client(accept4(listening.number(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client) return;
  const Result<unsigned> user = PeerUser(client.number());
  if (!user || (*user != 0 && *user != geteuid())) return;
  const Result<std::string> line = ReceiveLine(client.number(), kMaxCommandBytes, kCommandPatience);
  if (!line) return;
  const Result<Json> request = ParseJsonObject(*line, "the request");
  const std::string verb = request ? TextOf(*request, "verb") : "";
  if (verb == "reload") return BeginReload(std::move(client));
  Json answer{{"result", StatusJson()}};
  if (verb != "status") {
    answer = Json{{"error", ToJson(Error{ErrorCode::kUnsupported,
                                         "this keeper does not know what is asked for", ""})}};
  }
  (void)SendLine(client.number(), JsonLine(answer), kCommandPatience);
}

Json Keeper::StatusJson() const {
  const bool waits = !daemon_ && !restart_at_;
  return Json{{"store", record_.store},
              {"store_id", record_.store_id},
              {"mountpoint", record_.mount_point},
              {"keeper_pid", getpid()},
              {"daemon_pid", daemon_ ? Json(daemon_->pid()) : Json(nullptr)},
              {"version", version_.empty() ? Json(nullptr) : Json(version_)},
              {"log", log_.empty() ? Json(nullptr) : Json(log_)},
              {"state", serves_ ? "mounted" : waits ? "waiting" : "restarting"},
              {"restarts", restarts_},
              {"last_end", why_.empty() ? Json(nullptr) : Json(why_)},
              {"last_error", last_error_.empty() ? Json(nullptr) : Json(last_error_)}};
}

void Keeper::Signalled() {
  signalfd_siginfo info{};
  if (read(signals_.number(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return;
  ending_ = true;
  restart_at_.reset();
  if (daemon_) return daemon_->Signal(SIGTERM);
  Detach(options_.mount_point);
  End();
}

void Keeper::End() {
  ended_ = true;
  if (candidate_) {
    candidate_->Signal(SIGKILL);
    candidate_->Reap();
    candidate_.reset();
  }
  if (reload_ != Reload::kNone) FailReload("it is unmounted");
}

// Where the daemon logs, which appends as well; else to the terminal.
void Keeper::Log(const std::string& level, const std::string& text) const {
  const auto now = std::chrono::time_point_cast<milliseconds>(std::chrono::system_clock::now());
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const std::string line =
      fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03} {} keeper: {}\n", fmt::localtime(seconds),
                  now.time_since_epoch().count() % 1000, level, text);
  int file = STDERR_FILENO;
  const Descriptor log(log_.empty() ? -1 : open(log_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (log) file = log.number();
  if (write(file, line.data(), line.size()) < 0) return;  // nobody to tell
}

Status Keeper::Run(const std::function<void(const Status&)>& report) {
  report_ = report;
  prctl(PR_SET_NAME, "quoin-keeper");
  while (!ended_) {
    std::vector<pollfd> watched = {{signals_.number(), POLLIN, 0}, {listening_.number(), POLLIN, 0}};
    // Without a daemon nobody else sees that the tree was unmounted.
    watched.push_back({daemon_ ? -1 : fuse_device_.number(), 0, 0});
    watched.push_back({daemon_ ? daemon_->process() : -1, POLLIN, 0});
    watched.push_back({daemon_ ? daemon_->channel() : -1, POLLIN, 0});
    watched.push_back({candidate_ ? candidate_->process() : -1, POLLIN, 0});
    watched.push_back({candidate_ ? candidate_->channel() : -1, POLLIN, 0});
    const int ready = poll(watched.data(), watched.size(),
                           static_cast<int>(UntilNextDeadline().count()));
    if (ready < 0 && errno != EINTR) return FailSystem(errno, "cannot wait for what happens");
    const auto is_ready = [&](size_t i) { return ready > 0 && watched[i].revents != 0; };
    // What is handled may replace what comes later; that is looked at in the next round.
    if (is_ready(0)) {
      Signalled();
    } else if (is_ready(2)) {
      End();
    } else if (is_ready(3)) {
      DaemonEnded();
    } else if (is_ready(4)) {
      HearDaemon();
    } else if (is_ready(5)) {
      CandidateEnded();
    } else if (is_ready(6)) {
      HearCandidate();
    } else if (is_ready(1)) {
      Serve(listening_);
    }
    if (!ended_) KeepTime();
  }
  RemoveKeeperRecord(DefaultRunDir(), record_.id);
  if (report_ && !outcome_) report_(outcome_);
  return outcome_;
}

}  // namespace

Status KeepMount(const DaemonOptions& options, const std::function<void(const Status&)>& report) {
  Keeper keeper(options);
  if (const Status begun = keeper.Begin(); !begun) {
    report(begun);
    return begun;
  }
  return keeper.Run(report);
}

int ContinueKeeping(const std::string& text) {
  const Result<Json> state = ParseJsonObject(text, "the keeper's state");
  if (!state) return EXIT_FAILURE;
  const auto mount = state->find("mount");
  Keeper keeper(mount == state->end() ? DaemonOptions() : DaemonOptions::FromJson(*mount));
  if (!keeper.Continue(*state)) return EXIT_FAILURE;
  return keeper.Run([](const Status&) {}) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace quoin

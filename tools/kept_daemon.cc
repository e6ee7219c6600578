#include "tools/kept_daemon.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace quoin {
namespace {

constexpr size_t kMaxHeardBytes = 1 << 20;
constexpr std::chrono::milliseconds kSayPatience{1000};
constexpr int kCannotExecute = 127;

// In the child, so nothing but system calls.
[[noreturn]] void Execute(int binary, const std::string& text, const std::array<int, 4>& inherited) {
  for (const int descriptor : inherited) fcntl(descriptor, F_SETFD, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const std::array<const char*, 4> words = {"quoin", kServeVerb, text.c_str(), nullptr};
  syscall(SYS_execveat, binary, "", const_cast<char* const*>(words.data()), environ, AT_EMPTY_PATH);
  _exit(kCannotExecute);
}

}  // namespace

KeptDaemon::KeptDaemon(pid_t pid, Descriptor channel)
    : pid_(pid),
      channel_(std::move(channel)),
      process_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}

Result<KeptDaemon> KeptDaemon::Start(const Descriptor& binary, DaemonStart start) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return FailSystem(errno, "cannot make a channel to a daemon");
  }
  Descriptor mine(ends[0]);
  Descriptor its(ends[1]);
  start.channel = its.number();
  const std::string text = JsonLine(start.ToJson());
  const pid_t child = fork();
  if (child < 0) return FailSystem(errno, "cannot start a daemon");
  if (child == 0) {
    Execute(binary.number(), text, {start.fuse_device, start.session, start.heads, its.number()});
  }
  return KeptDaemon(child, std::move(mine));
}

KeptDaemon KeptDaemon::TakeOver(pid_t pid, int channel) {
  return KeptDaemon(pid, Descriptor(channel));
}

std::optional<Json> KeptDaemon::Hear() {
  for (;;) {
    const size_t end = heard_.find('\n');
    if (end != std::string::npos) {
      const Result<Json> json = ParseJsonObject(heard_.substr(0, end), "the daemon's message");
      heard_.erase(0, end + 1);
      if (json) return *json;
      continue;
    }
    if (!channel_) return std::nullopt;
    std::array<char, 4096> buffer;
    const ssize_t count = recv(channel_.number(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return std::nullopt;
    if (count <= 0 || heard_.size() > kMaxHeardBytes) {
      channel_.Reset();
      return std::nullopt;
    }
    heard_.append(buffer.data(), static_cast<size_t>(count));
  }
}

void KeptDaemon::Say(const char* order) {
  // One that does not hear is seen to end.
  (void)SendLine(channel_.number(), JsonLine(Json{{"do", order}}), kSayPatience);
}

void KeptDaemon::Signal(int number) const { kill(pid_, number); }

int KeptDaemon::Reap() const {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace quoin

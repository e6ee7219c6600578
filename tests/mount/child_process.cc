#include "tests/mount/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace quoin {
namespace {

constexpr std::chrono::milliseconds kPollEvery{5};
constexpr std::chrono::seconds kChildLimit{30};

// -1 if it does not end within the limit; then it is killed.
int WaitFor(pid_t child, std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (std::chrono::steady_clock::now() > deadline) break;
    std::this_thread::sleep_for(kPollEvery);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return -1;
}

std::string ReadFromStart(int file) {
  std::string text;
  char piece[4096];
  lseek(file, 0, SEEK_SET);
  for (ssize_t got; (got = read(file, piece, sizeof piece)) > 0;) {
    text.append(piece, static_cast<size_t>(got));
  }
  return text;
}

}  // namespace

Outcome RunProgram(const std::vector<std::string>& words, std::chrono::seconds limit) {
  Outcome outcome;
  char name[] = "/tmp/quoin-output-XXXXXX";
  const int output = mkostemp(name, O_CLOEXEC);
  if (output < 0) return outcome;
  unlink(name);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execvp(arguments[0], arguments.data());
    dprintf(STDERR_FILENO, "cannot run %s\n", arguments[0]);
    _exit(127);
  }
  outcome.exit_status = WaitFor(child, limit);
  outcome.output = ReadFromStart(output);
  close(output);
  return outcome;
}

int InAnotherProcess(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  return WaitFor(child, kChildLimit);
}

}  // namespace quoin

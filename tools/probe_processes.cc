#include "tools/probe_processes.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <memory>
#include <new>
#include <thread>

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookEvery{1};
constexpr int kMaxRounds = 256;

// Memory that the racing processes share.
struct SharedRace {
  std::atomic<int> arrived{0};  // at any round's start, all rounds together
  std::atomic<int> winners[kMaxRounds] = {};
};

struct Unmapper {
  void operator()(SharedRace* race) const { munmap(race, sizeof(SharedRace)); }
};

std::unique_ptr<SharedRace, Unmapper> NewSharedRace() {
  void* memory =
      mmap(nullptr, sizeof(SharedRace), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  return std::unique_ptr<SharedRace, Unmapper>(new (memory) SharedRace);
}

int RunRounds(SharedRace& race, int process, int processes, int rounds,
              const std::function<bool(int, int)>& attempt) {
  for (int round = 0; round < rounds; ++round) {
    race.arrived.fetch_add(1);
    while (race.arrived.load() < processes * (round + 1)) std::this_thread::yield();
    if (attempt(process, round)) race.winners[round].fetch_add(1);
  }
  return 0;
}

}  // namespace

std::vector<int> RaceProcesses(int processes, int rounds,
                               const std::function<bool(int process, int round)>& attempt) {
  const auto race = NewSharedRace();
  if (race == nullptr || rounds > kMaxRounds) return {};
  std::vector<std::unique_ptr<ChildProcess>> children;
  for (int process = 0; process < processes; ++process) {
    children.push_back(std::make_unique<ChildProcess>(
        [&] { return RunRounds(*race, process, processes, rounds, attempt); }));
    if (!children.back()->started()) return {};
  }
  for (const auto& child : children) {
    if (child->AwaitEnd() != 0) return {};
  }
  return std::vector<int>(race->winners, race->winners + rounds);
}

Channel Channel::Make() {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return {Descriptor(), Descriptor()};
  }
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

bool SendByte(const Descriptor& end, char byte) {
  return send(end.number(), &byte, 1, MSG_NOSIGNAL) == 1;
}

std::optional<char> ReceiveByte(const Descriptor& end, std::chrono::milliseconds patience) {
  pollfd watched{end.number(), POLLIN, 0};
  char byte = 0;
  if (poll(&watched, 1, static_cast<int>(patience.count())) != 1) return std::nullopt;
  if (recv(end.number(), &byte, 1, 0) != 1) return std::nullopt;
  return byte;
}

ChildProcess::ChildProcess(const std::function<int()>& body) : pid_(fork()) {
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  _exit(body());
}

ChildProcess::~ChildProcess() { Kill(); }

void ChildProcess::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

int ChildProcess::AwaitEnd(std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  int state = 0;
  while (pid_ > 0 && Clock::now() < deadline) {
    if (waitpid(pid_, &state, WNOHANG) == pid_) {
      pid_ = -1;
      return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
    }
    std::this_thread::sleep_for(kLookEvery);
  }
  return -1;
}

}  // namespace quoin

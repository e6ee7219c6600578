// Several processes that try the same thing at the same moment, for the probes of storage_probes.h.
// Used by one thread of a process without others: the children come from fork.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "tools/local_socket.h"

namespace quoin {

// Runs `attempt(process, round)` in `processes` child processes for each round from 0, all starting
// a round together, and returns how many attempts of each round returned true. Empty if the
// children could not be started or did not end in time; they are then killed.
std::vector<int> RaceProcesses(int processes, int rounds,
                               const std::function<bool(int process, int round)>& attempt);

inline constexpr std::chrono::milliseconds kChildPatience{60'000};

// Bytes between a process and its child, both ways; made before the child.
struct Channel {
  Descriptor parent;
  Descriptor child;

  static Channel Make();  // without descriptors if that fails
};

bool SendByte(const Descriptor& end, char byte);
// Nothing if none comes in time.
std::optional<char> ReceiveByte(const Descriptor& end, std::chrono::milliseconds patience);

// One child process that lives until it is told to end, or dies with the object.
class ChildProcess {
 public:
  // `body` runs in the child, which exits with its result.
  explicit ChildProcess(const std::function<int()>& body);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  bool started() const { return pid_ > 0; }
  // SIGKILL, and waits for its end.
  void Kill();
  // Its exit status; -1 if it was killed or does not end in time.
  int AwaitEnd(std::chrono::milliseconds patience = kChildPatience);

 private:
  pid_t pid_;
};

}  // namespace quoin

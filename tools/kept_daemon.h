// A daemon as its keeper sees it: a child process and the channel to it. Owned by the Keeper; one thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "tools/daemon_start.h"
#include "tools/local_socket.h"

namespace quoin {

class KeptDaemon {
 public:
  // Runs `quoin serve` from the opened binary. `start.channel` is filled in here.
  static Result<KeptDaemon> Start(const Descriptor& binary, DaemonStart start);
  // One that this process, as it was before it executed another binary, has started.
  static KeptDaemon TakeOver(pid_t pid, int channel);

  pid_t pid() const { return pid_; }
  int channel() const { return channel_.number(); }
  int process() const { return process_.number(); }  // readable when it has ended
  std::chrono::steady_clock::time_point started() const { return started_; }

  // The next line that it has said, if a whole one is there. Once it has hung up channel() is -1.
  std::optional<Json> Hear();
  void Say(const char* order);
  void Signal(int number) const;
  // Its status as waitpid has it, once process() is readable.
  int Reap() const;

 private:
  KeptDaemon(pid_t pid, Descriptor channel);

  pid_t pid_;
  Descriptor channel_;
  Descriptor process_;
  std::string heard_;  // beyond the last whole line
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace quoin

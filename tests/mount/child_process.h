// Programs that a test runs: bounded in time, with what they wrote.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace quoin {

struct Outcome {
  int exit_status = -1;  // 128 + signal if it was killed; -1 if it could not be started
  std::string output;    // standard output and standard error
};

// Runs a program found by PATH; killed, by its process id, if it is not done within the limit.
Outcome RunProgram(const std::vector<std::string>& words,
                   std::chrono::seconds limit = std::chrono::seconds(40));

// Runs a function in a forked child and returns its result (0 to 255) as the exit status: what
// another process sees of a file.
int InAnotherProcess(const std::function<int()>& body);

}  // namespace quoin

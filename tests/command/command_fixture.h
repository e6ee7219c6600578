// Runs the command that was built with the tests as a user would: child processes with their
// output, errors and exit status, on a store in a temporary folder, with run, state and log folders
// of the test's own. Unmounts and ends what a test leaves behind.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "snapshots/store.h"
#include "tests/support/temporary_directory.h"

namespace quoin {

struct CommandResult {
  int status = -1;  // 128 + signal if it was killed
  std::string out;
  std::string err;
};

// Runs a program; killed, by its id, if it takes longer than the limit.
CommandResult RunCommand(const std::vector<std::string>& words, const std::string& folder = "",
                         std::chrono::seconds limit = std::chrono::seconds(40));

class CommandTest : public ::testing::Test {
 protected:
  CommandTest();  // sets QUOIN_RUN_DIR, QUOIN_STATE_DIR and QUOIN_LOG_DIR
  ~CommandTest() override;

  // "quoin <words>"
  CommandResult Quoin(const std::vector<std::string>& words, const std::string& folder = "") const;
  // "quoin --store STORE <words>"
  CommandResult OnStore(std::vector<std::string> words) const;
  // The same with --json, parsed; null (and a failure) if it failed or printed no JSON.
  nlohmann::json JsonOf(std::vector<std::string> words) const;

  void MakeStore();
  void MountStore();  // on mount()
  void UnmountStore();

  // Calls `work` with the store opened by this process.
  void WithStore(const std::function<void(Store&)>& work);
  // Writes `bytes` bytes of data into a VDI, and flushes.
  void Fill(const std::string& vdi, uint64_t offset, uint64_t bytes);
  // STORE/vdis/<id>
  std::string FolderOf(const std::string& vdi);

  std::string store() const { return folder_ / "store"; }
  std::string mount() const { return folder_ / "mount"; }
  std::string run_dir() const { return folder_ / "run"; }
  std::string Path(const std::string& name) const { return folder_ / name; }

 private:
  TemporaryDirectory folder_;
};

// "quoin: cannot ..." on standard error, nothing else before it, and this status.
::testing::AssertionResult IsRefused(const CommandResult& result, int status,
                                     const std::string& words);
// Status 0 and nothing on standard error.
::testing::AssertionResult IsDone(const CommandResult& result);

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& bytes);
// Overwrites bytes in the middle of a file.
void Scribble(const std::string& path, uint64_t offset, const std::string& bytes);

}  // namespace quoin

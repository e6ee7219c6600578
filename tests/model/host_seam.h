// The way of one simulated host to the storage that it shares with the others: where it is stopped,
// killed or cut off, between any two calls of its threads.
//
// Stopped: no call proceeds, nothing of the process runs, its clock goes on. Killed: its descriptors are
// closed, with their locks, and no call reaches the storage any more; only the heartbeat seems to, so that
// the threads of what is dead come to their ends. Cut off: calls fail, or hang until the storage is
// reached again. Expelled: the storage gave the host's locks away; one that fences refuses everything on
// its descriptors of before from then on, one that does not lets them change files as ever.
//
// The driver calls all but the FileSystem's methods, while nothing of the host runs.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "blockstore/base/file_system.h"
#include "tests/model/virtual_time.h"

namespace quoin::model {

enum class Reach { kReached, kFails, kHangs, kStopped, kDead };

class HostSeam final : public FileSystem {
 public:
  HostSeam(FileSystem& below, VirtualTime& time, VirtualTime::Party& party, bool fences)
      : below_(below), time_(time), party_(party), fences_(fences) {}
  ~HostSeam() override = default;

  Reach reach() const;
  uint64_t calls() const;
  void Set(Reach reach);
  // As Set, right before the `calls`-th call from now; with `lost_answer` that call is carried out, and
  // fails all the same.
  void SetAfter(uint64_t calls, Reach reach, bool lost_answer);
  void ForgetPlan();
  // True if the plan has struck since this was asked.
  bool TakeStruck();
  void Expel();
  bool was_expelled() const { return was_expelled_; }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override;
  Result<FileFacts> Facts(const std::string& path) override;
  Result<std::vector<DirectoryEntry>> List(const std::string& path) override;
  Result<SpaceFacts> Space(const std::string& path) override;
  Status Link(const std::string& from, const std::string& to) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status MakeDirectory(const std::string& path, uint32_t mode) override;
  Status RemoveDirectory(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;

 private:
  friend class SeamFile;
  enum class Verdict { kGo, kFail, kGoAndFail, kPretend };

  // Returns when the call may proceed, or is not to.
  Verdict Admit(const std::string& path);
  template <typename R, typename Call>
  R Run(const std::string& path, R pretended, Call call);
  void CloseAll();

  FileSystem& below_;
  VirtualTime& time_;
  VirtualTime::Party& party_;
  const bool fences_;

  mutable std::mutex state_mutex_;
  Reach reach_ = Reach::kReached;
  uint64_t calls_ = 0;
  struct Plan {
    uint64_t at_call;
    Reach reach;
    bool lost_answer;
  };
  std::optional<Plan> plan_;
  bool struck_ = false;
  bool was_expelled_ = false;

  std::mutex call_mutex_;  // one call of a host at a time; taken after state_mutex_, or without it
  std::set<class SeamFile*> files_;
};

}  // namespace quoin::model

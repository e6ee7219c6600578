// One process of a simulated host: a Store behind its own seam and clock, and a thread that does what the
// driver asks, one thing at a time. The driver calls everything here, while nothing of the process runs
// (VirtualTime::Settle).
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "snapshots/store.h"
#include "snapshots/vdi.h"
#include "tests/model/history.h"
#include "tests/model/host_seam.h"
#include "tests/model/virtual_time.h"

namespace quoin::model {

class ModelHost {
 public:
  // `number` is the host's; `process` counts all processes, for who is first of several.
  ModelHost(FileSystem& storage, VirtualTime& time, int number, int process, bool fences,
            std::vector<Id> vdis);
  ~ModelHost();
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  int number() const { return number_; }
  HostSeam& seam() { return seam_; }
  const HostSeam& seam() const { return seam_; }

  // Begin something that IsBusy until TakeAnswer.
  void OpenStore();
  void Do(const Operation& operation);
  void CloseStore();  // with whatever is open
  bool IsBusy() const { return busy_; }
  const std::optional<Operation>& operation() const { return operation_; }  // if it is one
  std::optional<Answer> TakeAnswer();

  bool is_open() const { return store_ != nullptr; }
  bool HasHandle(int vdi) const { return handles_.count(vdi) > 0; }
  bool has_handles() const { return !handles_.empty(); }

 private:
  void Submit(std::function<Answer()> job);
  void Run();
  Answer Perform(const Operation& operation);
  Answer Open(int vdi);
  Answer Write(const Operation& operation);
  Answer ReadImage(Image& image, const Operation& operation) const;
  Answer Glance(const Operation& operation);
  Answer ReadSnapshot(const Operation& operation);

  VirtualTime& time_;
  const int number_;
  const std::vector<Id> vdis_;
  VirtualTime::Party party_;
  VirtualClock clock_;
  HostSeam seam_;

  // Of the thread while it is busy, else of the driver.
  std::unique_ptr<Store> store_;
  std::map<int, VdiHandle> handles_;
  std::map<int, uint64_t> epochs_;

  bool busy_ = false;  // of the driver, with operation_
  std::optional<Operation> operation_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<Answer()> job_;
  std::optional<Answer> answer_;
  bool ending_ = false;
  std::thread thread_;
};

// What the VDIs of the simulated stores are called.
std::string VdiName(int vdi);

}  // namespace quoin::model

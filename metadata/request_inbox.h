// How a session answers what others ask of it, on whatever host (request_folder.h). Idle it costs one
// look-up of a name every kLookEvery, whatever the number of VDIs and hosts; after a request it looks
// more often for a while, as one is often followed by another.
//
// Nothing is begun with while the lease has lapsed, and what was asked before or during a lapse is
// answered as late when it is over: who asked may have given up on us and helped itself.
//
// Thread-safe. The handler runs in threads of the inbox, one for each request that is under way.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "blockstore/base/file_system.h"
#include "blockstore/base/mutex.h"
#include "metadata/lease.h"
#include "metadata/request_folder.h"
#include "metadata/store_layout.h"

namespace quoin {

class RequestInbox {
 public:
  // Given a request, gives its answer; from several threads at once; must not throw.
  using Handler = std::function<std::string(std::string_view request)>;

  static constexpr std::chrono::milliseconds kLookEvery{250};

  // Answers from here on. `session` is the session's own folder, whose lease has begun; `file_system` is
  // the storage itself, not fenced. All must outlive the inbox.
  static Result<std::unique_ptr<RequestInbox>> Open(FileSystem& file_system, const Lease& lease,
                                                    const std::string& session, Handler handler);
  // Begins with nothing new, and waits for what is under way.
  ~RequestInbox();
  RequestInbox(const RequestInbox&) = delete;
  RequestInbox& operator=(const RequestInbox&) = delete;

 private:
  struct Work {
    explicit Work(const Id& request_id) : id(request_id) {}
    const Id id;
    std::atomic<bool> ended{false};
    std::thread thread;
  };
  using Clock = std::chrono::steady_clock;

  RequestInbox(FileSystem& file_system, const Lease& lease, const std::string& session,
               Handler handler);

  void Run() QUOIN_EXCLUDES(mutex_);
  bool Sleep(Clock::duration time) QUOIN_EXCLUDES(mutex_);
  // True if there was something new.
  bool Look(bool as_late);
  void SweepAnswer(const std::string& name);
  void Begin(const Id& id);
  void Serve(const Id& id);
  void Answer(const Id& id, std::string_view head, std::string_view text);
  void JoinEnded();

  // Constant after construction.
  FileSystem& file_system_;
  const Lease& lease_;
  const std::string folder_;
  const Handler handler_;

  // Of the thread.
  std::list<Work> work_;
  std::map<std::string, Clock::time_point> unfetched_;  // answers, since we first saw them
  uint64_t lapses_;

  Mutex mutex_{LockRank::kLeaf};
  Condition changed_;
  bool ending_ QUOIN_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace quoin

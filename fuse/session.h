// A mounted tree: the kernel's requests on one mount point, answered from one Store by a fixed pool
// of threads. Owned by the daemon's main; the Store must outlive it. Where a keeper holds the connection and
// the KeptSession, a daemon that is started again goes on with the mount of the one before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "snapshots/store.h"

namespace quoin {

class KeptSession;

struct MountOptions {
  std::string mount_point;
  unsigned threads = 0;  // 0: the default that the benchmarks found best
  // The text of .quoin/status.json; called for each open of that file, from any thread.
  std::function<std::string()> status_json;
  // The keeper's /dev/fuse, mounted or to be mounted, and what it keeps of the session. Without: -1 and
  // null, and the mount ends with this process. The descriptor becomes the Session's.
  int fuse_device = -1;
  KeptSession* kept = nullptr;
};

class Session {
 public:
  // Mounts and starts answering: when it returns, the tree is usable. kNotFound, kNotDirectory,
  // kNotEmpty or kBusy for an unfit mount point; what the kernel says otherwise. If `kept` says that the tree
  // is mounted already, goes on with it: all that is open is opened again, then the requests that the
  // daemon before did not answer are asked for again. An error of that leaves everything open, so that
  // another daemon can try: this process is to end at once, without closing the store.
  static Result<std::unique_ptr<Session>> Mount(Store& store, MountOptions options);
  // Unmounts if still mounted, closes every handle, and joins the threads.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Until the tree is unmounted (by umount, fusermount3 or Stop).
  void Wait();
  // Ends Wait; safe from a signal-handling thread, not from a handler.
  void Stop();
  // Takes no more requests, ends those under way, and leaves everything open and mounted for the next
  // daemon. Afterwards this process is to end without destroying the Session.
  void LeaveToNext();
  // If this daemon is killed, the next one is sent what it had not answered (from Linux 6.9).
  bool survives_kill() const;

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace quoin

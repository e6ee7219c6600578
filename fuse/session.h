// A mounted tree: the kernel's requests on one mount point, answered from one Store by a fixed pool
// of threads. Owned by the daemon's main; the Store must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "snapshots/store.h"

namespace quoin {

struct MountOptions {
  std::string mount_point;
  unsigned threads = 0;  // 0: the default that the benchmarks found best
  // The text of .quoin/status.json; called for each open of that file, from any thread.
  std::function<std::string()> status_json;
};

class Session {
 public:
  // Mounts and starts answering: when it returns, the tree is usable. kNotFound, kNotDirectory,
  // kNotEmpty or kBusy for an unfit mount point; what the kernel says otherwise.
  static Result<std::unique_ptr<Session>> Mount(Store& store, MountOptions options);
  // Unmounts if still mounted, closes every handle, and joins the threads.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Until the tree is unmounted (by umount, fusermount3 or Stop).
  void Wait();
  // Ends Wait; safe from a signal-handling thread, not from a handler.
  void Stop();

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace quoin

// A filesystem of its own that shows a folder: another client of the same storage, as a second host would
// be, on one machine. It keeps nothing to itself, and all that it does not fake is the storage's own. A test
// makes it lie.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

namespace quoin {

struct Lies {
  // Locks are held among the processes of this mount only, as by clients that do not tell their server.
  bool locks_are_local = false;
  bool creation_is_never_exclusive = false;
  bool links_fail = false;
  bool sync_fails = false;
  bool punched_holes_keep_their_data = false;
  bool holes_cannot_be_punched = false;
  bool holes_cannot_be_found = false;
  // The kernel believes for so long what it was told of names and sizes, that a name is missing included.
  std::chrono::seconds remembers{0};
};

class PassthroughMount {
 public:
  // Mounts in a child process; a failure is the test's. `mount_point` is made.
  PassthroughMount(const std::string& source, const std::string& mount_point, Lies lies = {});
  ~PassthroughMount();
  PassthroughMount(const PassthroughMount&) = delete;
  PassthroughMount& operator=(const PassthroughMount&) = delete;

  const std::string& path() const { return mount_point_; }

 private:
  const std::string mount_point_;
  pid_t child_ = -1;
};

}  // namespace quoin

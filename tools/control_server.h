// Where a daemon answers the commands of its host: a Unix socket, one request a connection, each
// connection in a thread of its own, at most kMaxConnections at once. Owned by the daemon's main,
// which stops it before the Store goes. Only the daemon's user and root are answered.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "blockstore/base/mutex.h"
#include "tools/json.h"
#include "tools/local_socket.h"

namespace quoin {

inline constexpr size_t kMaxControlRequestBytes = 4 << 20;  // a snapshot of thousands of VDIs
inline constexpr size_t kMaxControlAnswerBytes = 256
                                                 << 20;  // a listing of as many as a store may hold

class ControlServer {
 public:
  // Sends a line before the answer; one that is not taken is lost. From the handler's thread, or from
  // others one after the other.
  using Tell = std::function<void(const Json& line)>;
  // Called with each request, from several threads at once; must not throw.
  using Handler = std::function<Json(const Json& request, const Tell& tell)>;

  // Answers from here on. `path` is the socket's; it must not exist.
  static Result<std::unique_ptr<ControlServer>> Start(const std::string& path, Handler handler);
  // Takes no new request, lets those under way end, and removes the socket.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Connection {
    explicit Connection(Descriptor descriptor) : socket(std::move(descriptor)) {}
    const Descriptor socket;
    std::atomic<bool> ended{false};
    std::thread thread;
  };

  ControlServer(std::string path, Handler handler, Descriptor listening, Descriptor stop);
  void AcceptUntilStopped();
  void Accept(Descriptor socket);
  void Serve(Connection& connection);
  void JoinEnded() QUOIN_REQUIRES(mutex_);

  // Constant after construction.
  const std::string path_;
  const Handler handler_;
  const Descriptor listening_;
  const Descriptor stop_;  // an eventfd; readable once the server is to stop

  Mutex mutex_{LockRank::kControl};
  std::list<Connection> connections_ QUOIN_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

}  // namespace quoin

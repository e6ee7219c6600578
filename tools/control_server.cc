#include "tools/control_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace quoin {
namespace {

constexpr int kBacklog = 64;
constexpr size_t kMaxConnections = 32;
constexpr std::chrono::milliseconds kRequestPatience{10'000};
constexpr std::chrono::milliseconds kAnswerPatience{30'000};
constexpr std::chrono::milliseconds kTellPatience{100};  // the work waits meanwhile

Json ErrorAnswer(Error error) { return Json{{"error", ToJson(error)}}; }

bool MayAsk(int socket) {
  const Result<unsigned> user = PeerUser(socket);
  return user && (*user == 0 || *user == geteuid());
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::Start(const std::string& path,
                                                            Handler handler) {
  Descriptor stop(eventfd(0, EFD_CLOEXEC));
  if (!stop) return FailSystem(errno, "cannot make an event descriptor");
  QUOIN_ASSIGN(Descriptor listening, ListenAt(path, kBacklog));
  std::unique_ptr<ControlServer> server(
      new ControlServer(path, std::move(handler), std::move(listening), std::move(stop)));
  server->acceptor_ = std::thread([raw = server.get()] { raw->AcceptUntilStopped(); });
  return server;
}

ControlServer::ControlServer(std::string path, Handler handler, Descriptor listening,
                             Descriptor stop)
    : path_(std::move(path)),
      handler_(std::move(handler)),
      listening_(std::move(listening)),
      stop_(std::move(stop)) {}

ControlServer::~ControlServer() {
  unlink(path_.c_str());
  const uint64_t one = 1;
  if (write(stop_.number(), &one, sizeof(one)) != sizeof(one)) {
    spdlog::error("cannot wake the control server: {}", errno);
  }
  acceptor_.join();
  std::list<Connection> last;
  {
    MutexLock lock(mutex_);
    last.swap(connections_);
  }
  for (Connection& connection : last) {
    // Whoever has not asked yet will not; a request under way is answered.
    shutdown(connection.socket.number(), SHUT_RD);
    connection.thread.join();
  }
}

void ControlServer::AcceptUntilStopped() {
  for (;;) {
    std::array<pollfd, 2> watched{{{listening_.number(), POLLIN, 0}, {stop_.number(), POLLIN, 0}}};
    if (poll(watched.data(), watched.size(), -1) < 0) continue;  // a signal
    if (watched[1].revents != 0) return;
    Descriptor socket(accept4(listening_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket) {
      Accept(std::move(socket));
    } else if (errno == EMFILE || errno == ENFILE) {
      spdlog::warn("too many open files to answer a command");
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

void ControlServer::Accept(Descriptor socket) {
  if (!MayAsk(socket.number())) {
    spdlog::warn("a request from another user was refused");
    return;
  }
  MutexLock lock(mutex_);
  JoinEnded();
  if (connections_.size() >= kMaxConnections) {
    const Error error{ErrorCode::kBusy, "cannot answer: too many commands ask this daemon at once",
                      "try again in a moment"};
    // A short answer to a socket that was just opened never waits.
    (void)SendLine(socket.number(), JsonLine(ErrorAnswer(error)), std::chrono::milliseconds(100));
    return;
  }
  Connection& connection = connections_.emplace_back(std::move(socket));
  connection.thread = std::thread([this, &connection] { Serve(connection); });
}

void ControlServer::Serve(Connection& connection) {
  const int socket = connection.socket.number();
  const Result<std::string> line = ReceiveLine(socket, kMaxControlRequestBytes, kRequestPatience);
  if (line) {
    const Result<Json> request = ParseJsonObject(*line, "the request");
    const auto tell = [socket](const Json& early) {
      (void)SendLine(socket, JsonLine(early), kTellPatience);
    };
    const Json answer = request ? handler_(*request, tell) : ErrorAnswer(request.error());
    const Status sent = SendLine(socket, JsonLine(answer), kAnswerPatience);
    if (!sent) spdlog::warn("an answer was not taken: {}", sent.error().what);
  } else if (line.error().code == ErrorCode::kTooLarge) {
    (void)SendLine(socket, JsonLine(ErrorAnswer(line.error())), kAnswerPatience);
  }
  shutdown(socket, SHUT_RDWR);
  connection.ended.store(true, std::memory_order_release);
}

void ControlServer::JoinEnded() {
  for (auto connection = connections_.begin(); connection != connections_.end();) {
    if (connection->ended.load(std::memory_order_acquire)) {
      connection->thread.join();
      connection = connections_.erase(connection);
    } else {
      ++connection;
    }
  }
}

}  // namespace quoin
